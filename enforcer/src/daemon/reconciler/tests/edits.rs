//! Edits of the registry's files.

use super::*;
use crate::registry::{MissingFile, Provenance};
use world::Fault;

const INSPECT_AND_LOAD: &str = "inspect; watch own load named own";

#[test]
fn a_good_edit_is_put_in_force() {
    let mut rig = Rig::start();
    write(&mut rig.world, OWN, Content::Good(2));
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; watch own load named own; replace 1 by own:2; 2 in force by own:2; notify 2; \
         follow 2 as own:2"
    );
    assert_eq!(rig.on(Trigger::FilesChanged), INSPECT_AND_LOAD, "no edit");
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect");
}

#[test]
fn a_bad_registry_is_reported_once_and_again_after_a_change() {
    let mut rig = Rig::start();
    let bad = format!("{INSPECT_AND_LOAD}; diagnostics; RegistryBad");
    write(&mut rig.world, OWN, Content::Bad("typo"));
    assert_eq!(rig.on(Trigger::FilesChanged), bad);
    assert_eq!(rig.on(Trigger::FilesChanged), INSPECT_AND_LOAD);
    write(&mut rig.world, OWN, Content::Bad("another typo"));
    assert_eq!(rig.on(Trigger::FilesChanged), bad);
    // The registry in force again, and the same mistake again.
    write(&mut rig.world, OWN, Content::Good(1));
    assert_eq!(rig.on(Trigger::FilesChanged), INSPECT_AND_LOAD);
    write(&mut rig.world, OWN, Content::Bad("another typo"));
    assert_eq!(rig.on(Trigger::FilesChanged), bad);
    assert_eq!(name(&rig.world.in_force), "own:1");
    assert_eq!(rig.deadline(), None, "only an edit mends it");
}

#[test]
fn the_errors_that_the_start_reported_are_not_reported_again() {
    let mut world = World::default();
    write(&mut world, OWN, Content::Bad("typo"));
    let mut rig = Rig::of(world, true);
    rig.reconciler.last_errors = Some("typo".to_owned());
    rig.on(Trigger::Started);
    assert_eq!(rig.on(Trigger::FilesChanged), INSPECT_AND_LOAD);
}

#[test]
fn a_named_file_that_vanishes_is_bad_and_changes_nothing() {
    let mut rig = Rig::start();
    rig.world.files.clear();
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        format!("{INSPECT_AND_LOAD}; diagnostics; RegistryBad")
    );
}

#[test]
fn a_refused_edit_is_reported_and_not_retried() {
    let mut rig = Rig::start();
    rig.world.locks_out = true;
    write(&mut rig.world, OWN, Content::Good(2));
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; watch own load named own; replace 1 by own:2; RegistryRefused"
    );
    assert_eq!(rig.deadline(), None);
    rig.world.locks_out = false;
    assert_eq!(rig.on(Trigger::HostChanged), "follow 1 as own:1");
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect");
    assert_eq!(name(&rig.world.in_force), "own:1");
}

#[test]
fn a_registry_that_was_rolled_back_is_not_put_in_force_again_by_itself() {
    let mut rig = Rig::start();
    rig.world.rolled_back = Some(world::provenance(OWN, 2));
    write(&mut rig.world, OWN, Content::Good(2));
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; watch own load named own; replace 1 by own:2; RegistryRefused"
    );
    assert_eq!(rig.deadline(), None);
    // A command's reload does it, and a further edit.
    rig.world.reload(OWN);
    rig.on(Trigger::PinsChanged);
    write(&mut rig.world, OWN, Content::Good(3));
    rig.on(Trigger::FilesChanged);
    assert_eq!(name(&rig.world.in_force), "own:3");
}

#[test]
fn an_edit_that_fails_is_retried() {
    let mut rig = Rig::start();
    rig.world.faults.insert(Fault::Replace);
    write(&mut rig.world, OWN, Content::Good(2));
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; watch own load named own; replace 1 by own:2; Retry"
    );
    rig.world.faults.clear();
    let (slept, transcript) = rig.sleep();
    assert_eq!(slept, seconds(1));
    assert!(transcript.contains("2 in force by own:2"), "{transcript}");
    assert_eq!(rig.deadline(), None);
}

