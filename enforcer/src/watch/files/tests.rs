//! Watched directories, and events of real files.

use std::os::{fd::AsRawFd as _, unix::fs::symlink};

use super::*;
use crate::printable::decode_path;

/// The kernel's numbers of the watches of an instance (proc_pid_fdinfo(5)).
fn kernels(watcher: &FileWatcher) -> usize {
    let fd = watcher.inotify.as_ref().unwrap().descriptor();
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .filter(|line| line.starts_with("inotify "))
        .count()
}

async fn is_told(watcher: &mut FileWatcher) -> bool {
    let limit = Duration::from_secs(2);
    tokio::time::timeout(limit, watcher.changed()).await.is_ok()
}

#[tokio::test]
async fn one_instance_follows_every_edit() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let main = root.join("etc/main.toml");
    let (mut watcher, reason) = FileWatcher::open(&main);
    assert!(reason.is_none());
    let before = watcher.inotify.as_ref().unwrap().descriptor().as_raw_fd();
    let watches = watcher.watches();
    watches.renew(&main).unwrap();
    for round in 0..3 {
        fs::create_dir_all(root.join("etc/main.d")).unwrap();
        assert!(is_told(&mut watcher).await, "a new folder, round {round}");
        watches.renew(&main).unwrap();
        fs::write(root.join("etc/main.d/a.toml"), "").unwrap();
        assert!(is_told(&mut watcher).await, "a fragment, round {round}");
        watches.renew(&main).unwrap();
        // The directories of the root, of `etc` and of `main.d` at most.
        assert!(kernels(&watcher) <= 3, "{}", kernels(&watcher));
        fs::rename(root.join("etc"), root.join(format!("old{round}"))).unwrap();
        assert!(is_told(&mut watcher).await, "a folder goes, round {round}");
        watches.renew(&main).unwrap();
    }
    // The folders that went are watched no more.
    while is_told(&mut watcher).await {}
    fs::write(root.join("old0/main.d/b.toml"), "").unwrap();
    assert!(!is_told(&mut watcher).await);
    assert_eq!(kernels(&watcher), 1);
    let after = watcher.inotify.as_ref().unwrap().descriptor().as_raw_fd();
    assert_eq!(before, after);
}

/// Waits for a change, for at most a second, with a look every tenth.
async fn is_looked_at(watcher: &mut FileWatcher) -> bool {
    watcher.look = SlowLook::every(Duration::from_millis(100));
    let limit = Duration::from_secs(1);
    tokio::time::timeout(limit, watcher.changed()).await.is_ok()
}

#[tokio::test]
async fn without_an_instance_looks_take_the_place_of_events() {
    let root = tempfile::tempdir().unwrap();
    let (mut watcher, _) = FileWatcher::open(root.path());
    watcher.inotify = None;
    assert!(is_looked_at(&mut watcher).await);
    // An instance is made when one can be had.
    assert!(watcher.inotify.is_some());
    assert!(!is_looked_at(&mut watcher).await);
}

#[tokio::test]
async fn a_directory_that_cannot_be_watched_is_looked_at() {
    let root = tempfile::tempdir().unwrap();
    let (mut watcher, _) = FileWatcher::open(root.path());
    assert!(!is_looked_at(&mut watcher).await, "the control");
    watcher.watches.0.is_blind.store(true, Ordering::Relaxed);
    assert!(is_looked_at(&mut watcher).await);
    assert!(is_looked_at(&mut watcher).await);
}

#[tokio::test]
async fn an_event_that_no_one_waited_for_is_pending() {
    let root = tempfile::tempdir().unwrap();
    let main = root.path().join("main.toml");
    let (mut watcher, _) = FileWatcher::open(&main);
    watcher.watches().renew(&main).unwrap();
    fs::write(&main, "").unwrap();
    // Cancelled in the debounce.
    let short = Duration::from_millis(10);
    assert!(
        tokio::time::timeout(short, watcher.changed())
            .await
            .is_err()
    );
    assert!(watcher.is_pending());
    assert!(is_told(&mut watcher).await);
    assert!(!watcher.is_pending());
}

/// Returns the watched directories for `etc/enforcer/main.toml` in a new directory, relative to
/// the latter.
fn watched(make: impl Fn(&Path)) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    for directory in ["etc", "srv/deep", "static"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    make(&root);
    let directories = directories_of(&root.join("etc/enforcer/main.toml"));
    let inside = directories
        .iter()
        .filter_map(|it| it.strip_prefix(&root).ok());
    inside.map(decode_path).collect()
}

fn directory(root: &Path) {
    fs::create_dir_all(root.join("etc/enforcer/main.d")).unwrap();
}

#[test]
fn files_are_watched_by_their_directory() {
    assert_eq!(watched(directory), ["etc/enforcer", "etc/enforcer/main.d"]);
    assert_eq!(watched(|_| ()), ["etc"], "until there is one");
}

#[test]
fn every_link_on_the_way_is_watched() {
    let way = watched(|root| {
        symlink(root.join("static/enforcer"), root.join("etc/enforcer")).unwrap();
        symlink("../srv/real", root.join("static/enforcer")).unwrap();
        fs::create_dir_all(root.join("srv/real")).unwrap();
        symlink("../deep/x.toml", root.join("srv/real/main.toml")).unwrap();
    });
    assert_eq!(way, ["etc", "srv/deep", "srv/real", "static"]);
}

#[test]
fn a_fragment_may_be_a_link() {
    let way = watched(|root| {
        directory(root);
        symlink(
            root.join("srv/deep/a.toml"),
            root.join("etc/enforcer/main.d/a.toml"),
        )
        .unwrap();
    });
    assert_eq!(way, ["etc/enforcer", "etc/enforcer/main.d", "srv/deep"]);
}

#[test]
fn links_in_a_circle_have_an_end() {
    let way = watched(|root| symlink("enforcer", root.join("etc/enforcer")).unwrap());
    assert_eq!(way, ["etc"]);
}
