//! The files of a registry: their names, their order and reading them.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Fault, Report, Severity, render};
use super::draft::{Draft, Role};
use super::model::Registry;
use super::read::Reader;
use super::source::{SourceFile, Span};
use super::{merge, syntax};
use crate::printable::decode_path;

/// The registry's path unless `--config` names another.
pub const DEFAULT_PATH: &str = "/etc/enforcer/enforcer.toml";

/// The text of `default.toml`, the registry that applies where the host has none. Packages and
/// operators may start from a copy.
pub const EMBEDDED: &str = include_str!("default.toml");

/// The file name of the embedded registry in diagnostics.
const EMBEDDED_NAME: &str = "<embedded registry>";
/// The size limit of a file, in bytes: room for 10,000 prefixes, one on each line, each with a
/// comment of a thousand characters.
const MAX_FILE: u64 = 16 << 20;
const EMPTY_HELP: &str = "add a table such as `[services.redis]` with `ports = [6379]`; to stop enforcing, run `enforcer down`";

/// The place of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The default path, where the file may be absent.
    Default {
        /// The registry's path, in production [`DEFAULT_PATH`].
        path: PathBuf,
        /// The meaning of an absent file.
        absent: MissingFile,
    },
    /// A file named by `--config`, which must exist.
    Named(PathBuf),
    /// The embedded registry, whatever files exist: for `run` at boot with a bad registry.
    Embedded,
}

impl Source {
    /// The source that `--config` names, or the default path without `--config`.
    pub fn of_config(config: Option<&Path>, absent: MissingFile) -> Self {
        match config {
            Some(path) => Self::Named(path.to_owned()),
            None => Self::Default {
                path: DEFAULT_PATH.into(),
                absent,
            },
        }
    }

    /// The source of a registry in force, to read the same registry again: the main file must exist
    /// if the registry was made from one.
    pub fn in_force(provenance: &Provenance) -> Self {
        match &provenance.path {
            None => Self::Embedded,
            Some(path) if provenance.has_main => Self::Named(path.clone()),
            Some(path) => Self::Default {
                path: path.clone(),
                absent: MissingFile::Fragments,
            },
        }
    }
}

/// The meaning of an absent file at the default path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingFile {
    /// The fragments stand alone; without fragments the embedded registry applies.
    Embedded,
    /// The fragments stand alone, and at least one must exist.
    Fragments,
    /// An error: the policy in force was made from the file, and must not lose the file's entries.
    Vanished,
}

/// The origin of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded registry.
    Embedded,
    /// These files, in reading order.
    Files(Vec<PathBuf>),
}

/// The data to find a registry again and to tell whether the files changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The main file, absolute; `None` for the embedded registry.
    pub path: Option<PathBuf>,
    /// A digest of the names and texts of all files.
    pub digest: u64,
    /// Whether the main file existed, beside any fragments.
    pub has_main: bool,
}

/// A valid registry, with warnings and origin.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The registry.
    pub registry: Registry,
    /// The warnings about the text; [`super::lint`] adds warnings about the host.
    pub warnings: Vec<Diagnostic>,
    /// The origin, for messages.
    pub origin: Origin,
    /// The origin, to read the registry again later.
    pub provenance: Provenance,
}

/// A rejected registry.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The errors, in file order; at least one.
    pub errors: Vec<Diagnostic>,
    /// The warnings.
    pub warnings: Vec<Diagnostic>,
}

impl fmt::Display for Rejected {
    /// Writes every error, rendered without colours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(&self.errors, false))
    }
}

impl std::error::Error for Rejected {}

/// Reads a registry and any fragments.
///
/// # Errors
/// Every error in the files, and files that cannot be read.
pub fn load(source: &Source) -> Result<Loaded, Rejected> {
    let mut loader = Loader {
        main: match source {
            Source::Embedded => None,
            Source::Named(path) | Source::Default { path, .. } => std::path::absolute(path).ok(),
        },
        ..Loader::default()
    };
    let origin = match source {
        Source::Embedded => loader.read_embedded(),
        Source::Named(path) => loader.read_files(path, true),
        Source::Default { path, absent } => loader.read_default(path, *absent),
    };
    loader.finish(origin)
}

