//! Files of a registry in a folder of their own.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::{
    Diagnostic, Loaded, MissingFile, Origin, Reader, Rejected, Source, load, render,
};
use crate::printable::decode_path;

/// A directory for `enforcer.toml`, `enforcer.d` and other files of a test.
pub(super) struct Etc(TempDir);

impl Etc {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn with(self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    /// As [`Self::with`], for a name that may be no text.
    pub(super) fn with_name(self, name: &OsStr, contents: &str) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn default(&self) -> Result<Loaded, Rejected> {
        self.where_absent(MissingFile::Embedded)
    }

    pub(super) fn where_absent(&self, absent: MissingFile) -> Result<Loaded, Rejected> {
        self.read(absent, &Reader::NAMED)
    }

    /// Reads the default path.
    pub(super) fn read(&self, absent: MissingFile, reader: &Reader) -> Result<Loaded, Rejected> {
        let path = self.path("enforcer.toml");
        load(&Source::Default { path, absent }, reader)
    }

    pub(super) fn named(&self, name: &str) -> Result<Loaded, Rejected> {
        load(&Source::Named(self.path(name)), &Reader::NAMED)
    }

    /// Returns the errors without the path of the directory.
    pub(super) fn shown(&self, diagnostics: &[Diagnostic]) -> Vec<String> {
        let directory = format!("{}/", decode_path(self.0.path()));
        diagnostics
            .iter()
            .map(|it| {
                let (file, line, column, message) =
                    (it.file(), it.line(), it.column(), it.message());
                format!("{file}:{line}:{column} {message}").replace(&directory, "")
            })
            .collect()
    }

    #[track_caller]
    pub(super) fn rejects(&self, loaded: Result<Loaded, Rejected>, expected: &[&str]) {
        let rejected = loaded.expect_err("accepted");
        assert_eq!(self.shown(&rejected.errors), expected);
        // Every error can also be rendered.
        assert!(render(&rejected.errors, true).contains("help"));
    }
}

pub(super) fn names(loaded: &Loaded) -> Vec<&str> {
    let services = loaded.registry.services();
    services
        .iter()
        .map(|service| service.name.as_str())
        .collect()
}

pub(super) fn file_names(loaded: &Loaded) -> Vec<&str> {
    match &loaded.origin {
        Origin::Embedded => vec!["(embedded)"],
        Origin::Files(files) => files
            .iter()
            .filter_map(|file| Path::new(file).file_name()?.to_str())
            .collect(),
    }
}
