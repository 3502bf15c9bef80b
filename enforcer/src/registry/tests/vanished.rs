//! Fragments that vanish with their folder, and dangling links on the way.

use std::fs;
use std::os::unix::fs::symlink;

use super::super::{Loaded, MissingFile, Origin, Provenance, Reader, Rejected};
use super::etc::{Etc, names};

const A: &str = "[services.a]\nports = [1]\n";
const B: &str = "[services.b]\nports = [2]\n";
const GONE: &str =
    "enforcer.d:1:1 this folder of fragments is gone: the policy in force was made with it";

/// Reads the registry again, beside a policy in force.
fn again(etc: &Etc, in_force: &Provenance) -> Result<Loaded, Rejected> {
    let reader = Reader::NAMED.again(Some(in_force.clone()));
    etc.read(MissingFile::Vanished, &reader)
}

fn whole() -> (Etc, Provenance) {
    let etc = Etc::new()
        .with("enforcer.toml", A)
        .with("enforcer.d/b.toml", B);
    let provenance = etc.default().unwrap().provenance;
    assert!(provenance.has_main && provenance.fragments.is_some());
    (etc, provenance)
}

#[test]
fn a_folder_that_was_in_force_is_missed() {
    let (etc, in_force) = whole();
    fs::rename(etc.path("enforcer.d"), etc.path("elsewhere")).unwrap();
    etc.rejects(again(&etc, &in_force), &[GONE]);
    // The mount point after `umount`: a folder with nothing in it.
    fs::create_dir(etc.path("enforcer.d")).unwrap();
    etc.rejects(again(&etc, &in_force), &[GONE]);
    // The controls: with nothing pinned `up` does without, and so does the reload of another policy.
    assert_eq!(names(&etc.default().unwrap()), ["a"]);
    let other = Provenance {
        path: Some(etc.path("other.toml")),
        ..in_force.clone()
    };
    assert_eq!(names(&again(&etc, &other).unwrap()), ["a"]);
    let without = Provenance {
        fragments: None,
        ..in_force.clone()
    };
    assert_eq!(names(&again(&etc, &without).unwrap()), ["a"]);
    // The folder comes back.
    fs::remove_dir(etc.path("enforcer.d")).unwrap();
    fs::rename(etc.path("elsewhere"), etc.path("enforcer.d")).unwrap();
    let back = again(&etc, &in_force).unwrap();
    assert_eq!(back.provenance, in_force);
}

/// Reads the registry as `up` does beside a policy in force.
fn up(etc: &Etc, in_force: &Provenance) -> Result<Loaded, Rejected> {
    let missing = in_force.missing_file(&etc.path("enforcer.toml"));
    let reader = Reader::NAMED.again(Some(in_force.clone()));
    etc.read(missing, &reader)
}

#[test]
fn an_up_misses_every_file_of_the_policy_in_force() {
    const FILE: &str = "enforcer.toml:1:1 this file is gone: the policy in force was made from it";
    let (etc, in_force) = whole();
    assert_eq!(names(&up(&etc, &in_force).unwrap()), ["a", "b"]);
    fs::rename(etc.path("enforcer.d"), etc.path("elsewhere")).unwrap();
    etc.rejects(up(&etc, &in_force), &[GONE]);
    let both = up(&etc, &in_force).unwrap_err();
    let help = both.errors[0].help().unwrap_or_default();
    assert!(help.contains("`enforcer down` first"), "{help}");
    fs::rename(etc.path("elsewhere"), etc.path("enforcer.d")).unwrap();
    // The fragments alone, and then nothing, must not replace the main file.
    fs::remove_file(etc.path("enforcer.toml")).unwrap();
    etc.rejects(up(&etc, &in_force), &[FILE]);
    fs::remove_dir_all(etc.path("enforcer.d")).unwrap();
    let errors = up(&etc, &in_force).unwrap_err().errors;
    assert_eq!(etc.shown(&errors), [GONE], "one absence is enough");
    // The files of `--config` were in force, and nothing is at the default path.
    let other = Provenance {
        path: Some(etc.path("other.toml")),
        ..in_force
    };
    let absent = ["enforcer.toml:1:1 there is no registry: the file and its fragments are absent"];
    etc.rejects(up(&etc, &other), &absent);
    // The control: the embedded registry was in force, and holds again.
    let embedded = up(&etc, &Provenance::default()).unwrap();
    assert_eq!(embedded.origin, Origin::Embedded);
}

