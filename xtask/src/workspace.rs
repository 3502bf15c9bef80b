//! Where things are: the tree, its target folder, the cargo that runs us.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// The source tree that this program was built from, and its target folder.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the tree by what cargo tells, and the target folder by where this
    /// program itself was put, whichever setting led there.
    pub(crate) fn find() -> Result<Self> {
        let xtask = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = xtask
            .parent()
            .with_context(|| format!("{} is no package of a workspace", xtask.display()))?;
        let program = env::current_exe().context("failed to find where xtask itself lies")?;
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

    /// A path in the source tree.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The files with one of `extensions` at or below `relative`, as paths in the tree, sorted.
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
                // Sources have names in UTF-8.
                if let Some(name) = name.to_str().filter(|&name| name != "target") {
                    open.push(format!("{path}/{name}"));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Where a release build leaves the program `name`.
    pub(crate) fn release_binary(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Where a debug build leaves the program `name`.
    pub(crate) fn debug_binary(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }

    /// The folder for the intermediate files of builds for BPF, as in
    /// `enforcer/build.rs`.
    pub(crate) fn ebpf_build_dir(&self) -> PathBuf {
        self.target.join("ebpf")
    }

    /// The cargo that runs us, in the root of the tree.
    pub(crate) fn cargo<I>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(&self.root);
        // It was meant relative to where the user stands.
        if let Some(dir) = env::var_os("CARGO_TARGET_DIR")
            && let Ok(dir) = std::path::absolute(dir)
        {
            command.env("CARGO_TARGET_DIR", dir);
        }
        command
    }
}

/// Whether this process is root, by the owner of its own /proc folder.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// The folders that programs are looked up in: PATH, and the administrator's, which
/// an ordinary user's PATH lacks on Debian.
pub(crate) fn program_folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(administrators).collect()
}

/// The first `name` in those folders.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    find_in(&program_folders(), name)
}

/// The first program `name` in `folders`.
pub(crate) fn find_in(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|program| is_executable(program))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}
