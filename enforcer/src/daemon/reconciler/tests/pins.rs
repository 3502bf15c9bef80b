//! Other commands at work on the pins, and lost events.

use super::*;
use crate::{
    host::Keys, interfaces::Interface, note::NoteKind, registry::MissingFile, registry::Provenance,
};
use world::Fault;

#[test]
fn the_start_looks_at_pins_and_host_and_reopens_nothing() {
    let mut rig = Rig::of(World::default(), true);
    assert_eq!(
        rig.on(Trigger::Started),
        "inspect; notify 1; follow 1 as own:1; ready"
    );
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect");
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_command_between_the_start_and_the_first_look_is_seen() {
    let mut rig = Rig::of(World::default(), true);
    write(&mut rig.world, OWN, Content::Good(2));
    rig.world.reload(OWN);
    assert_eq!(
        rig.on(Trigger::Started),
        "inspect; notify 2; watch own load named own; follow 2 as own:2; ready"
    );
}

#[test]
fn a_registry_that_could_not_be_put_in_force_at_the_start_is_tried_again() {
    let mut world = World::default();
    write(&mut world, OWN, Content::Good(2));
    let mut rig = Rig::of(world, true);
    let begun = Begun {
        retry: true,
        ..Begun::default()
    };
    let own = OwnFile {
        path: OWN.into(),
        is_named: true,
    };
    rig.reconciler = Reconciler::new(own, begun, rig.now);
    assert_eq!(
        rig.on(Trigger::Started),
        "inspect; notify 1; watch own load named own; watch own load named own; \
         replace 1 by own:2; 2 in force by own:2; notify 2; follow 2 as own:2; ready"
    );
}

#[test]
fn a_change_of_the_host_is_followed() {
    let mut rig = Rig::start();
    assert_eq!(rig.on(Trigger::HostChanged), "follow 1 as own:1");
    rig.world.has_changed = true;
    assert_eq!(
        rig.on(Trigger::HostChanged),
        "follow 1 as own:1; 2 in force by the host; notify 2"
    );
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect", "its own switch");
}

#[test]
fn the_registry_of_another_commands_reload_is_adopted() {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.reload(OTHER);
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; notify 2; watch other load named other; follow 2 as other:5"
    );
    write(&mut rig.world, OTHER, Content::Good(6));
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; watch other load named other; replace 2 by other:6; 3 in force by other:6; \
         notify 3; follow 3 as other:6"
    );
}

#[test]
fn the_same_registry_under_another_generation_is_not_read_again() {
    let mut rig = Rig::start();
    rig.world.reload(OWN);
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; notify 2; follow 2 as own:1"
    );
}

#[test]
fn a_lost_event_of_the_pins_is_covered_by_the_next_look() {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.reload(OTHER);
    assert_eq!(
        rig.on(Trigger::HostChanged),
        "follow 1 as own:1; inspect; notify 2; watch other load named other; \
         follow 2 as other:5"
    );
}

#[test]
fn up_replaces_the_pins_and_readers_open_them_again() {
    let mut rig = Rig::start();
    rig.world.up(OWN);
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; reopen; notify 2; follow 2 as own:1"
    );
    // Even if the generation is the same by chance.
    rig.world.directory += 1;
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; reopen; notify 2; follow 2 as own:1"
    );
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect");
}

#[test]
fn readers_open_new_pins_even_if_their_registry_cannot_be_watched() {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.up(OTHER);
    rig.world.faults.insert(Fault::Watch);
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; reopen; notify 2; watch other load named other; Retry; follow 2 as guards"
    );
}

#[test]
fn down_ends_run_whoever_finds_out() {
    for (trigger, transcript) in [
        (Trigger::PinsChanged, "inspect; stop"),
        (Trigger::FilesChanged, "inspect; stop"),
        (Trigger::HostChanged, "follow 1 as own:1; inspect; stop"),
    ] {
        let mut rig = Rig::start();
        rig.world.is_pinned = false;
        assert_eq!(rig.on(trigger), transcript);
        assert!(rig.has_stopped);
        assert_eq!(rig.on(Trigger::HostChanged), "", "after the end");
    }
}

#[test]
fn down_before_a_reload_by_run_ends_run() {
    let mut rig = Rig::start();
    write(&mut rig.world, OWN, Content::Good(2));
    let mut operations = 0;
    let transcript = rig.on_with(Trigger::FilesChanged, |rig| {
        operations += 1;
        rig.world.is_pinned = operations < 2;
        None
    });
    assert_eq!(
        transcript,
        "inspect; watch own load named own; replace 1 by own:2; inspect; stop"
    );
}

#[test]
fn a_registry_that_changed_since_is_reported_and_guards_are_followed() {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.reload(OTHER);
    write(&mut rig.world, OTHER, Content::Good(6));
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; notify 2; watch other load named other; RegistryChanged; follow 2 as guards"
    );
    assert_eq!(rig.on(Trigger::HostChanged), "follow 2 as guards");
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect", "told once");
}

#[test]
fn a_registry_that_is_being_edited_is_no_news() {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.reload(OTHER);
    write(&mut rig.world, OTHER, Content::Good(6));
    rig.world.is_settling = true;
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; notify 2; watch other load named other; follow 2 as guards"
    );
    rig.world.is_settling = false;
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; watch other load named other; replace 2 by other:6; 3 in force by other:6; \
         notify 3; follow 3 as other:6"
    );
}

#[test]
fn a_rejected_registry_in_force_is_unreadable_too() {
    let mut rig = Rig::start();
    rig.world.reload(OWN);
    rig.world.in_force.digest = 7;
    write(&mut rig.world, OWN, Content::Bad("typo"));
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; notify 2; watch own load named own; RegistryChanged; follow 2 as guards"
    );
}