/// Reads a registry from texts: the main file, then fragments.
#[cfg(test)]
pub(super) fn load_texts(files: &[(&str, &str)]) -> Result<Loaded, Rejected> {
    let mut loader = Loader::default();
    let mut role = Role::Main;
    for &(name, text) in files {
        loader.parse(name.to_owned(), text.to_owned(), role);
        role = Role::Fragment(files[0].0);
    }
    loader.finish(Origin::Embedded)
}

#[derive(Default)]
struct Loader {
    report: Report,
    draft: Draft,
    /// The number of files seen, which orders diagnostics.
    files: usize,
    /// Whether a file could not be read or parsed: an undefined name may be defined there.
    incomplete: bool,
    /// The first parsed file, for errors about the registry as a whole.
    first: Option<Arc<SourceFile>>,
    /// The main file, absolute.
    main: Option<PathBuf>,
    /// Whether the main file exists, or must exist.
    has_main: bool,
    digest: Digest,
}

/// FNV-1a with 64 bits (RFC 9923): the same in every build, unlike the standard library's
/// hashers. The digest detects edits and is no defence against forgery.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn add(&mut self, text: &str) {
        // A byte that never occurs in UTF-8 ends each text.
        for &byte in text.as_bytes().iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl Loader {
    fn read_embedded(&mut self) -> Origin {
        self.parse(EMBEDDED_NAME.to_owned(), EMBEDDED.to_owned(), Role::Main);
        Origin::Embedded
    }

    fn read_default(&mut self, path: &Path, absent: MissingFile) -> Origin {
        let origin = self.read_files(path, false);
        let none = matches!(&origin, Origin::Files(files) if files.is_empty());
        match absent {
            // Errors about the path are reported already.
            _ if self.has_main || !self.report.errors.is_empty() => {}
            MissingFile::Embedded if none => return self.read_embedded(),
            MissingFile::Fragments if none => self.refuse_absence(
                path,
                "there is no registry: the file and its fragments are absent",
                "write one; the policy in force stays as it is, and `enforcer down` ends it",
            ),
            MissingFile::Vanished => self.refuse_absence(
                path,
                "this file is gone: the policy in force was made from it",
                "put it back, if need be as an empty file; `enforcer up` does without it, and \
                 takes the fragments alone, or the built-in registry where there are none",
            ),
            MissingFile::Embedded | MissingFile::Fragments => {}
        }
        origin
    }

    fn read_files(&mut self, path: &Path, required: bool) -> Origin {
        let mut files = Vec::new();
        // A dangling link is not an absent file: the operator meant a file to exist.
        let absent =
            matches!(fs::symlink_metadata(path), Err(e) if e.kind() == ErrorKind::NotFound);
        if required || !absent {
            self.has_main = true;
            self.read(path, Role::Main);
            files.push(path.to_owned());
        }
        let shown = decode_path(path);
        for fragment in self.fragments(path) {
            self.read(&fragment, Role::Fragment(&shown));
            files.push(fragment);
        }
        Origin::Files(files)
    }

    /// Returns the fragments of a registry, sorted by name. As in a shell, `*` does not match a
    /// leading dot, which keeps editors' lock files out.
    fn fragments(&mut self, path: &Path) -> Vec<PathBuf> {
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Vec::new();
        }
        let directory = path.with_extension("d");
        let listed = fs::read_dir(&directory).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name()))
                .collect::<io::Result<Vec<_>>>()
        });
        let mut names = match listed {
            Ok(names) => names,
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.refuse_file(&directory, cannot_read("directory", &error));
                return Vec::new();
            }
        };
        names.retain(|name| {
            let name = name.as_encoded_bytes();
            name.ends_with(b".toml") && !name.starts_with(b".")
        });
        names.sort();
        names.into_iter().map(|name| directory.join(name)).collect()
    }

    fn read(&mut self, path: &Path, role: Role<'_>) {
        let bytes = match read_limited(path) {
            Ok(bytes) => bytes,
            Err(fault) => return self.refuse_file(path, fault),
        };
        let name = decode_path(path);
        match String::from_utf8(bytes) {
            Ok(text) => self.parse(name, text, role),
            Err(error) => self.refuse_encoding(name, &error.into_bytes()),
        }
    }

    fn parse(&mut self, name: String, text: String, role: Role<'_>) {
        // Some editors write a byte order mark, which would count as a column.
        let text = match text.strip_prefix('\u{feff}') {
            Some(text) => text.to_owned(),
            None => text,
        };
        // The last component alone: the same file may be named by another path.
        self.digest.add(name.rsplit('/').next().unwrap_or(&name));
        self.digest.add(&text);
        let file = self.file(name, text);
        let mut reader = Reader {
            file: &file,
            report: &mut self.report,
        };
        match syntax::parse(file.text(), &mut reader) {
            Some(table) => self.draft.read(&mut reader, &table, role),
            None => self.incomplete = true,
        }
        self.first.get_or_insert(file);
    }

    fn file(&mut self, name: String, text: String) -> Arc<SourceFile> {
        self.files += 1;
        SourceFile::new(self.files, name, text)
    }

    fn refuse_file(&mut self, path: &Path, fault: Fault) {
        self.incomplete = true;
        let file = self.file(decode_path(path), String::new());
        self.report.push(Diagnostic::whole_file(&file, fault));
    }

    fn refuse_encoding(&mut self, name: String, bytes: &[u8]) {
        self.incomplete = true;
        let start = bytes
            .utf8_chunks()
            .next()
            .map_or(0, |chunk| chunk.valid().len());
        let byte = bytes.get(start).copied().unwrap_or_default();
        // Up to the first bad byte, the lossy text equals the bytes.
        let file = self.file(name, String::from_utf8_lossy(bytes).into_owned());
        let end = start + char::REPLACEMENT_CHARACTER.len_utf8();
        self.report.push(Diagnostic::new(
            Severity::Error,
            Span::new(&file, start..end),
            Fault::new(
                format!("this is not UTF-8: byte 0x{byte:02x}"),
                "save the file as UTF-8",
            ),
        ));
    }

    fn refuse_absence(&mut self, path: &Path, what: &str, help: &str) {
        self.refuse_file(path, Fault::new(what, help));
    }

    fn finish(mut self, origin: Origin) -> Result<Loaded, Rejected> {
        merge::check(&self.draft, !self.incomplete, &mut self.report);
        // An earlier error may be the cause, and rejects the registry anyway.
        if self.draft.services.is_empty()
            && self.report.errors.is_empty()
            && let Some(file) = &self.first
        {
            let fault = Fault::new("the registry has no services", EMPTY_HELP);
            self.report.push(Diagnostic::whole_file(file, fault));
        }
        self.report.sort();
        let Report { errors, warnings } = self.report;
        if !errors.is_empty() {
            return Err(Rejected { errors, warnings });
        }
        Ok(Loaded {
            registry: merge::finish(self.draft),
            warnings,
            provenance: Provenance {
                path: self.main.filter(|_| origin != Origin::Embedded),
                digest: self.digest.0,
                has_main: self.has_main,
            },
            origin,
        })
    }
}

/// Returns the bytes of a file or a pipe (`--config <(…)`) up to the size limit.
fn read_limited(path: &Path) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| cannot_read("file", &error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_FILE) {
        return Ok(bytes);
    }
    let limit = MAX_FILE >> 20;
    Err(Fault::new(
        format!("this file is larger than {limit} MiB"),
        "split it into fragments, or check that it is the file that you meant",
    ))
}

fn cannot_read(what: &str, error: &io::Error) -> Fault {
    let help = match error.kind() {
        ErrorKind::NotFound => "check the path, and links in it",
        ErrorKind::PermissionDenied => "run as root, or make it readable",
        ErrorKind::IsADirectory => "name a file",
        ErrorKind::NotADirectory => "one of the parts of the path is a file; move it away",
        _ => "check the disk and the path",
    };
    Fault::new(format!("cannot read this {what}: {error}"), help)
}