#[test]
fn an_edit_that_cannot_be_watched_is_retried() {
    let mut rig = Rig::start();
    rig.world.faults.insert(Fault::Watch);
    let failed = format!("{INSPECT_AND_LOAD}; Retry");
    assert_eq!(rig.on(Trigger::FilesChanged), failed);
    rig.world.faults.clear();
    assert_eq!(rig.sleep(), (seconds(1), INSPECT_AND_LOAD.to_owned()));
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_faster_reload_has_the_files_read_again() {
    let mut rig = Rig::start();
    write(&mut rig.world, OWN, Content::Good(2));
    let mut operations = 0;
    let transcript = rig.on_with(Trigger::FilesChanged, |rig| {
        operations += 1;
        if operations == 2 {
            // Between the read and the reload of `run`.
            write(&mut rig.world, OWN, Content::Good(3));
            rig.world.reload(OWN);
        }
        None
    });
    assert_eq!(
        transcript,
        "inspect; watch own load named own; replace 1 by own:2; \
         inspect; notify 2; watch own load named own; watch own load named own; \
         follow 2 as own:3"
    );
    assert_eq!(rig.world.generation, 2);
}

#[test]
fn an_edit_behind_another_commands_reload_is_put_in_force_and_no_news() {
    let mut rig = Rig::start();
    write(&mut rig.world, OWN, Content::Good(2));
    rig.world.reload(OWN);
    write(&mut rig.world, OWN, Content::Good(3));
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; notify 2; watch own load named own; watch own load named own; \
         replace 2 by own:3; 3 in force by own:3; notify 3; follow 3 as own:3"
    );
}

#[test]
fn a_file_that_was_moved_into_the_own_files_place_is_the_own_file() {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.reload(OTHER);
    rig.on(Trigger::PinsChanged);
    rig.world.files.remove(Path::new(OTHER));
    write(&mut rig.world, OWN, Content::Good(5));
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; watch other load named other; watch own load named own; \
         replace 2 by own:5; 3 in force by own:5; notify 3; follow 3 as own:5"
    );
    assert_eq!(rig.on(Trigger::FilesChanged), INSPECT_AND_LOAD);
}

#[test]
fn another_commands_file_that_is_bad_is_still_the_file() {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.reload(OTHER);
    rig.on(Trigger::PinsChanged);
    write(&mut rig.world, OTHER, Content::Bad("typo"));
    let load = "inspect; watch other load named other";
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        format!("{load}; diagnostics; RegistryBad")
    );
    assert_eq!(rig.on(Trigger::FilesChanged), load);
}

#[test]
fn another_commands_fragments_need_no_main_file() {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.reload(OTHER);
    rig.world.in_force.has_main = false;
    let transcript = rig.on(Trigger::PinsChanged);
    assert!(
        transcript.starts_with("inspect; notify 2; watch other load other or Fragments"),
        "{transcript}"
    );
}

#[test]
fn the_source_of_an_edit_depends_on_whether_config_names_the_file() {
    let source = |is_named, missing| {
        let path = PathBuf::from("/etc/enforcer/enforcer.toml");
        let file = super::super::RegistryFile::new(OwnFile { path, is_named });
        file.source(missing)
    };
    let path = PathBuf::from("/etc/enforcer/enforcer.toml");
    for missing in [
        MissingFile::Embedded,
        MissingFile::Fragments,
        MissingFile::Vanished,
    ] {
        assert_eq!(source(true, missing), Source::Named(path.clone()));
        let default = Source::Default {
            path: path.clone(),
            absent: missing,
        };
        assert_eq!(source(false, missing), default);
    }
}

#[test]
fn a_reload_of_the_own_file_by_another_command_keeps_the_own_source() {
    let mut rig = Rig::of(World::default(), false);
    rig.on(Trigger::Started);
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.reload(OTHER);
    rig.on(Trigger::PinsChanged);
    rig.world.reload(OWN);
    rig.on(Trigger::PinsChanged);
    let transcript = rig.on(Trigger::FilesChanged);
    assert!(
        transcript.starts_with("inspect; watch own load enforcer or Fragments"),
        "{transcript}"
    );
    assert_eq!(Source::in_force(&Provenance::default()), Source::Embedded);
}
