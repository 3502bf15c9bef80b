//! Reading the files of a registry: their names, their order, and whom to trust.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Fault, Severity};
use super::draft::{Draft, Role};
use super::files::{
    EMBEDDED, FragmentFolder, Loaded, MissingFile, Origin, Place, Provenance, Rejected,
};
use super::open::{self, cannot_read};
use super::read::TableReader;
use super::reader::{Reader, Trust};
use super::report::Report;
use super::source::{SourceFile, Span};
use super::{merge, syntax};
use crate::printable::{self, decode_path};
use crate::trust::{self, Distrust};

/// The file name of the embedded registry in diagnostics.
const EMBEDDED_NAME: &str = "<embedded registry>";
/// The size limit of all files together, in bytes.
const MAX_BYTES: usize = 4 << 20;
const EMPTY_HELP: &str = "add a table such as `[services.redis]` with `ports = [6379]`; to stop enforcing, run `enforcer down`";

/// A registry that is being read.
pub(super) struct Loader<'a> {
    reader: &'a Reader,
    /// The file at work, for other threads.
    place: &'a Place,
    report: Report,
    draft: Draft,
    /// The number of files seen, which orders diagnostics.
    files: usize,
    /// The bytes of the files so far.
    bytes: usize,
    /// Whether a file could not be read or parsed: an undefined name may be defined there.
    incomplete: bool,
    /// The first parsed file, for errors about the registry as a whole.
    first: Option<Arc<SourceFile>>,
    /// The main file, absolute.
    main: Option<PathBuf>,
    /// Whether the main file exists, or must exist.
    has_main: bool,
    /// The folder of the fragments, if there are any.
    fragments: Option<FragmentFolder>,
    /// The paths that were named as not root's alone: a folder is named once.
    distrusted: BTreeSet<PathBuf>,
    digest: Digest,
}

/// FNV-1a with 64 bits (RFC 9923): the same in every build, unlike the standard library's
/// hashers. The digest detects edits and is no defence against forgery.
pub(super) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        // A byte that never occurs in UTF-8 ends each text.
        for &byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) const fn value(&self) -> u64 {
        self.0
    }
}

impl<'a> Loader<'a> {
    pub(super) fn new(reader: &'a Reader, place: &'a Place, main: Option<PathBuf>) -> Self {
        Self {
            reader,
            place,
            report: Report::default(),
            draft: Draft::default(),
            files: 0,
            bytes: 0,
            incomplete: false,
            first: None,
            main,
            has_main: false,
            fragments: None,
            distrusted: BTreeSet::new(),
            digest: Digest::default(),
        }
    }

    pub(super) fn read_embedded(&mut self) -> Origin {
        self.parse(EMBEDDED_NAME.to_owned(), EMBEDDED.to_owned(), Role::Main);
        Origin::Embedded
    }

    pub(super) fn read_default(&mut self, path: &Path, absent: MissingFile) -> Origin {
        let origin = self.read_files(path, false);
        let none = matches!(&origin, Origin::Files(files) if files.is_empty());
        match absent {
            // Errors about the path are reported already.
            _ if self.has_main || self.report.has_errors() => {}
            MissingFile::Embedded if none => return self.read_embedded(),
            MissingFile::Fragments if none => self.refuse_absence(
                path,
                "there is no registry: the file and its fragments are absent",
                "put the files back, or write new ones; the policy in force stays as it is, and \
                 `enforcer down` ends it",
            ),
            MissingFile::Vanished => self.refuse_absence(
                path,
                "this file is gone: the policy in force was made from it",
                "put it back, if need be as an empty file beside its fragments; to begin without \
                 it, run `enforcer down` first",
            ),
            MissingFile::Embedded | MissingFile::Fragments => {}
        }
        origin
    }

