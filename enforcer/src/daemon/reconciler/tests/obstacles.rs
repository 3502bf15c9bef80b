//! Files that do not answer, pins that vanish, signals, and looks without an event.

use super::{
    super::{
        LOOK,
        reading::{GRACE, LIMIT},
    },
    *,
};
use crate::note::{Note, NoteKind};
use world::Fault;

/// A `run` whose files do not answer any more, in the middle of an edit.
fn with_hanging_files() -> Rig {
    let mut rig = Rig::start();
    write(&mut rig.world, OWN, Content::Good(2));
    rig.hangs = true;
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; watch own load named own"
    );
    rig
}

#[test]
fn operations_wait_for_a_read_for_a_moment_only() {
    let mut rig = with_hanging_files();
    assert_eq!(rig.on(Trigger::HostChanged), "", "the read may end at once");
    assert_eq!(rig.sleep(), (GRACE, "follow 1 as own:1".to_owned()));
    assert_eq!(rig.on(Trigger::HostChanged), "follow 1 as own:1");
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect");
}

#[test]
fn a_late_read_is_put_in_force() {
    let mut rig = with_hanging_files();
    rig.sleep();
    let result = rig.answer_read();
    assert_eq!(
        rig.on(result),
        "inspect; replace 1 by own:2; 2 in force by own:2; notify 2; follow 2 as own:2"
    );
    assert_eq!(rig.deadline(), None);
}

#[test]
fn files_that_never_answer_are_told_once_and_waited_for() {
    let mut rig = with_hanging_files();
    rig.sleep();
    assert_eq!(rig.sleep(), (LIMIT - GRACE, "Retry".to_owned()));
    // A second read waits for the end of the first, however often it is due.
    assert_eq!(rig.sleep(), (seconds(1), "inspect".to_owned()));
    assert_eq!(rig.sleep(), (seconds(2), "inspect".to_owned()));
    assert_eq!(rig.on(Trigger::FilesChanged), "inspect");
    rig.hangs = false;
    let result = rig.answer_read();
    assert_eq!(
        rig.on(result),
        "inspect; replace 1 by own:2; 2 in force by own:2; notify 2; follow 2 as own:2"
    );
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_late_read_under_another_generation_is_made_again() {
    let mut rig = with_hanging_files();
    rig.sleep();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.reload(OTHER);
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; notify 2; follow 2 as guards",
        "the registry of the other command is found after the read"
    );
    rig.hangs = false;
    let result = rig.answer_read();
    assert_eq!(
        rig.on(result),
        "inspect; notify 2; watch other load named other; watch other load named other; \
         follow 2 as other:5"
    );
    assert_eq!(name(&rig.world.in_force), "other:5");
}

#[test]
fn a_read_of_the_start_may_end_later() {
    let mut rig = Rig::of(World::default(), true);
    let begun = Begun {
        is_loading: true,
        ..Begun::default()
    };
    let own = OwnFile {
        path: OWN.into(),
        is_named: true,
    };
    rig.world.in_force = Default::default();
    write(&mut rig.world, OWN, Content::Good(2));
    rig.reconciler = Reconciler::new(own, begun, rig.now);
    rig.read = Some((OWN.into(), Source::Named(OWN.into())));
    assert_eq!(
        rig.on(Trigger::Started),
        "inspect; notify 1; follow 1 as guards; ready"
    );
    let result = rig.answer_read();
    let transcript = rig.on(result);
    assert!(
        transcript.contains("replace 1 by own:2; 2 in force by own:2"),
        "{transcript}"
    );
}

#[test]
fn pins_without_a_word_of_down_are_put_back() {
    for (trigger, begin) in [
        (Trigger::PinsChanged, "inspect; PinsRestored"),
        (
            Trigger::HostChanged,
            "follow 1 as own:1; inspect; PinsRestored",
        ),
    ] {
        let mut rig = Rig::start();
        rig.world.is_pinned = false;
        rig.world.is_lost = true;
        let transcript = rig.on(trigger);
        assert!(transcript.starts_with(begin), "{transcript}");
        assert!(rig.world.is_pinned && !rig.has_stopped);
    }
}

#[test]
fn pins_that_cannot_be_put_back_are_tried_again() {
    let mut rig = Rig::start();
    rig.world.is_pinned = false;
    rig.world.is_lost = true;
    rig.world.faults.insert(Fault::Inspect);
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect; Retry");
    assert_eq!(rig.sleep(), (seconds(1), "inspect".to_owned()));
    rig.world.faults.clear();
    let (slept, transcript) = rig.sleep();
    assert_eq!(slept, seconds(2));
    assert_eq!(transcript, "inspect; PinsRestored");
    assert_eq!(rig.deadline(), None);
}

