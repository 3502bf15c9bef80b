//! Content of a lab guest's initramfs, for any kernel.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Initramfs, command, cpio::Archive, modules, programs};
use crate::{
    lab::Lab,
    setup::kernels::Kernel,
    workspace::{Workspace, find_in},
};

/// Programs of the lab.
///
/// The shell is this machine's: busybox's shell would prefer busybox's `ip` and `modprobe`.
const PROGRAMS: [&str; 11] = [
    "flock",
    "ip",
    "modprobe",
    "nft",
    "nsenter",
    "redis-server",
    "setpriv",
    "sh",
    "tc",
    "unshare",
    "wg",
];

/// Programs for a person at the prompt, if this machine has them.
const OPTIONAL: [&str; 2] = ["bash", "strace"];

/// Mount points of the first program, and a home.
const FOLDERS: [&str; 7] = ["dev", "proc", "root", "run", "sys", "tmp", "var"];

/// Users, for programs that print the name of their user.
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";

/// Options of modules that otherwise create a device when loaded.
const MODPROBE: &str = "options bonding max_bonds=0\noptions dummy numdummies=0\n";

/// Returns the archive shared by all guests: the lab and its programs.
pub(crate) fn archive(workspace: &Workspace, lab: &Lab) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    programs::add_shell(&mut archive)?;
    for folder in FOLDERS {
        archive.folder(folder);
    }
    let folders = lab.folders();
    for name in PROGRAMS {
        let program = find_in(&folders, name)
            .with_context(|| format!("{name} is not installed: run `cargo xtask setup`"))?;
        programs::add(&mut archive, name, &program)?;
    }
    for name in OPTIONAL {
        if let Some(program) = find_in(&folders, name) {
            programs::add(&mut archive, name, &program)?;
        }
    }
    for (name, program) in ["enforcer-tests", "enforcer"].iter().zip(lab.binaries()) {
        programs::add(&mut archive, name, program)?;
    }
    let init = workspace.path("xtask/files/guest-init");
    let init = fs::read(&init).with_context(|| format!("failed to read {}", init.display()))?;
    archive.program("init", &init);
    archive.file("etc/passwd", USERS.as_bytes());
    archive.file("etc/modprobe.d/guest.conf", MODPROBE.as_bytes());
    Ok(archive.finish())
}

/// Returns the initramfs of a guest: the shared archive, its command, and the modules of its
/// kernel.
pub(crate) fn initramfs(common: &[u8], line: &str, kernel: &Kernel) -> Result<Initramfs> {
    let modules = modules::archive(kernel, modules::LAB_FOLDERS)?;
    Initramfs::new(&[common, &command::archive(line), &modules])
}
