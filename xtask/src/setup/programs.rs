//! Programs of the lab and its guests, with their Debian packages.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{
    apt,
    cache::{Cache, CacheLock},
};
use crate::workspace::find_program;

/// Program of another project.
pub(crate) struct Program {
    /// Name in use.
    pub(crate) name: &'static str,
    /// Debian package.
    pub(crate) package: &'static str,
    /// Name in the package, if different from the name in use.
    other_name: Option<&'static str>,
    /// Purpose of the program.
    pub(crate) why: &'static str,
}

/// Programs of the lab.
pub(crate) const LAB: [Program; 6] = [
    Program {
        name: "ip",
        package: "iproute2",
        other_name: None,
        why: "creates the namespaces, links and addresses of the throwaway host",
    },
    Program {
        name: "nft",
        package: "nftables",
        other_name: None,
        why: "adds the DNAT rules that publish a port behind the firewall's back",
    },
    Program {
        name: "redis-server",
        // The package redis-server adds only a service, started on this machine at installation.
        // The program decides by its own name whether to be the server.
        package: "redis-tools",
        other_name: Some("redis-check-rdb"),
        why: "a real service to attack",
    },
    Program {
        name: "setpriv",
        package: "util-linux",
        other_name: None,
        why: "drops root's rights for a command",
    },
    Program {
        name: "tc",
        package: "iproute2",
        other_name: None,
        why: "redirects packets behind the wire guard",
    },
    Program {
        name: "wireguard-go",
        package: "wireguard-go",
        other_name: None,
        why: "a real WireGuard for kernels without WireGuard",
    },
];

/// Further programs for `cargo xtask vm`, on the host or in the guests.
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
        why: "lists the dependencies of a kernel's modules",
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
        why: "creates namespaces by hand in a guest",
    },
];

/// Further programs for `cargo xtask vm --system`, for the guest's disk.
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
        why: "builds a disk from the folder",
    },
];

impl Program {
    /// Returns the path of the program, if installed.
    pub(crate) fn find(&self, cache: &Cache) -> Option<PathBuf> {
        let renamed = cache.path("bin").join(self.name);
        find_program(self.name).or_else(|| renamed.exists().then_some(renamed))
    }

    /// Links a program with another name in its package to the name in use.
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

/// Installs the missing ones of `programs`, for `purpose`.
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

/// Returns the folder of links to other names, if the lab uses any.
pub(crate) fn renamed(cache: &Cache) -> Option<PathBuf> {
    let folder = cache.path("bin");
    LAB.iter()
        .filter_map(|program| program.find(cache))
        .any(|program| program.starts_with(&folder))
        .then_some(folder)
}
