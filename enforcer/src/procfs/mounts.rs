//! Mount tables: /proc/PID/mountinfo (proc_pid_mountinfo(5)).

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use super::Process;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The id, unique in the system: another mount namespace has other ids.
    pub(crate) id: String,
    /// Major and minor number of the device.
    pub(crate) device: String,
    /// The part of the file system that is mounted: `/` for all.
    pub(crate) root: String,
    /// The mount point.
    pub(crate) point: PathBuf,
    /// The type of the file system.
    pub(crate) kind: String,
}

/// Opens the mount table of a process, to wait for changes.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn open(process: Process) -> io::Result<File> {
    File::open(process.path("mountinfo"))
}

/// Returns the mount table of a process.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn table(process: Process) -> io::Result<Vec<Mount>> {
    let table = fs::read_to_string(process.path("mountinfo"))?;
    Ok(table.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let mut fields = front.split(' ');
    Some(Mount {
        id: fields.next()?.to_owned(),
        device: fields.nth(1)?.to_owned(),
        root: fields.next()?.to_owned(),
        point: unescape(fields.next()?),
        kind: back.split(' ').next()?.to_owned(),
    })
}

/// Undoes the kernel's octal escapes for white space and backslashes (fs/seq_file.c: mangle_path).
fn unescape(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = (bytes[i] == b'\\')
            .then(|| field.get(i + 1..i + 4))
            .flatten()
            .and_then(|octal| u8::from_str_radix(octal, 8).ok());
        plain.push(escaped.unwrap_or(bytes[i]));
        i += if escaped.is_some() { 4 } else { 1 };
    }
    PathBuf::from(OsStr::from_bytes(&plain))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_mount_table_is_read_with_its_escapes() {
        let table = "30 24 0:26 / /sys/fs/cgroup/my\\040own rw,nosuid shared:9 - cgroup2 none rw\n\
                     31 24 0:27 /part /sys/fs/bpf rw - bpf bpf rw,mode=700\n";
        let found: Vec<_> = table.lines().filter_map(parse).collect();
        assert_eq!(found[0].point, Path::new("/sys/fs/cgroup/my own"));
        assert_eq!((&*found[0].kind, &*found[0].device), ("cgroup2", "0:26"));
        assert_eq!((&*found[0].id, &*found[0].root), ("30", "/"));
        assert_eq!((&*found[1].kind, &*found[1].device), ("bpf", "0:27"));
        assert_eq!((&*found[1].id, &*found[1].root), ("31", "/part"));
    }

    #[test]
    fn other_lines_are_no_mount() {
        for line in ["", "30 24 0:26 /", "30 24 - bpf bpf rw", " - "] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert_eq!(unescape("a\\"), Path::new("a\\"));
        assert_eq!(unescape("a\\9"), Path::new("a\\9"));
    }

    #[test]
    fn this_process_has_a_root() {
        let table = table(Process::ThisThread).unwrap();
        assert!(table.iter().any(|mount| mount.point == Path::new("/")));
    }
}
