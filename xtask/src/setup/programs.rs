//! The programs that the lab runs, and the Debian packages that have them.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{
    apt,
    cache::{Cache, Filling},
};
use crate::workspace::find_program;

/// A program that the lab runs.
pub(crate) struct Program {
    /// What the lab calls it.
    pub(crate) name: &'static str,
    /// Debian's package.
    pub(crate) package: &'static str,
    /// The name under which that package has it, where it is another one.
    other_name: Option<&'static str>,
    /// What the lab needs it for.
    pub(crate) why: &'static str,
}

/// All of them.
pub(crate) const LAB: [Program; 3] = [
    Program {
        name: "ip",
        package: "iproute2",
        other_name: None,
        why: "makes the namespaces, links and addresses of the throwaway host",
    },
    Program {
        name: "nft",
        package: "nftables",
        other_name: None,
        why: "makes the DNAT rules that publish a port behind the firewall's back",
    },
    Program {
        name: "redis-server",
        // The package redis-server adds only a service, which would start on this
        // machine; the program looks at the name that it is called by.
        package: "redis-tools",
        other_name: Some("redis-check-rdb"),
        why: "a real service to attack",
    },
];

impl Program {
    /// Where it is, if it is anywhere.
    pub(crate) fn find(&self, cache: &Cache) -> Option<PathBuf> {
        let renamed = cache.path("bin").join(self.name);
        find_program(self.name).or_else(|| renamed.exists().then_some(renamed))
    }

    /// Gives a program that goes by another name the one that the lab uses.
    fn rename(&self, filling: &Filling<'_>) -> Result<()> {
        let Some(original) = self.other_name.and_then(find_program) else {
            return Ok(());
        };
        let bin = filling.cache().path("bin");
        let link = bin.join(self.name);
        fs::create_dir_all(&bin)
            .and_then(|()| match fs::remove_file(&link) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => symlink(&original, &link),
            })
            .with_context(|| {
                format!(
                    "failed to link {} to {}",
                    original.display(),
                    link.display()
                )
            })
    }
}

/// Installs whatever is missing.
pub(crate) fn provide(cache: &Cache) -> Result<()> {
    if missing(cache).next().is_none() {
        return Ok(());
    }
    let filling = cache.lock()?;
    for program in missing(cache) {
        program.rename(&filling)?;
    }
    let packages: Vec<_> = missing(cache).map(|program| program.package).collect();
    if !packages.is_empty() {
        apt::install(&packages, "the lab")?;
        for program in missing(cache) {
            program.rename(&filling)?;
        }
    }
    if let Some(program) = missing(cache).next() {
        bail!(
            "{} is still missing after the package {} was installed",
            program.name,
            program.package
        );
    }
    Ok(())
}

fn missing(cache: &Cache) -> impl Iterator<Item = &'static Program> {
    LAB.iter().filter(|program| program.find(cache).is_none())
}

/// The folder with programs under their other name, if any of them is used.
pub(crate) fn renamed(cache: &Cache) -> Option<PathBuf> {
    let folder = cache.path("bin");
    LAB.iter()
        .filter_map(|program| program.find(cache))
        .any(|program| program.starts_with(&folder))
        .then_some(folder)
}
