//! Polls of WireGuard.

use super::{
    super::{LOOK, READY_AGAIN},
    *,
};
use crate::{
    host::{HostSnapshot, Keys},
    interfaces::Interface,
    wireguard::Answer,
};
use world::Fault;

fn keys(answer: &str) -> Keys {
    let answer = Answer::Unknown(answer.to_owned());
    Keys::of(&HostSnapshot::of(vec![(Interface::default(), answer)]))
}

/// A `run` with the first answers of a WireGuard device.
fn with_keys() -> Rig {
    let mut rig = Rig::start();
    rig.wait(seconds(100));
    rig.world.keys = keys("one");
    assert_eq!(rig.on(Trigger::HostChanged), "follow 1 as own:1");
    rig
}

#[test]
fn without_a_peer_by_key_nobody_polls() {
    let mut rig = Rig::start();
    rig.wait(seconds(10));
    assert_eq!(rig.on(Trigger::DeadlineReached), "");
    assert_eq!(rig.deadline(), None);
}

#[test]
fn wireguard_is_polled_once_a_second() {
    let mut rig = with_keys();
    for _ in 0..3 {
        assert_eq!(rig.sleep(), (seconds(1), "poll".to_owned()));
        assert_eq!(rig.deadline(), None, "during the poll");
        rig.wait(Duration::from_millis(30));
        assert_eq!(rig.answer(PollOutcome::Unchanged), "");
    }
}

#[test]
fn a_change_of_keys_is_followed() {
    let mut rig = with_keys();
    rig.sleep();
    rig.world.keys = keys("two");
    assert_eq!(
        rig.answer(PollOutcome::Changed(keys("two"))),
        "follow 1 as own:1 with keys"
    );
    assert_eq!(rig.sleep(), (seconds(1), "poll".to_owned()));
}

#[test]
fn a_change_of_a_listen_port_alone_is_followed() {
    let keys = |port| Keys::of_listen_port(5, port);
    let mut rig = Rig::start();
    rig.wait(seconds(100));
    rig.world.keys = keys(51_820);
    assert_eq!(rig.on(Trigger::HostChanged), "follow 1 as own:1");
    assert_eq!(rig.sleep(), (seconds(1), "poll".to_owned()));
    rig.world.keys = keys(4000);
    assert_eq!(
        rig.answer(PollOutcome::Changed(keys(4000))),
        "follow 1 as own:1 with keys"
    );
    assert_eq!(rig.sleep(), (seconds(1), "poll".to_owned()));
}

#[test]
fn a_change_of_keys_is_followed_while_a_policy_is_pending() {
    let mut rig = with_keys();
    rig.world.arm(OWN, rig.now + seconds(60));
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; notify 2; follow 2 as own:1"
    );
    rig.sleep();
    assert_eq!(
        rig.answer(PollOutcome::Changed(keys("two"))),
        "follow 2 as own:1 with keys"
    );
}

#[test]
fn a_device_that_hangs_delays_no_other_trigger() {
    let mut rig = with_keys();
    rig.sleep();
    // The device has not answered. The poll goes on beside the operations.
    assert_eq!(rig.on(Trigger::HostChanged), "follow 1 as own:1 with keys");
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect");
    assert_eq!(rig.deadline(), None, "during the poll");
    assert_eq!(
        rig.answer(PollOutcome::Changed(keys("two"))),
        "follow 1 as own:1 with keys"
    );
}

#[test]
fn run_is_ready_once_wireguard_has_answered_or_had_its_time() {
    let world = World {
        keys: Keys::late(Interface::default()),
        ..World::default()
    };
    let mut rig = Rig::of(world, true);
    assert_eq!(
        rig.on(Trigger::Started),
        "inspect; notify 1; follow 1 as own:1; poll"
    );
    assert_eq!(rig.answer(PollOutcome::Unchanged), "ready");
    assert_eq!(rig.on(Trigger::PinsChanged), "inspect", "once");
}

