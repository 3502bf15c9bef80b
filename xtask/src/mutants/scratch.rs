//! A copy of the tree for mutants, built once and kept.
//!
//! In a copy with a target folder of its own, a mutant costs the build of one crate: the kernel
//! side and all dependencies stay built from run to run.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// Names that are never copied: histories and target folders.
const LEFT_OUT: [&str; 2] = [".git", "target"];

/// Copy of the tree, for one run at a time.
pub(super) struct Scratch {
    dir: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Creates the copy, or brings an older copy up to date. Unchanged files keep their time of
    /// change, so that cargo does not build their crates again.
    pub(super) fn refresh(workspace: &Workspace) -> Result<Self> {
        let dir = workspace.mutants_dir();
        fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
        let path = dir.join("lock");
        let lock =
            File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
        if lock.try_lock().is_err() {
            bail!("another `cargo xtask mutants` works in {}", dir.display());
        }
        let scratch = Self { dir, _lock: lock };
        mirror(&workspace.path(""), &scratch.tree(), &workspace.target())?;
        Ok(scratch)
    }

    /// Root of the copy.
    pub(super) fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// Target folder of the copy.
    pub(super) fn target(&self) -> PathBuf {
        self.dir.join("target")
    }

    /// Folder for the results of a crate.
    pub(super) fn results(&self, package: &str) -> PathBuf {
        self.dir.join(package)
    }
}

/// Makes the folder `to` equal to `from`, except for `skipped` and [`LEFT_OUT`].
fn mirror(from: &Path, to: &Path, skipped: &Path) -> Result<()> {
    let failed = |what: &str, path: &Path| format!("failed to {what} {}", path.display());
    fs::create_dir_all(to).with_context(|| failed("create", to))?;
    let mut kept = BTreeSet::new();
    for name in names(from)? {
        let (source, copy) = (from.join(&name), to.join(&name));
        if LEFT_OUT.iter().any(|&left_out| name == left_out) || source == skipped {
            continue;
        }
        if source.is_dir() {
            if copy.is_file() {
                fs::remove_file(&copy).with_context(|| failed("remove", &copy))?;
            }
            mirror(&source, &copy, skipped)?;
        } else {
            let content = fs::read(&source).with_context(|| failed("read", &source))?;
            if !fs::read(&copy).is_ok_and(|old| old == content) {
                fs::write(&copy, content).with_context(|| failed("write", &copy))?;
            }
        }
        kept.insert(name);
    }
    for name in names(to)?.into_iter().filter(|name| !kept.contains(name)) {
        let path = to.join(name);
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.with_context(|| failed("remove", &path))?;
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<OsString>> {
    let failed = || format!("failed to list {}", dir.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(failed)? {
        names.push(entry.with_context(failed)?.file_name());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_follows_the_tree_and_keeps_unchanged_files() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for folder in ["src/a", ".git", "target", "build"] {
            fs::create_dir_all(from.join(folder)).unwrap();
            fs::write(from.join(folder).join("file.rs"), folder).unwrap();
        }
        let build = from.join("build");
        mirror(&from, &to, &build).unwrap();
        assert_eq!(names(&to).unwrap(), ["src"]);
        let unchanged = to.join("src/a/file.rs");
        let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        let before = time(&unchanged);

        fs::write(to.join("src/mutated.rs"), "mutant").unwrap();
        fs::write(from.join("src/new.rs"), "new").unwrap();
        mirror(&from, &to, &build).unwrap();
        assert_eq!(time(&unchanged), before);
        assert_eq!(fs::read(to.join("src/new.rs")).unwrap(), b"new");
        assert!(!to.join("src/mutated.rs").exists());

        fs::write(&unchanged, "mutant").unwrap();
        mirror(&from, &to, &build).unwrap();
        assert_eq!(fs::read(&unchanged).unwrap(), b"src/a");
    }
}
