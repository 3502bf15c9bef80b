//! Files and folders that others than root may change.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use super::super::{Loaded, MissingFile, Reader, Rejected, Source, load};
use super::etc::{Etc, names};

const A: &str = "[services.a]\nports = [1]\n";
const B: &str = "[services.b]\nports = [2]\n";

fn strict(etc: &Etc) -> Result<Loaded, Rejected> {
    etc.read(MissingFile::Embedded, &Reader::STRICT)
}

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Another user's files cannot be made without root: there every file is another user's.
#[test]
fn without_root_no_file_is_roots() {
    let etc = Etc::new().with("enforcer.toml", A);
    match is_root() {
        true => assert_eq!(names(&strict(&etc).unwrap()), ["a"]),
        false => assert!(
            strict(&etc)
                .unwrap_err()
                .to_string()
                .contains("not to root")
        ),
    }
}

#[test]
fn what_others_may_write_is_refused_or_warned_of_once() {
    if !is_root() {
        return;
    }
    type Spoil = fn(&Etc);
    let rows: [(Spoil, &str, &str); 5] = [
        (
            |etc| set(&etc.path("enforcer.toml"), 0o666),
            "enforcer.toml:1:1 enforcer.toml may be written by others than root (mode 0666)",
            "chmod go-w",
        ),
        (
            |etc| set(&etc.path("enforcer.d/b.toml"), 0o664),
            "enforcer.d/b.toml:1:1 enforcer.d/b.toml may be written by others than root (mode 0664)",
            "chmod go-w",
        ),
        (
            |etc| chown(etc.path("enforcer.d/b.toml"), Some(65534), None).unwrap(),
            "enforcer.d/b.toml:1:1 enforcer.d/b.toml belongs to user 65534, not to root",
            "chown -h root",
        ),
        (
            |etc| set(&etc.path("enforcer.d"), 0o777),
            "enforcer.d:1:1 enforcer.d may be written by others than root (mode 0777)",
            "chmod go-w",
        ),
        (
            |etc| {
                fs::rename(etc.path("enforcer.d/b.toml"), etc.path("theirs/b.toml")).unwrap();
                symlink("../theirs/b.toml", etc.path("enforcer.d/b.toml")).unwrap();
                chown(etc.path("theirs"), Some(65534), None).unwrap();
            },
            "enforcer.d/b.toml:1:1 theirs belongs to user 65534, not to root",
            "chown -h root",
        ),
    ];
    for (spoil, text, cure) in rows {
        let etc = Etc::new()
            .with("enforcer.toml", A)
            .with("enforcer.d/b.toml", B)
            .with("theirs/other", "");
        assert_eq!(names(&strict(&etc).unwrap()), ["a", "b"], "the control");
        spoil(&etc);
        let rejected = strict(&etc).unwrap_err();
        assert_eq!(etc.shown(&rejected.errors), [text]);
        let help = rejected.errors[0].help().unwrap();
        assert!(help.contains(cure), "{help}");
        let loaded = etc.default().unwrap();
        assert_eq!(names(&loaded), ["a", "b"]);
        assert_eq!(etc.shown(&loaded.warnings), [text]);
    }
}

#[test]
fn one_folder_is_named_once() {
    if !is_root() {
        return;
    }
    let etc = Etc::new()
        .with("etc/enforcer.toml", A)
        .with("etc/enforcer.d/b.toml", B);
    set(&etc.path("etc"), 0o777);
    let source = Source::Named(etc.path("etc/enforcer.toml"));
    let loaded = load(&source, &Reader::NAMED).unwrap();
    assert_eq!(
        etc.shown(&loaded.warnings),
        ["etc/enforcer.toml:1:1 etc may be written by others than root (mode 0777)"]
    );
    // `run` believes no such file, whoever named the file.
    assert_eq!(load(&source, &Reader::STRICT).unwrap_err().errors.len(), 1);
    // The text of a distrusted file stays unread: a link may lead to another's secrets.
    fs::write(etc.path("etc/enforcer.toml"), "secret = 1").unwrap();
    let told = load(&source, &Reader::STRICT).unwrap_err().to_string();
    assert!(!told.contains("secret"), "{told}");
}

/// A user of such a folder could put a registry there, or take one away.
#[test]
fn an_absent_registry_in_the_folder_of_others_is_not_believed() {
    if !is_root() {
        return;
    }
    let etc = Etc::new();
    strict(&etc).unwrap();
    set(&etc.path(""), 0o777);
    strict(&etc).unwrap_err();
    // A sticky folder keeps what is there, and lets others add to it.
    set(&etc.path(""), 0o1777);
    strict(&etc).unwrap_err();
    fs::create_dir(etc.path("enforcer.d")).unwrap();
    let etc = etc.with("enforcer.toml", A);
    assert_eq!(names(&strict(&etc).unwrap()), ["a"]);
    fs::remove_dir(etc.path("enforcer.d")).unwrap();
    strict(&etc).unwrap_err();
}
