//! The folder of the tools, outside the tree, filled by one process at a time.
//!
//! ```text
//! ~/.cache/enforcer/1.95.0/
//!     ebpf-tools             paths of the tools, for enforcer/build.rs
//!     bpf-linker-0.13.0/     bin/bpf-linker
//!     cargo-mutants-27.1.0/  bin/cargo-mutants, for `cargo xtask mutants`
//!     rust-src/              library/core, library/alloc, …
//!     bin/                   programs of the lab under the names used there
//!     kernel-6.1/            vmlinuz, usr/lib/modules/RELEASE, about; one for each line
//!     system/                disk, vmlinuz and more of the guest of `vm --system`
//!     *.log                  output of a tool's build
//!     lock                   held by the one process that fills the cache
//!     tmp-*                  unfinished work; the next setup removes leftovers
//! ```

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};

use crate::tools_file;

/// Cache of one compiler release.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Returns the cache for the compiler `release`, without creating the folder.
    pub(crate) fn of(release: &str) -> Result<Self> {
        let dir = tools_file::cache_dir(release)
            .map_err(|why| anyhow!("failed to choose a folder for the tools: {why}"))?;
        Ok(Self { dir })
    }

    /// Folder of the cache.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the path of `relative` in the folder.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.join(relative)
    }

    /// Creates the folder, waits for another process at work, and removes leftovers of
    /// dead runs. Dropping the returned value releases the lock.
    pub(crate) fn lock(&self) -> Result<CacheLock<'_>> {
        let make = |error| {
            format!(
                "failed to create the tools' folder {error}: set ENFORCER_TOOLS to a writable folder"
            )
        };
        fs::create_dir_all(&self.dir).with_context(|| make(self.dir.display()))?;
        let path = self.path("lock");
        let file = File::create(&path).with_context(|| make(path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!(
                    "  waiting for another setup that fills {}",
                    self.dir.display()
                );
                file.lock()
                    .with_context(|| format!("failed to lock {}", path.display()))?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("failed to lock {}", path.display()));
            }
        }
        let lock = CacheLock {
            cache: self,
            _file: file,
        };
        lock.clean()?;
        Ok(lock)
    }
}

/// Exclusive right to fill the cache.
pub(crate) struct CacheLock<'a> {
    cache: &'a Cache,
    _file: File,
}

impl CacheLock<'_> {
    /// Cache under the lock.
    pub(crate) fn cache(&self) -> &Cache {
        self.cache
    }

    /// Creates an empty folder on the file system of the cache.
    pub(crate) fn temporary(&self, name: &str) -> Result<PathBuf> {
        // A process number in the name: a compiler that outlived a killed setup may still write
        // into the older folder.
        let dir = format!("tmp-{name}-{}", std::process::id());
        let dir = self.cache.path(&dir);
        fs::create_dir(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
        Ok(dir)
    }

    /// Moves the finished `made` (in a temporary folder) to `name`, in one step.
    pub(crate) fn publish(&self, made: &Path, name: &str) -> Result<PathBuf> {
        let place = self.cache.path(name);
        if place.is_dir() {
            // A rename cannot replace a folder with content.
            let old = self.temporary("replaced")?;
            fs::rename(&place, old.join("old"))
                .with_context(|| format!("failed to move {} aside", place.display()))?;
        }
        fs::rename(made, &place)
            .with_context(|| format!("failed to move {} to {}", made.display(), place.display()))?;
        Ok(place)
    }

    /// Writes the file `name` with `text`, in one step.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let file = self.cache.path(&format!("tmp-{name}"));
        fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
        self.publish(&file, name)?;
        Ok(())
    }

    /// Removes unfinished work: under the lock, all of it is left over.
    fn clean(&self) -> Result<()> {
        let dir = &self.cache.dir;
        let entries =
            fs::read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("failed to list {}", dir.display()))?;
            if !entry.file_name().as_encoded_bytes().starts_with(b"tmp-") {
                continue;
            }
            let path = entry.path();
            let removed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
                _ => fs::remove_file(&path),
            };
            removed.with_context(|| format!("failed to remove {}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for CacheLock<'_> {
    fn drop(&mut self) {
        // The next setup reports a failure.
        self.clean().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cache in a folder of its own, removed with the value.
    struct Scratch(Cache);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("xtask-{name}-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            Self(Cache { dir })
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0.dir).ok();
        }
    }

    #[test]
    fn what_is_published_replaces_what_was_there() {
        let scratch = Scratch::new("publish");
        let lock = scratch.0.lock().unwrap();
        for content in ["first", "second"] {
            let made = lock.temporary(content).unwrap();
            fs::write(made.join("file"), content).unwrap();
            lock.publish(&made, "tool").unwrap();
        }
        drop(lock);
        let file = scratch.0.path("tool/file");
        assert_eq!(fs::read_to_string(file).unwrap(), "second");
        let left = fs::read_dir(scratch.0.dir()).unwrap().count();
        assert_eq!(left, 2, "only the tool and the lock");
    }

    #[test]
    fn what_a_dead_run_left_is_removed() {
        let scratch = Scratch::new("clean");
        fs::create_dir_all(scratch.0.path("tmp-linker/target")).unwrap();
        fs::write(scratch.0.path("tmp-ebpf-tools"), "half").unwrap();
        let _lock = scratch.0.lock().unwrap();
        let left: Vec<_> = fs::read_dir(scratch.0.dir()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "only the lock: {left:?}");
    }
}
