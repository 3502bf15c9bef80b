//! A pending policy: edits wait, and the deadline brings the rollback.

use super::*;
use world::{Fault, after};

/// A `run` after another command's `reload --confirm 60`.
fn pending() -> Rig {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.arm(OTHER, after(rig.now, 60));
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; notify 2; watch other load named other; follow 2 as other:5"
    );
    assert_eq!(rig.deadline(), Some(after(rig.now, 60)));
    rig
}

#[test]
fn an_edit_during_a_pending_policy_waits_for_the_confirmation() {
    let mut rig = pending();
    write(&mut rig.world, OTHER, Content::Good(6));
    assert_eq!(rig.on(Trigger::FilesChanged), "inspect");
    assert_eq!(rig.on(Trigger::FilesChanged), "inspect");
    rig.world.confirm();
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; watch other load named other; replace 2 by other:6; 3 in force by other:6; \
         notify 3; follow 3 as other:6"
    );
    assert_eq!(rig.deadline(), None);
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect");
}

#[test]
fn a_lost_confirmation_is_seen_at_the_next_event_of_the_host() {
    let mut rig = pending();
    write(&mut rig.world, OTHER, Content::Good(6));
    rig.on(Trigger::FilesChanged);
    assert_eq!(
        rig.on(Trigger::HostChanged),
        "inspect; follow 2 as other:5",
        "still pending"
    );
    rig.world.confirm();
    assert_eq!(
        rig.on(Trigger::HostChanged),
        "inspect; watch other load named other; replace 2 by other:6; 3 in force by other:6; \
         notify 3; follow 3 as other:6"
    );
    assert_eq!(rig.on(Trigger::HostChanged), "follow 3 as other:6");
}

#[test]
fn the_host_is_followed_once_the_policy_is_confirmed() {
    let mut rig = pending();
    rig.world.has_changed = true;
    assert_eq!(rig.on(Trigger::HostChanged), "follow 2 as other:5");
    rig.world.confirm();
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; follow 2 as other:5; 3 in force by the host; notify 3"
    );
}

#[test]
fn the_deadline_brings_the_rollback() {
    let mut rig = pending();
    let (slept, transcript) = rig.sleep();
    assert_eq!(slept, seconds(60));
    assert_eq!(
        transcript,
        "roll back; RolledBack; inspect; notify 3; watch own load named own; follow 3 as own:1"
    );
    assert_eq!(rig.deadline(), None);
}

#[test]
fn an_edit_during_a_pending_policy_is_applied_after_the_rollback() {
    let mut rig = pending();
    rig.on(Trigger::FilesChanged);
    write(&mut rig.world, OWN, Content::Good(2));
    let (_, transcript) = rig.sleep();
    assert_eq!(
        transcript,
        "roll back; RolledBack; inspect; notify 3; watch own load named own; \
         watch own load named own; replace 3 by own:2; 4 in force by own:2; notify 4; \
         follow 4 as own:2"
    );
}

#[test]
fn a_deadline_that_passed_unnoticed_is_seen_at_any_trigger() {
    let mut rig = pending();
    rig.wait(seconds(61));
    assert_eq!(
        rig.on(Trigger::HostChanged),
        "roll back; RolledBack; inspect; notify 3; watch own load named own; follow 3 as own:1"
    );
}

#[test]
fn a_deadline_that_came_too_early_is_set_again() {
    let mut rig = pending();
    rig.world.pending = Some((after(rig.now, 62), world::provenance(OWN, 1)));
    let (slept, transcript) = rig.sleep();
    assert_eq!(
        (slept, transcript.as_str()),
        (seconds(60), "roll back; inspect")
    );
    let (slept, transcript) = rig.sleep();
    assert_eq!(slept, seconds(2));
    assert!(transcript.starts_with("roll back; RolledBack; inspect"));
}

#[test]
fn a_rollback_that_fails_is_reported_and_retried_with_backoff() {
    let mut rig = pending();
    rig.world.faults.insert(Fault::RollBack);
    rig.wait(seconds(60));
    assert_eq!(
        rig.on(Trigger::DeadlineReached),
        "roll back; RollbackFailed"
    );
    // The end of the attempt closes the lock: no reason for another attempt at once.
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect");
    assert_eq!(rig.sleep(), (seconds(1), "roll back".to_owned()));
    assert_eq!(rig.sleep(), (seconds(2), "roll back".to_owned()));
    rig.world.faults.clear();
    let (slept, transcript) = rig.sleep();
    assert_eq!(slept, seconds(4));
    assert!(transcript.starts_with("roll back; RolledBack; inspect; notify 3"));
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_rollback_that_fails_is_news_whatever_else_fails() {
    let mut rig = pending();
    rig.world.faults.extend([Fault::RollBack, Fault::Follow]);
    assert_eq!(rig.on(Trigger::HostChanged), "follow 2 as other:5; Retry");
    rig.world.pending = Some((rig.now, world::provenance(OWN, 1)));
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect",
        "the deadline is known from here on"
    );
    let (slept, transcript) = rig.sleep();
    assert_eq!(slept, Duration::ZERO);
    assert_eq!(transcript, "roll back; RollbackFailed");
}

#[test]
fn a_rollback_that_another_command_made_is_adopted() {
    let mut rig = pending();
    rig.wait(seconds(60));
    assert!(rig.world.settle(rig.now));
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "roll back; inspect; notify 3; watch own load named own; follow 3 as own:1"
    );
}

#[test]
fn a_rollback_on_the_way_of_a_look_at_the_host_is_reported() {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    // Armed and over before any event came.
    rig.world.arm(OTHER, rig.now);
    rig.reconciler.pins = rig.reconciler.pins.map(|mut pins| {
        pins.generation = 2;
        pins
    });
    assert_eq!(
        rig.on(Trigger::HostChanged),
        "follow 2 as own:1; RolledBack; inspect; notify 3; follow 3 as own:1"
    );
}

#[test]
fn up_ends_a_pending_policy_and_its_deadline() {
    let mut rig = pending();
    rig.world.up(OTHER);
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; reopen; notify 3; follow 3 as other:5"
    );
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_reload_that_meets_a_pending_policy_waits_for_it() {
    let mut rig = Rig::start();
    write(&mut rig.world, OWN, Content::Good(2));
    let mut operations = 0;
    let transcript = rig.on_with(Trigger::FilesChanged, |rig| {
        operations += 1;
        if operations == 2 {
            // Under the same generation, unlike any real command.
            rig.world.pending = Some((after(rig.now, 60), world::provenance(OWN, 1)));
        }
        None
    });
    assert_eq!(
        transcript,
        "inspect; watch own load named own; replace 1 by own:2; inspect"
    );
    assert_eq!(rig.deadline(), Some(after(rig.now, 60)));
    rig.world.confirm();
    let transcript = rig.on(Trigger::PinsChanged);
    assert!(transcript.contains("2 in force by own:2"), "{transcript}");
}

#[test]
fn an_event_during_a_rollback_brings_no_second_rollback() {
    let mut rig = pending();
    rig.wait(seconds(60));
    let mut events = vec![Trigger::PinsChanged];
    assert_eq!(
        rig.on_with(Trigger::DeadlineReached, |_| events.pop()),
        "roll back; RolledBack; inspect; notify 3; watch own load named own; follow 3 as own:1"
    );
}
