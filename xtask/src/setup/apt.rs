//! Debian packages, installed by apt.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use super::step::Step;
use crate::{
    process,
    workspace::{find_program, is_root},
};

/// Returns whether this machine runs Debian proper: only there do the suites fit together.
pub(crate) fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| names_debian(&text))
        && find_program("apt-get").is_some()
}

fn names_debian(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID="))
        .any(|id| id.trim_matches('"') == "debian")
}

/// Installs `packages` for `purpose`.
///
/// Without apt or without root, the error is the command to run.
pub(crate) fn install(packages: &[&str], purpose: &str) -> Result<()> {
    let list = packages.join(" ");
    if find_program("apt-get").is_none() {
        bail!(
            "{purpose} needs the Debian packages {list}: install their equivalents with your package manager"
        );
    }
    let arguments = ["install", "--yes", "--no-install-recommends"];
    if !is_root() {
        bail!(
            "{purpose} needs packages: run `sudo apt-get update && sudo apt-get {} {list}`",
            arguments.join(" ")
        );
    }
    let step = Step::start("apt", &format!("installing {list} for {purpose}"));
    let mut install = apt_get();
    install.args(arguments).args(packages);
    // Absent or old lists are the likely reason of a failure.
    if process::capture(&mut install).is_err() {
        process::capture(apt_get().arg("update"))?;
        process::capture(&mut install).with_context(|| format!("failed to install {list}"))?;
    }
    step.done();
    Ok(())
}

/// Returns apt-get without questions and with few words.
pub(crate) fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .arg("--quiet=2")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_not_debian() {
        assert!(names_debian("NAME=x\nID=debian\n"));
        assert!(names_debian("ID=\"debian\"\n"));
        assert!(!names_debian("ID=ubuntu\nID_LIKE=debian\n"));
    }
}
