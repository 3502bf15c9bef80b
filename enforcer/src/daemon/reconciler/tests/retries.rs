//! Failures of operations, and their retries.

use super::*;
use world::Fault;

#[test]
fn a_look_that_fails_is_reported_once_and_retried_with_backoff() {
    let mut rig = Rig::start();
    rig.world.faults.insert(Fault::Follow);
    let follow = "follow 1 as own:1";
    assert_eq!(rig.on(Trigger::HostChanged), format!("{follow}; Retry"));
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(rig.sleep(), (seconds(wait), follow.to_owned()));
    }
    rig.world.faults.clear();
    assert_eq!(rig.sleep(), (seconds(60), follow.to_owned()));
    assert_eq!(rig.deadline(), None);
    rig.world.faults.insert(Fault::Follow);
    assert_eq!(
        rig.on(Trigger::HostChanged),
        format!("{follow}; Retry"),
        "reported again, after a success"
    );
    assert_eq!(rig.sleep().0, seconds(1));
}

#[test]
fn the_success_of_another_task_ends_no_retry() {
    let mut rig = Rig::start();
    rig.world.faults.insert(Fault::Follow);
    rig.on(Trigger::HostChanged);
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect");
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; watch own load named own"
    );
    assert_eq!(rig.sleep(), (seconds(1), "follow 1 as own:1".to_owned()));
}

#[test]
fn an_event_brings_another_attempt_at_once_and_the_retry_stays() {
    let mut rig = Rig::start();
    rig.world.faults.insert(Fault::Follow);
    rig.on(Trigger::HostChanged);
    rig.wait(Duration::from_millis(600));
    assert_eq!(rig.on(Trigger::HostChanged), "follow 1 as own:1");
    assert_eq!(rig.sleep().0, Duration::from_millis(400));
    rig.world.faults.clear();
    rig.on(Trigger::HostChanged);
    assert_eq!(rig.deadline(), None, "a success ends it");
}

#[test]
fn an_inspection_that_fails_is_retried_and_the_host_is_followed_meanwhile() {
    let mut rig = Rig::start();
    rig.world.faults.insert(Fault::Inspect);
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect; Retry");
    assert_eq!(rig.on(Trigger::HostChanged), "follow 1 as own:1");
    rig.world.faults.clear();
    assert_eq!(rig.sleep(), (seconds(1), "inspect".to_owned()));
    assert_eq!(rig.deadline(), None);
}

#[test]
fn an_edit_waits_for_an_inspection_that_succeeds() {
    let mut rig = Rig::start();
    rig.world.faults.insert(Fault::Inspect);
    write(&mut rig.world, OWN, Content::Good(2));
    assert_eq!(rig.on(Trigger::FilesChanged), "inspect; Retry");
    assert_eq!(rig.sleep(), (seconds(1), "inspect".to_owned()));
    rig.world.faults.clear();
    let (slept, transcript) = rig.sleep();
    assert_eq!(slept, seconds(2));
    assert_eq!(
        transcript,
        "inspect; watch own load named own; replace 1 by own:2; 2 in force by own:2; notify 2; \
         follow 2 as own:2"
    );
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_failed_edit_is_not_retried_while_a_policy_is_pending() {
    let mut rig = Rig::start();
    rig.world.faults.insert(Fault::Replace);
    write(&mut rig.world, OWN, Content::Good(2));
    rig.on(Trigger::FilesChanged);
    rig.world.faults.clear();
    write(&mut rig.world, OTHER, Content::Good(5));
    let deadline = rig.now + seconds(60);
    rig.world.arm(OTHER, deadline);
    rig.on(Trigger::PinsChanged);
    assert_eq!(rig.sleep(), (seconds(1), "inspect".to_owned()));
    assert_eq!(rig.deadline(), Some(deadline));
    assert!(rig.reconciler.edit_deferred);
}

#[test]
fn a_registry_that_cannot_be_watched_is_looked_for_again() {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.reload(OTHER);
    rig.world.faults.insert(Fault::Watch);
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; notify 2; watch other load named other; Retry; follow 2 as guards"
    );
    rig.world.faults.clear();
    assert_eq!(
        rig.sleep(),
        (
            seconds(1),
            "inspect; notify 2; watch other load named other; follow 2 as other:5".to_owned()
        )
    );
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_registry_that_was_put_in_force_is_known_without_another_look() {
    let mut rig = Rig::start();
    write(&mut rig.world, OTHER, Content::Good(5));
    rig.world.reload(OTHER);
    rig.world.faults.insert(Fault::Watch);
    rig.on(Trigger::PinsChanged);
    rig.world.faults.clear();
    write(&mut rig.world, OTHER, Content::Good(6));
    let transcript = rig.on(Trigger::FilesChanged);
    assert!(transcript.ends_with("follow 3 as other:6"), "{transcript}");
    assert_eq!(rig.on(Trigger::HostChanged), "follow 3 as other:6");
}

#[test]
fn tasks_run_in_the_order_of_their_urgency() {
    let mut rig = Rig::start();
    rig.world
        .faults
        .extend([Fault::Inspect, Fault::Follow, Fault::RollBack]);
    rig.world.pending = Some((rig.now + seconds(60), rig.world.in_force.clone()));
    rig.reconciler.pending = Some(rig.now);
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "roll back; RollbackFailed; inspect; Retry"
    );
    rig.on(Trigger::HostChanged);
    assert_eq!(
        rig.sleep(),
        (
            seconds(1),
            "roll back; inspect; follow 1 as own:1".to_owned()
        )
    );
}
