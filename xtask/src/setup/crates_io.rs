//! Programs from crates.io, built into the cache.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use super::cache::{Cache, CacheLock};
use crate::{process, workspace::Workspace};

/// Program of a crate, in a pinned release.
pub(crate) struct CrateProgram {
    /// Name of the crate and of its program.
    pub(crate) name: &'static str,
    /// Release in use for this tree.
    pub(crate) version: &'static str,
    /// Arguments for printing the version.
    pub(crate) version_arguments: &'static [&'static str],
}

impl CrateProgram {
    /// Returns the path of the program in the cache.
    pub(crate) fn path(&self, cache: &Cache) -> PathBuf {
        self.below(&cache.path(&self.folder()))
    }

    /// Returns whether the program at `path` exists and starts: a shared library may have been
    /// removed.
    pub(crate) fn starts(&self, path: &Path) -> bool {
        Command::new(path)
            .args(self.version_arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Builds the program into the cache. `configure` completes the command `cargo install`, whose
    /// output is kept in the cache.
    pub(crate) fn build(
        &self,
        workspace: &Workspace,
        lock: &CacheLock<'_>,
        configure: impl FnOnce(&mut Command),
    ) -> Result<()> {
        let dir = lock.temporary(self.name)?;
        let root = dir.join("made");
        let mut cargo = workspace.cargo(["install", self.name, "--version", self.version]);
        cargo
            .arg("--locked")
            .arg("--root")
            .arg(&root)
            .arg("--target-dir")
            .arg(dir.join("target"))
            .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
            .env_remove("CARGO_BUILD_TARGET");
        configure(&mut cargo);
        let log = lock.cache().path(&format!("{}.log", self.name));
        process::run_logged(&mut cargo, &log)?;
        if !self.starts(&self.below(&root)) {
            bail!(
                "{} {} was built but does not start: see {}",
                self.name,
                self.version,
                log.display()
            );
        }
        lock.publish(&root, &self.folder())?;
        Ok(())
    }

    fn folder(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    fn below(&self, root: &Path) -> PathBuf {
        root.join("bin").join(self.name)
    }
}
