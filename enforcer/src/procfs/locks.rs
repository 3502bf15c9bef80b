//! File locks: /proc/locks (proc_locks(5)).

use std::fs;

use super::Process;

/// Returns the process that holds a flock(2) on a file, by the file's device and inode: its id and
/// its name. `None` where /proc does not show the process.
pub(crate) fn holder(device: u64, inode: u64) -> Option<(u32, String)> {
    let id = parse(&fs::read_to_string("/proc/locks").ok()?, device, inode)?;
    Some((id, Process::Id(id).name()?))
}

/// A line is `1: FLOCK  ADVISORY  WRITE 1234 00:1a:567 0 EOF`, with the device in hexadecimal
/// digits; a waiting process has `->` after the number.
fn parse(table: &str, device: u64, inode: u64) -> Option<u32> {
    let file = format!(
        "{:02x}:{:02x}:{inode}",
        libc::major(device),
        libc::minor(device)
    );
    let holder = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let is_lock = fields.next()? == "FLOCK";
        let id = fields.nth(2)?;
        (is_lock && fields.next()? == file).then(|| id.parse().ok())?
    };
    table.lines().find_map(holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_by_the_file() {
        let table = "1: POSIX  ADVISORY  WRITE 7 00:1a:567 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 1234 00:1a:567 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 99 00:1a:568 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 55 08:01:567 0 EOF\n";
        let device = |major, minor| libc::makedev(major, minor);
        assert_eq!(parse(table, device(0, 0x1a), 567), Some(1234));
        assert_eq!(parse(table, device(8, 1), 567), Some(55));
        assert_eq!(
            parse(table, device(0, 0x1a), 568),
            None,
            "a waiting process"
        );
        assert_eq!(parse(table, device(0, 0x1a), 5), None);
        assert_eq!(parse("", 0, 0), None);
    }
}