    pub(super) fn read_files(&mut self, path: &Path, required: bool) -> Origin {
        let mut files = Vec::new();
        self.place.set(path);
        // A dangling link is not an absent file: the operator meant a file to exist.
        let is_absent = is_absent(path);
        if required || !is_absent {
            self.has_main = true;
            self.read(path, Role::Main, self.reader.pipes);
            files.push(path.to_owned());
        } else {
            let found = trust::examine(path);
            self.judge(path, found);
        }
        let shown = decode_path(path);
        let more = self.reader.fragment.as_deref();
        for fragment in self.fragments(path) {
            if more.is_some_and(|more| is_same_file(more, &fragment)) {
                continue;
            }
            self.read(&fragment, Role::Fragment(&shown), false);
            files.push(fragment);
        }
        if let Some(more) = more {
            self.read(more, Role::Fragment(&shown), true);
            files.push(more.to_owned());
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
        self.place.set(&directory);
        let names = match fragment_names(&directory) {
            Ok(names) => names,
            Err(error) => {
                self.refuse_file(&directory, cannot_read("folder", &error));
                return Vec::new();
            }
        };
        let found = trust::examine(&directory);
        if !self.judge(&directory, found) {
            return Vec::new();
        }
        let here = fs::metadata(&directory).ok();
        let here = here.map(|found| FragmentFolder::new(found.dev(), found.ino()));
        match names.is_empty() {
            true => self.miss_fragments(&directory, here),
            false => self.fragments = here,
        }
        names.into_iter().map(|name| directory.join(name)).collect()
    }

    /// Reports fragments that are gone with their folder: the policy in force was made from these,
    /// and must not lose their ports. An operator who removes the last fragment leaves the folder.
    fn miss_fragments(&mut self, directory: &Path, here: Option<FragmentFolder>) {
        let in_force = self.reader.in_force.as_ref();
        let then = in_force.filter(|it| it.path == self.main && it.path.is_some());
        if then.is_some_and(|it| it.fragments.is_some() && it.fragments != here) {
            self.refuse_absence(
                directory,
                "this folder of fragments is gone: the policy in force was made with it",
                "put it back, or mount it again; to begin without it, run `enforcer down` first",
            );
        }
    }

    /// Reports a file or a folder that others than root may change, once. Returns whether the file
    /// may be parsed.
    fn judge(&mut self, path: &Path, found: io::Result<Option<Distrust>>) -> bool {
        let (culprit, fault) = match found {
            Ok(None) => return true,
            Ok(Some(found)) => {
                let help = format!(
                    "run `{}`: a user who may change it may open or block any port",
                    printable::name(&found.cure())
                );
                let text = printable::name(&found.to_string()).into_owned();
                (found.path.clone(), Fault::new(text, help))
            }
            Err(error) => {
                let text = format!("failed to find out who may change this file: {error}");
                (path.to_owned(), Fault::new(text, "check the path"))
            }
        };
        let is_refused = self.reader.trust == Trust::Refuse;
        self.incomplete |= is_refused;
        if self.distrusted.insert(culprit) {
            let severity = match self.reader.trust {
                Trust::Refuse => Severity::Error,
                Trust::Warn => Severity::Warning,
            };
            let file = self.file(decode_path(path), String::new());
            self.report
                .push(Diagnostic::of_file(severity, &file, fault));
        }
        !is_refused
    }

    fn read(&mut self, path: &Path, role: Role<'_>, pipes: bool) {
        self.place.set(path);
        let contents = match open::read(path, pipes) {
            Ok(contents) => contents,
            Err(fault) => return self.refuse_file(path, fault),
        };
        if !self.judge(path, Ok(contents.distrust)) {
            return;
        }
        self.bytes += contents.bytes.len();
        if self.bytes > MAX_BYTES {
            return self.refuse_file(path, too_many_bytes());
        }
        let name = decode_path(path);
        match String::from_utf8(contents.bytes) {
            Ok(text) => self.parse(name, text, role),
            Err(error) => self.refuse_encoding(name, &error.into_bytes()),
        }
    }

    pub(super) fn parse(&mut self, name: String, text: String, role: Role<'_>) {
        // Some editors write a byte order mark, which would count as a column.
        let text = match text.strip_prefix('\u{feff}') {
            Some(text) => text.to_owned(),
            None => text,
        };
        // The last component alone: the same file may be named by another path.
        let name_alone = name.rsplit('/').next().unwrap_or(&name);
        self.digest.add(name_alone.as_bytes());
        self.digest.add(text.as_bytes());
        let file = self.file(name, text);
        let mut reader = TableReader {
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

    pub(super) fn finish(mut self, origin: Origin) -> Result<Loaded, Rejected> {
        merge::check(&self.draft, !self.incomplete, &mut self.report);
        // An earlier error may be the cause, and rejects the registry anyway.
        if self.draft.services.is_empty()
            && !self.report.has_errors()
            && let Some(file) = &self.first
        {
            let fault = Fault::new("the registry has no services", EMPTY_HELP);
            self.report.push(Diagnostic::whole_file(file, fault));
        }
        let (errors, warnings) = self.report.finish();
        if !errors.is_empty() {
            return Err(Rejected { errors, warnings });
        }
        Ok(Loaded {
            registry: merge::finish(self.draft),
            warnings,
            provenance: Provenance {
                path: self.main.filter(|_| origin != Origin::Embedded),
                digest: self.digest.value(),
                has_main: self.has_main,
                fragments: self.fragments,
            },
            origin,
        })
    }
}

fn too_many_bytes() -> Fault {
    let limit = MAX_BYTES >> 20;
    Fault::new(
        format!("the files of the registry are larger than {limit} MiB together"),
        "shorten them, or check that they are the files that you meant",
    )
}

/// Returns whether two paths lead to one file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// Returns whether a path leads to nothing, without a dangling link on the way: such a link is
/// meant to lead to something.
fn is_absent(path: &Path) -> bool {
    let is_nothing = |found: io::Result<fs::Metadata>| matches!(found, Err(error) if error.kind() == ErrorKind::NotFound);
    let mut here = path;
    loop {
        match fs::symlink_metadata(here) {
            Ok(found) => {
                return here != path && !(found.is_symlink() && is_nothing(fs::metadata(here)));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return false,
            Err(_) => match here.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => here = parent,
                _ => return true,
            },
        }
    }
}

/// Returns the names of the fragments in a folder, sorted; none if the folder is absent.
fn fragment_names(directory: &Path) -> io::Result<Vec<OsString>> {
    let listed = fs::read_dir(directory).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut names = match listed {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound && is_absent(directory) => Vec::new(),
        Err(error) => return Err(error),
    };
    names.retain(|name| {
        let name = name.as_encoded_bytes();
        name.ends_with(b".toml") && !name.starts_with(b".")
    });
    names.sort();
    Ok(names)
}
