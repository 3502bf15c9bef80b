//! The source tree, its target folder and its cargo; programs of the machine.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// Source tree of this program, and its target folder.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the tree by cargo's environment, and the target folder by the place of this
    /// executable, under any setting of cargo.
    pub(crate) fn find() -> Result<Self> {
        let xtask = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = xtask
            .parent()
            .with_context(|| format!("{} lies in no workspace", xtask.display()))?;
        let program = env::current_exe().context("failed to find the executable of xtask")?;
        // <target>/<profile>/xtask
        let target = program
            .ancestors()
            .nth(2)
            .with_context(|| format!("no target folder above {}", program.display()))?;
        Ok(Self {
            root: root.to_owned(),
            target: target.to_owned(),
        })
    }

    /// Returns the absolute form of a path in the source tree.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Returns the files with one of `extensions` at or below `relative`, as paths in the tree,
    /// sorted.
    pub(crate) fn files(&self, relative: &str, extensions: &[&str]) -> Result<Vec<String>> {
        let mut open = vec![relative.to_owned()];
        let mut found = Vec::new();
        while let Some(path) = open.pop() {
            let place = self.path(&path);
            if !place.is_dir() {
                let extension = place.extension().and_then(OsStr::to_str);
                if extension.is_some_and(|extension| extensions.contains(&extension)) {
                    found.push(path);
                }
                continue;
            }
            let failed = || format!("failed to list {}", place.display());
            for entry in fs::read_dir(&place).with_context(failed)? {
                let name = entry.with_context(failed)?.file_name();
                // Names of sources are UTF-8.
                if let Some(name) = name.to_str().filter(|&name| name != "target") {
                    open.push(format!("{path}/{name}"));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Returns the path of the program `name` after a release build.
    pub(crate) fn release_binary(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Returns the path of the program `name` after a debug build.
    pub(crate) fn debug_binary(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }

    /// Target folder.
    pub(crate) fn target(&self) -> PathBuf {
        self.target.clone()
    }

    /// Returns the folder for mutants of the tree.
    pub(crate) fn mutants_dir(&self) -> PathBuf {
        self.target.join("mutants")
    }

    /// Returns the folder for intermediate files of BPF builds, as in `enforcer/build.rs`.
    pub(crate) fn ebpf_build_dir(&self) -> PathBuf {
        self.target.join("ebpf")
    }

    /// Returns the cargo that started xtask, in the root of the tree.
    pub(crate) fn cargo<I>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(&self.root);
        // A relative value is relative to the user's folder, not to the root.
        if let Some(dir) = env::var_os("CARGO_TARGET_DIR")
            && let Ok(dir) = std::path::absolute(dir)
        {
            command.env("CARGO_TARGET_DIR", dir);
        }
        command
    }
}

/// Returns whether this process is root, by the owner of its /proc folder.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Returns the folders for programs: PATH, and the administrator's folders, absent from an ordinary
/// user's PATH on Debian.
pub(crate) fn program_folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(administrators).collect()
}

/// Returns the first program `name` in [`program_folders`].
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    find_in(&program_folders(), name)
}

/// Returns the first program `name` in `folders`.
pub(crate) fn find_in(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|program| is_executable(program))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}
