//! The registry's file under the eyes of `run`.

use std::path::{Path, PathBuf};

use crate::{
    daemon::report::Report,
    note::NoteKind,
    printable::decode_path,
    registry::{MissingFile, Provenance, Source},
};

/// The registry's file of `run` itself.
#[derive(Clone, Debug)]
pub(crate) struct OwnFile {
    /// The main file, absolute.
    pub(crate) path: PathBuf,
    /// `--config` names the file: a missing file is an error.
    pub(crate) is_named: bool,
}

/// The own file, or the file that another command has put in force.
#[derive(Debug)]
pub(super) struct RegistryFile {
    own: OwnFile,
    /// The file of another command, with the provenance of the policy in force.
    other: Option<(PathBuf, Provenance)>,
}

impl RegistryFile {
    /// The own file.
    pub(super) const fn new(own: OwnFile) -> Self {
        Self { own, other: None }
    }

    /// The main file.
    pub(super) fn path(&self) -> &Path {
        match &self.other {
            Some((path, _)) => path,
            None => &self.own.path,
        }
    }

    /// Whether the file is another command's.
    pub(super) const fn is_others(&self) -> bool {
        self.other.is_some()
    }

    /// The source of an edit of the file; `missing` is the meaning of a missing file at the
    /// default path.
    pub(super) fn source(&self, missing: MissingFile) -> Source {
        match &self.other {
            Some((_, provenance)) => Source::in_force(provenance),
            None => Source::of_config(self.own.is_named.then_some(&self.own.path), missing),
        }
    }

    /// Follows the file of a policy in force. The embedded registry has none and changes nothing.
    pub(super) fn follow(&mut self, provenance: &Provenance) {
        if let Some(path) = &provenance.path {
            let is_own = *path == self.own.path;
            self.other = (!is_own).then(|| (path.clone(), provenance.clone()));
        }
    }

    /// Follows the own file.
    pub(super) fn follow_own(&mut self) {
        self.other = None;
    }
}

/// The report of a registry in force without a file to read the same again.
pub(super) fn changed_since(provenance: &Provenance) -> Report {
    let name = match &provenance.path {
        Some(path) => decode_path(path),
        None => "a built-in registry of another version".to_owned(),
    };
    let text = format!(
        "{name} cannot be read as it was when it was put in force: new interfaces get their \
         guards, and peers are not followed until the next reload"
    );
    Report::note(NoteKind::RegistryChanged, text)
}
