//! Files that are no regular files: pipes, sockets, devices and folders.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::{ffi::OsStrExt as _, fs::symlink, net::UnixListener};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::super::{MissingFile, Reader, Source, load, load_within};
use super::etc::{Etc, names};

const A: &str = "[services.a]\nports = [1]\n";

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn a_fragment_must_be_a_regular_file() {
    let etc = Etc::new()
        .with("enforcer.toml", A)
        .with("enforcer.d/no", "");
    pipe(&etc.path("enforcer.d/1.toml"));
    let _listener = UnixListener::bind(etc.path("enforcer.d/2.toml")).unwrap();
    fs::create_dir(etc.path("enforcer.d/3.toml")).unwrap();
    symlink("/dev/zero", etc.path("enforcer.d/4.toml")).unwrap();
    symlink("5.toml", etc.path("enforcer.d/5.toml")).unwrap();
    let begun = Instant::now();
    etc.rejects(
        etc.default(),
        &[
            "enforcer.d/1.toml:1:1 this is a pipe, not a regular file",
            "enforcer.d/2.toml:1:1 this is a socket, not a regular file",
            "enforcer.d/3.toml:1:1 this is a folder, not a regular file",
            "enforcer.d/4.toml:1:1 this is a character device, not a regular file",
            "enforcer.d/5.toml:1:1 cannot read this file: Too many levels of symbolic links (os error 40)",
        ],
    );
    assert!(begun.elapsed() < Duration::from_secs(4), "nobody waited");
}

#[test]
fn a_name_that_is_no_text_is_a_name_all_the_same() {
    let etc = Etc::new().with("enforcer.toml", A);
    let name = std::ffi::OsStr::from_bytes(b"enforcer.d/\xff.toml");
    let etc = etc.with_name(name, "[services.b]\nports = [2]\n");
    assert_eq!(names(&etc.default().unwrap()), ["a", "b"]);
    let etc = etc.with_name(name, "broken");
    assert!(
        etc.default()
            .unwrap_err()
            .to_string()
            .contains("\\xff.toml")
    );
}

#[test]
fn only_a_file_that_a_person_names_may_be_a_pipe() {
    let etc = Etc::new();
    pipe(&etc.path("pipe.toml"));
    let source = Source::Named(etc.path("pipe.toml"));
    etc.rejects(
        load(&source, &Reader::STRICT),
        &["pipe.toml:1:1 this is a pipe, not a regular file"],
    );
    let path = etc.path("pipe.toml");
    let writer = thread::spawn(move || {
        let mut pipe = OpenOptions::new().write(true).open(path).unwrap();
        // The reader waits for the rest.
        pipe.write_all(&A.as_bytes()[..5]).unwrap();
        thread::sleep(Duration::from_millis(50));
        pipe.write_all(&A.as_bytes()[5..]).unwrap();
    });
    let loaded = load_within(&source, &Reader::NAMED, Duration::from_secs(60)).unwrap();
    assert_eq!(names(&loaded), ["a"]);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    writer.join().unwrap();
}

#[test]
fn a_pipe_without_a_writer_is_given_up() {
    let etc = Etc::new().with("enforcer.toml", A);
    pipe(&etc.path("pipe.toml"));
    let limit = Duration::from_millis(100);
    let source = Source::Named(etc.path("pipe.toml"));
    let rejected = load_within(&source, &Reader::NAMED, limit).unwrap_err();
    let shown = etc.shown(&rejected.errors);
    assert_eq!(
        shown,
        ["pipe.toml:1:1 pipe.toml did not answer within 0.1 s"]
    );
    // The control, which also lets the thread end.
    fs::write(etc.path("pipe.toml"), A).unwrap();
    let source = Source::Default {
        path: etc.path("enforcer.toml"),
        absent: MissingFile::Embedded,
    };
    load_within(&source, &Reader::NAMED, Duration::from_secs(60)).unwrap();
}