#[test]
fn a_fragment_that_is_removed_from_its_folder_applies() {
    let (etc, in_force) = whole();
    fs::remove_file(etc.path("enforcer.d/b.toml")).unwrap();
    let loaded = again(&etc, &in_force).unwrap();
    assert_eq!(names(&loaded), ["a"]);
    assert_eq!(loaded.provenance.fragments, None);
}

#[test]
fn another_folder_with_fragments_is_an_edit() {
    let (etc, in_force) = whole();
    fs::rename(etc.path("enforcer.d"), etc.path("elsewhere")).unwrap();
    let etc = etc.with("enforcer.d/c.toml", "[services.c]\nports = [3]\n");
    let loaded = again(&etc, &in_force).unwrap();
    assert_eq!(names(&loaded), ["a", "c"]);
    assert_ne!(loaded.provenance.fragments, in_force.fragments);
    assert!(!loaded.provenance.has_same_text(&in_force));
}

#[test]
fn fragments_that_stood_alone_are_missed_too() {
    let etc = Etc::new().with("enforcer.d/b.toml", B);
    let in_force = etc.default().unwrap().provenance;
    fs::remove_dir_all(etc.path("enforcer.d")).unwrap();
    let reader = Reader::NAMED.again(Some(in_force));
    etc.rejects(etc.read(MissingFile::Fragments, &reader), &[GONE]);
}

#[test]
fn a_link_to_nothing_is_no_absent_folder() {
    let dangling =
        ["enforcer.d:1:1 cannot read this folder: No such file or directory (os error 2)"];
    let etc = Etc::new().with("enforcer.toml", A);
    symlink("/nowhere/at/all", etc.path("enforcer.d")).unwrap();
    etc.rejects(etc.default(), &dangling);
    // Without the main file the embedded registry must not apply either.
    fs::remove_file(etc.path("enforcer.toml")).unwrap();
    etc.rejects(etc.default(), &dangling);
    // The control: a link to a folder, which may be empty.
    let etc = Etc::new().with("enforcer.toml", A).with("real/b.toml", B);
    symlink("real", etc.path("enforcer.d")).unwrap();
    assert_eq!(names(&etc.default().unwrap()), ["a", "b"]);
    fs::remove_file(etc.path("real/b.toml")).unwrap();
    assert_eq!(names(&etc.default().unwrap()), ["a"]);
}

#[test]
fn a_link_to_nothing_above_the_registry_is_no_absent_registry() {
    let etc = Etc::new();
    symlink("/nowhere/at/all", etc.path("link")).unwrap();
    let of = |folder: &str| {
        let path = etc.path(folder).join("enforcer.toml");
        let absent = MissingFile::Embedded;
        super::super::load(
            &super::super::Source::Default { path, absent },
            &Reader::NAMED,
        )
    };
    let rejected = of("link").unwrap_err();
    assert_eq!(
        etc.shown(&rejected.errors)[0],
        "link/enforcer.toml:1:1 cannot read this file: No such file or directory (os error 2)"
    );
    of("link/deeper").unwrap_err();
    symlink("circle", etc.path("circle")).unwrap();
    of("circle").unwrap_err();
    // The controls: folders that are not there, and a link to a folder without a registry.
    of("absent").unwrap();
    of("absent/deeper").unwrap();
    fs::create_dir(etc.path("empty")).unwrap();
    symlink("empty", etc.path("good")).unwrap();
    of("good").unwrap();
}
