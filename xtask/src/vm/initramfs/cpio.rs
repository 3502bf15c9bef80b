//! Archives for the kernel's initramfs, in cpio's "newc" format.
//!
//! Source of the format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
//! A header of fourteen numbers, eight hexadecimal digits each, precedes each name and content. The
//! kernel unpacks several archives from one file, one after the other.
//!
//! This writer is shorter than the use of a library.

use std::collections::BTreeSet;

const MAGIC: &str = "070701";
const FOLDER: usize = 0o040_755;
const FILE: usize = 0o100_644;
const PROGRAM: usize = 0o100_755;
const LINK: usize = 0o120_777;

/// Alignment of headers, names and contents.
const ALIGN: usize = 4;

/// Unfinished archive. Root owns all files.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: usize,
    names: BTreeSet<String>,
}

impl Archive {
    /// Adds an empty folder, and all folders above.
    pub(crate) fn folder(&mut self, path: &str) {
        self.parents(path);
        if self.names.insert(path.to_owned()) {
            self.entry(path, FOLDER, &[]);
        }
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.leaf(path, FILE, content);
    }

    /// Adds an executable file.
    pub(crate) fn program(&mut self, path: &str, content: &[u8]) {
        self.leaf(path, PROGRAM, content);
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.leaf(path, LINK, target.as_bytes());
    }

    /// Returns the finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn leaf(&mut self, path: &str, mode: usize, content: &[u8]) {
        self.parents(path);
        if self.names.insert(path.to_owned()) {
            self.entry(path, mode, content);
        }
    }

    fn parents(&mut self, path: &str) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
    }

    fn entry(&mut self, name: &str, mode: usize, content: &[u8]) {
        self.inode += 1;
        // Eight digits suffice for any size within a guest's memory.
        let header = [
            self.inode,
            mode,
            0, // uid
            0, // gid
            1, // links
            0, // time of the last change
            content.len(),
            0, // the file system's device
            0,
            0, // the node's device
            0,
            name.len() + 1,
            0, // no checksum in this format
        ];
        self.bytes.extend_from_slice(MAGIC.as_bytes());
        for number in header {
            self.bytes
                .extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        let length = self.bytes.len().next_multiple_of(ALIGN);
        self.bytes.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_in_its_place() {
        let mut archive = Archive::default();
        archive.program("a/b", b"hello");
        let bytes = archive.finish();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let folder = format!(
            "070701{}",
            [
                "00000001", "000041ed", "00000000", "00000000", "00000001", "00000000", "00000000",
                "00000000", "00000000", "00000000", "00000000", "00000002", "00000000"
            ]
            .concat()
        );
        assert_eq!(text.get(..110), Some(folder.as_str()));
        // 110 bytes of header and "a\0" end at 112, a multiple of 4.
        assert_eq!(text.get(110..112), Some("a\0"));
        let file = format!(
            "070701{}",
            [
                "00000002", "000081ed", "00000000", "00000000", "00000001", "00000000", "00000005",
                "00000000", "00000000", "00000000", "00000000", "00000004", "00000000"
            ]
            .concat()
        );
        assert_eq!(text.get(112..222), Some(file.as_str()));
        // The name ends at 226, the content begins at 228 and ends at 233.
        assert_eq!(text.get(222..236), Some("a/b\0\0\0hello\0\0\0"));
        let trailer = text.get(236..).unwrap();
        assert!(trailer.starts_with("07070100000003"), "{trailer}");
        assert_eq!(trailer.get(110..), Some("TRAILER!!!\0\0\0\0"));
        assert_eq!(bytes.len() % ALIGN, 0);
    }

    #[test]
    fn a_folder_is_written_once_and_before_its_content() {
        let mut archive = Archive::default();
        archive.file("usr/lib/one", b"");
        archive.link("usr/lib/two", "one");
        archive.folder("usr");
        let text = String::from_utf8(archive.finish()).unwrap();
        assert_eq!(text.matches("usr\0").count(), 1, "{text}");
        assert!(text.find("usr\0") < text.find("usr/lib\0"));
        assert!(text.find("usr/lib\0") < text.find("usr/lib/one\0"));
        assert!(text.contains("usr/lib/two\0"));
    }
}
