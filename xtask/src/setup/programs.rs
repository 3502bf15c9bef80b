//! The programs that the lab and its guests run, and the Debian packages that have
//! them.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{
    apt,
    cache::{Cache, CacheLock},
};
use crate::workspace::find_program;

/// A program that is run from elsewhere than this tree.
pub(crate) struct Program {
    /// What it is called by.
    pub(crate) name: &'static str,
    /// Debian's package.
    pub(crate) package: &'static str,
    /// The name under which that package has it, where it is another one.
    other_name: Option<&'static str>,
    /// What it is needed for.
    pub(crate) why: &'static str,
}

/// What the lab runs.
pub(crate) const LAB: [Program; 5] = [
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
    Program {
        name: "setpriv",
        package: "util-linux",
        other_name: None,
        why: "takes root's rights away from a command",
    },
    Program {
        name: "wireguard-go",
        package: "wireguard-go",
        other_name: None,
        why: "a real WireGuard where the kernel has none",
    },
];

/// What the guests of `cargo xtask vm` need beside it, on the host or inside.
pub(crate) const VM: [Program; 7] = [
    Program {
        name: "qemu-system-x86_64",
        package: "qemu-system-x86",
        other_name: None,
        why: "the machine that boots the kernels",
    },
    Program {
        name: "busybox",
        package: "busybox-static",
        other_name: None,
        why: "the guests' shell and small programs",
    },
    Program {
        name: "depmod",
        package: "kmod",
        other_name: None,
        why: "lists which module of a kernel needs which",
    },
    Program {
        name: "modprobe",
        package: "kmod",
        other_name: None,
        why: "loads modules when a guest's kernel asks for them",
    },
    Program {
        name: "wg",
        package: "wireguard-tools",
        other_name: None,
        why: "configures the guests' WireGuard",
    },
    Program {
        name: "nsenter",
        package: "util-linux",
        other_name: None,
        why: "enters namespaces by hand in a guest",
    },
    Program {
        name: "unshare",
        package: "util-linux",
        other_name: None,
        why: "makes namespaces by hand in a guest",
    },
];

/// What `cargo xtask vm --system` needs more, to make its guest's disk.
pub(crate) const SYSTEM: [Program; 2] = [
    Program {
        name: "mmdebstrap",
        package: "mmdebstrap",
        other_name: None,
        why: "installs Debian into a folder",
    },
    Program {
        name: "mke2fs",
        package: "e2fsprogs",
        other_name: None,
        why: "makes a disk of that folder",
    },
];

impl Program {
    /// Where it is, if it is anywhere.
    pub(crate) fn find(&self, cache: &Cache) -> Option<PathBuf> {
        let renamed = cache.path("bin").join(self.name);
        find_program(self.name).or_else(|| renamed.exists().then_some(renamed))
    }

    /// Gives a program that goes by another name the one that the lab uses.
    fn rename(&self, lock: &CacheLock<'_>) -> Result<()> {
        let Some(original) = self.other_name.and_then(find_program) else {
            return Ok(());
        };
        let bin = lock.cache().path("bin");
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

/// Installs what is missing of `programs`, whose absence keeps us from `purpose`.
pub(crate) fn provide(cache: &Cache, programs: &'static [Program], purpose: &str) -> Result<()> {
    let missing = || {
        programs
            .iter()
            .filter(|program| program.find(cache).is_none())
    };
    if missing().next().is_none() {
        return Ok(());
    }
    let lock = cache.lock()?;
    for program in missing() {
        program.rename(&lock)?;
    }
    let mut packages: Vec<_> = missing().map(|program| program.package).collect();
    packages.dedup();
    if !packages.is_empty() {
        apt::install(&packages, purpose)?;
        for program in missing() {
            program.rename(&lock)?;
        }
    }
    if let Some(program) = missing().next() {
        bail!(
            "{} is still missing after the package {} was installed",
            program.name,
            program.package
        );
    }
    Ok(())
}

/// The folder with programs under their other name, if any of them is used.
pub(crate) fn renamed(cache: &Cache) -> Option<PathBuf> {
    let folder = cache.path("bin");
    LAB.iter()
        .filter_map(|program| program.find(cache))
        .any(|program| program.starts_with(&folder))
        .then_some(folder)
}
