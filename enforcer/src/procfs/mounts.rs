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
    pub(crate) root: PathBuf,
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
    Ok(parse_table(&fs::read(process.path("mountinfo"))?))
}

/// Parses a table, whose paths are bytes of any user's choice: a FUSE mount needs no privilege.
/// A line of another form is no mount.
fn parse_table(table: &[u8]) -> Vec<Mount> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(parse).collect()
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let text = |field| String::from_utf8_lossy(field).into_owned();
    Some(Mount {
        id: fields.next().map(text)?,
        device: fields.nth(1).map(text)?,
        root: unescape(fields.next()?),
        point: unescape(fields.next()?),
        // Behind the options and the optional fields. No path holds a space.
        kind: fields.skip_while(|field| *field != b"-").nth(1).map(text)?,
    })
}

/// Undoes the kernel's octal escapes for white space and backslashes (fs/seq_file.c: mangle_path).
fn unescape(bytes: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = (bytes[i] == b'\\')
            .then(|| bytes.get(i + 1..i + 4))
            .flatten()
            .and_then(|octal| u8::from_str_radix(str::from_utf8(octal).ok()?, 8).ok());
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
        let table =
            b"30 24 0:26 / /sys/fs/cgroup/my\\040own rw,nosuid shared:9 - cgroup2 none rw\n\
                      31 24 0:27 /part /sys/fs/bpf rw - bpf bpf rw,mode=700\n";
        let found = parse_table(table);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].point, Path::new("/sys/fs/cgroup/my own"));
        assert_eq!((&*found[0].kind, &*found[0].device), ("cgroup2", "0:26"));
        assert_eq!((&*found[0].id, &*found[0].root), ("30", Path::new("/")));
        assert_eq!((&*found[1].kind, &*found[1].device), ("bpf", "0:27"));
        assert_eq!((&*found[1].id, &*found[1].root), ("31", Path::new("/part")));
    }

    #[test]
    fn a_path_that_is_no_text_hides_no_other_mount() {
        let table = b"30 24 0:26 / / rw - ext4 /dev/vda rw\n\
                      31 24 0:27 /\xff /tmp/x\xff rw - fuse.\xff \xff rw\n\
                      \xff\n\
                      32 24 0:28 / /sys/fs/cgroup rw - cgroup2 none rw\n";
        let found = parse_table(table);
        let ids: Vec<_> = found.iter().map(|mount| &*mount.id).collect();
        assert_eq!(ids, ["30", "31", "32"]);
        let odd = Path::new(OsStr::from_bytes(b"/tmp/x\xff"));
        assert_eq!((&*found[1].device, &*found[1].point), ("0:27", odd));
        assert_eq!(found[2].kind, "cgroup2");
    }

    #[test]
    fn other_lines_are_no_mount() {
        for line in [
            "",
            "30 24 0:26 /",
            "30 24 - bpf bpf rw",
            " - ",
            "30 24 0:26 / / rw",
            "30 24 0:26 / / rw -",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
        assert_eq!(unescape(b"a\\"), Path::new("a\\"));
        assert_eq!(unescape(b"a\\9"), Path::new("a\\9"));
        assert_eq!(
            unescape(b"a\\\xff01"),
            Path::new(OsStr::from_bytes(b"a\\\xff01"))
        );
    }

    #[test]
    fn this_process_has_a_root() {
        let table = table(Process::ThisThread).unwrap();
        assert!(table.iter().any(|mount| mount.point == Path::new("/")));
    }
}
