//! Which files make a registry, and reading them.

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
use super::{EMBEDDED, merge, syntax};

/// Where the registry is unless `--config` names another place.
pub const DEFAULT_PATH: &str = "/etc/enforcer/enforcer.toml";

/// The name under which diagnostics would show the embedded registry.
const EMBEDDED_NAME: &str = "<embedded registry>";
/// The largest file that is read, in bytes: 10,000 prefixes, one on each line, with a comment of
/// a thousand characters.
const MAX_FILE: u64 = 16 << 20;
const EMPTY_HELP: &str = "add a table such as `[services.redis]` with `ports = [6379]`; to stop enforcing, run `enforcer down`";

/// Where to look for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The default place, where the file may be absent.
    Default {
        /// The registry's path, in production [`DEFAULT_PATH`].
        path: PathBuf,
        /// What it means that it is.
        absent: MissingFile,
    },
    /// A file that `--config` names: it must be there.
    Named(PathBuf),
    /// The embedded registry, whatever the files say: for `run` at boot with a bad registry.
    Embedded,
}

/// What it means that the file at the default place is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingFile {
    /// Its fragments stand alone; where there are none either, the embedded registry applies.
    Embedded,
    /// Its fragments stand alone, and there must be some.
    Fragments,
    /// It was there when the policy in force was made: what it said must not be forgotten.
    Vanished,
}

/// What a registry was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded registry.
    Embedded,
    /// These files, in the order of reading.
    Files(Vec<PathBuf>),
}

/// Where a registry can be read again, and whether it is still the same then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The main file, absolute; `None` for the embedded registry.
    pub path: Option<PathBuf>,
    /// A digest of the names and texts of all its files.
    pub digest: u64,
    /// The main file was there, and not its fragments alone.
    pub has_main: bool,
}

/// A good registry.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The registry.
    pub registry: Registry,
    /// What the operator should know about its text; see [`super::lint`] for more.
    pub warnings: Vec<Diagnostic>,
    /// What it was made from.
    pub origin: Origin,
    /// The same, for who has to find it again.
    pub provenance: Provenance,
}

/// A bad registry, and everything that is wrong with it.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Why it is rejected, in the order of the files: at least one.
    pub errors: Vec<Diagnostic>,
    /// What would only be warned of.
    pub warnings: Vec<Diagnostic>,
}

impl fmt::Display for Rejected {
    /// Every error, as an operator reads it, without colours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(&self.errors, false))
    }
}

impl std::error::Error for Rejected {}

/// Reads a registry and its fragments, and answers with all of it or with all that is wrong.
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

/// A registry from texts: the main file, then fragments.
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
    /// How many files were looked at, which orders their diagnostics.
    files: usize,
    /// A file could not be read or parsed: what seems to be missing may be in it.
    incomplete: bool,
    /// The first file that was parsed, to name when the whole is wrong.
    first: Option<Arc<SourceFile>>,
    /// The main file, absolute.
    main: Option<PathBuf>,
    /// It is there, or has to be.
    has_main: bool,
    digest: Digest,
}

/// FNV-1a with 64 bits (RFC 9923): the same in every build, unlike the standard library's
/// hashers. It tells an edited file from one that is not, and is no defence against anybody.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn add(&mut self, text: &str) {
        // A byte that no UTF-8 holds ends each text.
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
            // Whatever is wrong with the place is said already.
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
        // A link to nothing is not an absent file: somebody meant one to be there.
        let absent =
            matches!(fs::symlink_metadata(path), Err(e) if e.kind() == ErrorKind::NotFound);
        if required || !absent {
            self.has_main = true;
            self.read(path, Role::Main);
            files.push(path.to_owned());
        }
        let shown = path.display().to_string();
        for fragment in self.fragments(path) {
            self.read(&fragment, Role::Fragment(&shown));
            files.push(fragment);
        }
        Origin::Files(files)
    }

    /// The fragments of a registry, sorted by name. As in a shell, `*` does not stand for a leading
    /// dot, which keeps editors' lock files out.
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
        let name = path.display().to_string();
        match String::from_utf8(bytes) {
            Ok(text) => self.parse(name, text, role),
            Err(error) => self.refuse_encoding(name, &error.into_bytes()),
        }
    }

    fn parse(&mut self, name: String, text: String, role: Role<'_>) {
        // Some editors put one there. It is no part of the text, and would count as a column.
        let text = match text.strip_prefix('\u{feff}') {
            Some(text) => text.to_owned(),
            None => text,
        };
        // Its last part: the same file may be named from another folder.
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
        let file = self.file(path.display().to_string(), String::new());
        self.report.push(Diagnostic::whole_file(&file, fault));
    }

    fn refuse_encoding(&mut self, name: String, bytes: &[u8]) {
        self.incomplete = true;
        let start = bytes
            .utf8_chunks()
            .next()
            .map_or(0, |chunk| chunk.valid().len());
        let byte = bytes.get(start).copied().unwrap_or_default();
        // Up to the first bad byte the replaced text is the text itself.
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
        // Another error may be the reason that nothing was found, and rejects the registry as well.
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

/// The bytes of a file; pipes are welcome (`--config <(…)`), endless ones are not.
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