#[test]
fn a_ready_that_the_service_manager_did_not_take_is_said_again() {
    let mut rig = Rig::of(World::default(), true);
    assert!(rig.on(Trigger::Started).ends_with("ready"));
    assert_eq!(rig.deadline(), None, "the manager knows");
    rig.reconciler.ready_lost(true, rig.now);
    assert_eq!(rig.sleep(), (READY_AGAIN, "ready again".to_owned()));
    // Full once more, and another event comes at the time.
    rig.reconciler.ready_lost(true, rig.now);
    rig.wait(READY_AGAIN);
    assert_eq!(rig.on(Trigger::PinsChanged), "ready again; inspect");
    assert_eq!(rig.deadline(), None, "the manager knows");
    // Without a queue, the next look is early enough.
    rig.reconciler.next_look = rig.now + LOOK;
    rig.reconciler.ready_lost(false, rig.now);
    assert_eq!(rig.sleep(), (LOOK, "ready again".to_owned()));
}

#[test]
fn a_device_whose_answer_was_not_waited_for_is_polled_at_once() {
    let mut rig = Rig::start();
    rig.world.keys = Keys::late(Interface::default());
    assert_eq!(rig.on(Trigger::HostChanged), "follow 1 as own:1; poll");
    let mut rig = with_keys();
    rig.world.keys = Keys::late(Interface::default());
    assert_eq!(
        rig.on(Trigger::HostChanged),
        "follow 1 as own:1 with keys; poll"
    );
}

#[test]
fn an_event_of_the_host_does_not_put_the_poll_off() {
    let mut rig = with_keys();
    rig.wait(Duration::from_millis(700));
    assert_eq!(rig.on(Trigger::HostChanged), "follow 1 as own:1 with keys");
    assert_eq!(rig.sleep().0, Duration::from_millis(300));
}

#[test]
fn an_answer_from_before_another_look_is_too_old() {
    let mut rig = with_keys();
    rig.sleep();
    rig.world.keys = keys("new");
    let follow = "follow 1 as own:1 with keys";
    assert_eq!(rig.on(Trigger::HostChanged), follow);
    assert_eq!(
        rig.answer(PollOutcome::Changed(keys("old"))),
        "poll",
        "no second look"
    );
    assert_eq!(rig.answer(PollOutcome::Unchanged), "");
    assert_eq!(rig.on(Trigger::HostChanged), follow);
}

#[test]
fn another_commands_change_and_an_edit_have_every_device_asked_again() {
    let mut rig = with_keys();
    rig.world.reload(OWN);
    assert_eq!(
        rig.on(Trigger::PinsChanged),
        "inspect; notify 2; follow 2 as own:1"
    );
    write(&mut rig.world, OWN, Content::Good(2));
    assert_eq!(
        rig.on(Trigger::FilesChanged),
        "inspect; watch own load named own; replace 2 by own:2; 3 in force by own:2; notify 3; \
         follow 3 as own:2"
    );
}

#[test]
fn a_look_that_fails_does_not_stop_the_polls() {
    let mut rig = with_keys();
    rig.world.faults.insert(Fault::Follow);
    rig.wait(Duration::from_millis(500));
    assert_eq!(
        rig.on(Trigger::HostChanged),
        "follow 1 as own:1 with keys; Retry"
    );
    assert_eq!(rig.sleep(), (Duration::from_millis(500), "poll".to_owned()));
    assert_eq!(rig.answer(PollOutcome::Unchanged), "");
    assert_eq!(
        rig.sleep(),
        (
            Duration::from_millis(500),
            "follow 1 as own:1 with keys".to_owned()
        )
    );
}

#[test]
fn the_earliest_deadline_is_the_next() {
    let mut rig = with_keys();
    assert_eq!(rig.deadline(), Some(rig.now + seconds(1)));
    rig.world.arm(OWN, rig.now + Duration::from_millis(400));
    rig.on(Trigger::PinsChanged);
    let pending = Some(rig.now + Duration::from_millis(400));
    assert_eq!(rig.deadline(), pending);
}