/// A change of the host is the first to find the file system of the pins gone.
#[test]
fn lost_pins_are_told_whatever_task_finds_the_loss() {
    for trigger in [Trigger::HostChanged, Trigger::PinsChanged] {
        let mut rig = Rig::start();
        rig.world.is_pinned = false;
        rig.world.is_lost = true;
        rig.world.faults.insert(Fault::Inspect);
        let transcript = rig.on(trigger);
        assert!(transcript.ends_with("inspect; Retry"), "{transcript}");
    }
}

/// The file system is unmounted while another fault is told already.
#[test]
fn lost_pins_are_told_beside_another_fault() {
    let mut rig = Rig::start();
    rig.world.faults.insert(Fault::Follow);
    assert_eq!(rig.on(Trigger::HostChanged), "follow 1 as own:1; Retry");
    rig.world.is_pinned = false;
    rig.world.is_lost = true;
    rig.world.faults.insert(Fault::Inspect);
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect; Retry");
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect", "told once");
}

/// Another writer has the lock at the first attempt after the file system is back.
#[test]
fn pins_that_can_be_put_back_are_back_within_thirty_seconds() {
    for missed in 0..2 {
        let mut rig = Rig::start();
        rig.makes_looks = true;
        rig.world.is_pinned = false;
        rig.world.is_lost = true;
        rig.world.faults.insert(Fault::Inspect);
        rig.on(Trigger::PinsChanged);
        let lost_at = rig.now;
        while rig.now < lost_at + seconds(300) {
            rig.sleep();
        }
        let mountable_at = rig.now;
        (0..missed).for_each(|_| drop(rig.sleep()));
        rig.world.faults.clear();
        rig.sleep();
        assert!(rig.world.is_pinned);
        let took = rig.now - mountable_at;
        assert!(took <= seconds(30), "{took:?}, {missed} attempts in vain");
    }
}

#[test]
fn pins_and_host_are_looked_at_without_an_event() {
    let mut rig = Rig::start();
    rig.makes_looks = true;
    for _ in 0..2 {
        let deadline = rig.reconciler.deadline().expect("a look");
        assert!(deadline <= rig.now + LOOK);
        rig.now = deadline;
        assert_eq!(rig.on(Trigger::DeadlineReached), "inspect");
    }
    // A guard that was taken off, or that could not be had.
    let look = |rig: &mut Rig| {
        rig.now += LOOK;
        rig.on(Trigger::DeadlineReached)
    };
    rig.world.has_lost_guard = true;
    assert_eq!(look(&mut rig), "inspect; follow 1 as own:1");
    rig.world.has_lost_guard = false;
    rig.world.notes = vec![Note::new(NoteKind::NoSocketGuard, "no cgroup2")];
    let follow = "follow 1 as own:1; NoSocketGuard";
    assert_eq!(rig.on(Trigger::HostChanged), follow);
    assert_eq!(look(&mut rig), "inspect; follow 1 as own:1");
}

#[test]
fn a_change_of_the_mount_table_is_a_look_without_delay() {
    let mut rig = Rig::start();
    assert_eq!(rig.on(Trigger::MountsChanged), "inspect");
    rig.world.is_pinned = false;
    rig.world.is_lost = true;
    assert_eq!(rig.on(Trigger::MountsChanged), "inspect; PinsRestored");
    rig.world.notes = vec![Note::new(NoteKind::NoSocketGuard, "no cgroup2")];
    rig.on(Trigger::HostChanged);
    assert_eq!(
        rig.on(Trigger::MountsChanged),
        "inspect; follow 1 as own:1",
        "the cgroups may be back"
    );
    // The next look without an event counts from here.
    rig.wait(LOOK / 2);
    rig.on(Trigger::MountsChanged);
    assert_eq!(rig.reconciler.next_look, rig.now + LOOK);
}

#[test]
fn a_signal_has_files_host_and_wireguard_looked_at_anew() {
    let mut rig = Rig::start();
    assert_eq!(
        rig.on(Trigger::ReloadRequested),
        "inspect; watch own load named own; RegistryUnchanged; follow 1 as own:1"
    );
    write(&mut rig.world, OWN, Content::Good(2));
    assert_eq!(
        rig.on(Trigger::ReloadRequested),
        "inspect; watch own load named own; replace 1 by own:2; 2 in force by own:2; notify 2; \
         follow 2 as own:2"
    );
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; watch own load named own",
        "nobody asked"
    );
}
