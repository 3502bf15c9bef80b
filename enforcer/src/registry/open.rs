//! Opening a file of the registry: the kind, the owner and the size.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use super::diagnostic::Fault;
use crate::trust::{self, Distrust};

/// The size limit of a file, in bytes: room for 10,000 prefixes, one on each line, each with a
/// comment of 180 characters.
const MAX_FILE: u64 = 2 << 20;
/// The most attempts at a file that is replaced again and again.
const MAX_ATTEMPTS: usize = 3;

/// A file's contents, and the first reason to distrust these.
pub(super) struct Contents {
    pub(super) bytes: Vec<u8>,
    pub(super) distrust: Option<Distrust>,
}

/// Reads a regular file, or with `pipes` a pipe (`--config <(…)`), up to the size limit.
pub(super) fn read(path: &Path, pipes: bool) -> Result<Contents, Fault> {
    for _ in 0..MAX_ATTEMPTS {
        let (file, kind) = open(path, pipes)?;
        let distrust = match kind {
            FileType::Fifo => trust::examine_pipe(path, file.as_fd()),
            _ => trust::examine_open(path, file.as_fd()),
        };
        let distrust = match distrust {
            Ok(distrust) => distrust,
            // An editor has just put another file in place.
            Err(error) if error.kind() == ErrorKind::StaleNetworkFileHandle => continue,
            Err(error) => return Err(cannot_read("file", &error)),
        };
        let bytes = limited(File::from(file))?;
        return Ok(Contents { bytes, distrust });
    }
    Err(Fault::new(
        "this file is replaced again and again while it is read",
        "find the program that writes it, and read the registry again",
    ))
}

/// Opens a file of an admitted kind.
fn open(path: &Path, pipes: bool) -> Result<(OwnedFd, FileType), Fault> {
    let failed = |error: rustix::io::Errno| cannot_read("file", &error.into());
    let kind_of = |file: &OwnedFd| {
        let found = rustix::fs::fstat(file).map_err(failed)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        match kind {
            FileType::RegularFile => Ok(kind),
            FileType::Fifo if pipes => Ok(kind),
            _ => Err(wrong_kind(kind)),
        }
    };
    let open = |flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
    // O_PATH neither waits for the other end of a pipe nor wakes a device (open(2)).
    let kind = kind_of(&open(OFlags::PATH).map_err(failed)?)?;
    let blocking = match kind {
        FileType::Fifo => OFlags::empty(),
        _ => OFlags::NONBLOCK,
    };
    let file = open(OFlags::RDONLY | blocking).map_err(failed)?;
    // The path may lead to another file by now.
    let kind = kind_of(&file)?;
    Ok((file, kind))
}

fn wrong_kind(kind: FileType) -> Fault {
    let (what, help) = match kind {
        FileType::Directory => ("a folder", "name a file"),
        FileType::Fifo => (
            "a pipe",
            "write a regular file in its place; only `--config` of a command may name a pipe",
        ),
        FileType::Socket => ("a socket", "write a regular file in its place"),
        FileType::CharacterDevice => ("a character device", "write a regular file in its place"),
        FileType::BlockDevice => ("a block device", "write a regular file in its place"),
        _ => ("of an unknown kind", "write a regular file in its place"),
    };
    Fault::new(format!("this is {what}, not a regular file"), help)
}

fn limited(file: File) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
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

/// Returns the failure to read a file or a directory.
pub(super) fn cannot_read(what: &str, error: &io::Error) -> Fault {
    let help = match error.kind() {
        ErrorKind::NotFound => "check the path, and links in it",
        ErrorKind::PermissionDenied => "run as root, or make it readable",
        ErrorKind::NotADirectory => "one of the parts of the path is a file; move it away",
        _ => "check the disk and the path",
    };
    Fault::new(format!("cannot read this {what}: {error}"), help)
}