#[test]
fn the_embedded_registry_in_force_leaves_the_own_file_watched() {
    let mut rig = Rig::start();
    rig.world.reload(OWN);
    rig.world.in_force = Provenance::default();
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; notify 2; watch own load embedded; follow 2 as embedded"
    );
    write(&mut rig.world, OWN, Content::Good(2));
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; watch own load named own; replace 2 by own:2; 3 in force by own:2; notify 3; \
         follow 3 as own:2"
    );
}

#[test]
fn an_embedded_registry_of_another_version_is_named_so() {
    let provenance = Provenance {
        digest: 9,
        ..Provenance::default()
    };
    let text = |provenance| match super::super::registry_file::changed_since(provenance) {
        Report::Note(note) => note.text,
        report => panic!("{report:?}"),
    };
    assert!(text(&provenance).starts_with("a built-in registry of another version cannot"));
    let own = world::provenance(OWN, 1);
    assert!(text(&own).starts_with("/own.toml cannot"));
}

#[test]
fn a_registry_that_could_not_be_watched_is_looked_for_at_the_next_event() {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.reload(OTHER);
    rig.world.faults.insert(Fault::Watch);
    rig.on(Trigger::PinsChanged);
    assert_eq!(
        rig.on(Trigger::HostChanged),
        "inspect; notify 2; watch other load named other; follow 2 as guards"
    );
    rig.world.faults.clear();
    assert_eq!(
        rig.on(Trigger::HostChanged),
        "inspect; notify 2; watch other load named other; follow 2 as other:5"
    );
    assert_eq!(rig.on(Trigger::HostChanged), "follow 2 as other:5");
}

#[test]
fn a_note_is_reported_once_while_it_holds() {
    let mut rig = Rig::start();
    let note = |text: &str| crate::note::Note::new(NoteKind::NoWireGuard, text);
    let follow = "follow 1 as own:1";
    rig.world.notes = vec![note("eth0"), note("eth1")];
    let both = format!("{follow}; NoWireGuard; NoWireGuard");
    assert_eq!(rig.on(Trigger::HostChanged), both);
    assert_eq!(rig.on(Trigger::HostChanged), follow);
    rig.world.notes.pop();
    assert_eq!(rig.on(Trigger::HostChanged), follow);
    rig.world.notes.push(note("eth1"));
    assert_eq!(
        rig.on(Trigger::HostChanged),
        format!("{follow}; NoWireGuard"),
        "again, after it had ended"
    );
}

#[test]
fn events_in_the_middle_of_an_operation_wait_for_the_result() {
    let mut rig = Rig::start();
    let mut events = vec![Trigger::PinsChanged, Trigger::HostChanged];
    assert_eq!(
        rig.on_with(Trigger::HostChanged, |_| events.pop()),
        "follow 1 as own:1; follow 1 as own:1; inspect"
    );
}

/// Returns the transcript of a trigger, with a change of the pins during each of ten operations.
fn in_a_storm_of_pins(rig: &mut Rig, trigger: Trigger) -> String {
    let mut events = 0..10;
    rig.on_with(trigger, |_| events.next().map(|_| Trigger::PinsChanged))
}

#[test]
fn changes_of_the_pins_without_end_hold_up_no_other_task() {
    let mut rig = Rig::start();
    write(&mut rig.world, OWN, Content::Good(2));
    let transcript = in_a_storm_of_pins(&mut rig, Trigger::FilesChanged);
    let edit = "inspect; watch own load named own; replace 1 by own:2; 2 in force by own:2; \
                notify 2; follow 2 as own:2; inspect; ";
    assert!(transcript.starts_with(edit), "{transcript}");
    let mut events = vec![Trigger::PinsChanged, Trigger::HostChanged];
    assert_eq!(
        rig.on_with(Trigger::PinsChanged, |_| events.pop()),
        "inspect; follow 2 as own:2; inspect"
    );
}

#[test]
fn changes_of_the_pins_without_end_hold_up_neither_ready_nor_a_poll() {
    let mut rig = Rig::of(World::default(), true);
    let transcript = in_a_storm_of_pins(&mut rig, Trigger::Started);
    let ready = transcript.split("; ").position(|it| it == "ready");
    assert!(ready.is_some_and(|at| at < 6), "{transcript}");
    let mut rig = Rig::start();
    rig.world.keys = Keys::late(Interface::default());
    let transcript = in_a_storm_of_pins(&mut rig, Trigger::HostChanged);
    let poll = transcript.split("; ").position(|it| it == "poll");
    assert!(poll.is_some_and(|at| at < 6), "{transcript}");
}

#[test]
fn a_result_that_nobody_awaits_changes_nothing() {
    let mut rig = Rig::start();
    assert_eq!(rig.on(Trigger::RolledBack(Err("late".to_owned()))), "");
    assert_eq!(rig.on(Trigger::PinsInspected(Ok(None))), "");
    let stray = |_: &mut Rig| Some(Trigger::RolledBack(Ok(None)));
    assert_eq!(
        rig.on_with(Trigger::HostChanged, stray),
        "follow 1 as own:1"
    );
}

#[test]
fn the_meaning_of_a_missing_default_file_is_that_of_the_policy_in_force() {
    let mut rig = Rig::of(World::default(), false);
    rig.world.missing = MissingFile::Vanished;
    rig.on(Trigger::Started);
    let load = rig.on(Trigger::FilesChanged);
    assert!(load.starts_with("inspect; watch own load enforcer or Vanished"));
}

#[test]
fn a_registry_is_logged_by_its_provenance() {
    let text = format!("{:?}", world::registry(&world::provenance(OWN, 7)));
    assert_eq!(
        text,
        "SharedRegistry(Provenance { path: Some(\"/own.toml\"), digest: 7, has_main: true, fragments: None })"
    );
}
