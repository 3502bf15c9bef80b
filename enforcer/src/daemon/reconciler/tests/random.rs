//! Events in random order, some of them lost, some in the middle of an operation.

use proptest::{prelude::*, test_runner::Config};

use super::*;
use world::{Fault, after, provenance};

/// An event of the world, or of a watcher.
#[derive(Clone, Debug)]
enum Event {
    Edit(&'static str, Option<Content>),
    Reload(&'static str),
    Arm(&'static str, u64),
    Confirm,
    Up(&'static str),
    Down,
    ChangeHost,
    LockOut(bool),
    Fault(Fault),
    NoFaults,
    Wait(u64),
    Watcher(Watcher),
}

#[derive(Clone, Copy, Debug)]
enum Watcher {
    Host,
    Files,
    Pins,
    Deadline,
}

impl Watcher {
    const fn trigger(self) -> Trigger {
        match self {
            Self::Host => Trigger::HostChanged,
            Self::Files => Trigger::FilesChanged,
            Self::Pins => Trigger::PinsChanged,
            Self::Deadline => Trigger::DeadlineReached,
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let file = || prop_oneof![Just(OWN), Just(OTHER)];
    let content = prop_oneof![
        4 => (1u64..6).prop_map(|digest| Some(Content::Good(digest))),
        1 => Just(Some(Content::Bad("typo"))),
        1 => Just(None),
    ];
    let fault = prop_oneof![
        Just(Fault::Inspect),
        Just(Fault::Watch),
        Just(Fault::Replace),
        Just(Fault::Follow),
        Just(Fault::RollBack),
    ];
    let watcher = prop_oneof![
        Just(Watcher::Host),
        Just(Watcher::Files),
        Just(Watcher::Pins),
        Just(Watcher::Deadline),
    ];
    prop_oneof![
        6 => (file(), content).prop_map(|(file, content)| Event::Edit(file, content)),
        3 => file().prop_map(Event::Reload),
        2 => (file(), 1u64..30).prop_map(|(file, time)| Event::Arm(file, time)),
        2 => Just(Event::Confirm),
        1 => file().prop_map(Event::Up),
        1 => Just(Event::Down),
        2 => Just(Event::ChangeHost),
        1 => any::<bool>().prop_map(Event::LockOut),
        2 => fault.prop_map(Event::Fault),
        2 => Just(Event::NoFaults),
        3 => (1u64..20).prop_map(Event::Wait),
        12 => watcher.prop_map(Event::Watcher),
    ]
}

impl Rig {
    /// Makes an event happen in the world. Returns the trigger of a watcher.
    fn happen(&mut self, event: &Event) -> Option<Trigger> {
        let world = &mut self.world;
        let is_good = |world: &World, path: &str| {
            matches!(world.files.get(Path::new(path)), Some(Content::Good(_)))
        };
        match *event {
            Event::Edit(path, Some(content)) => write(world, path, content),
            Event::Edit(path, None) => drop(world.files.remove(Path::new(path))),
            // Commands make a due rollback first, and refuse a change while a policy is pending.
            Event::Reload(path) | Event::Arm(path, _) if is_good(world, path) => {
                world.settle(self.now);
                match event {
                    _ if !world.is_pinned || world.pending.is_some() => {}
                    Event::Arm(_, time) => world.arm(path, after(self.now, *time)),
                    _ => world.reload(path),
                }
            }
            Event::Up(path) if is_good(world, path) && world.is_pinned => world.up(path),
            Event::Reload(_) | Event::Arm(..) | Event::Up(_) => {}
            Event::Confirm => {
                if !world.settle(self.now) {
                    world.confirm();
                }
            }
            Event::Down => world.is_pinned = false,
            Event::ChangeHost => world.has_changed = true,
            Event::LockOut(locks_out) => world.locks_out = locks_out,
            Event::Fault(fault) => _ = world.faults.insert(fault),
            Event::NoFaults => world.faults.clear(),
            Event::Wait(time) => self.wait(seconds(time)),
            Event::Watcher(watcher) => return Some(watcher.trigger()),
        }
        None
    }

    /// Lets everything settle: no more faults, an event of each watcher, and every deadline.
    fn come_to_rest(&mut self) {
        self.world.faults.clear();
        for watcher in [Watcher::Pins, Watcher::Files, Watcher::Host] {
            self.on(watcher.trigger());
        }
        let mut sleeps = 0;
        while self.deadline().is_some() {
            self.sleep();
            sleeps += 1;
            assert!(sleeps < 20, "no rest: {:?}", self.reconciler);
        }
    }

    fn expect_agreement(&self) {
        let (world, reconciler) = (&self.world, &self.reconciler);
        assert_eq!(self.has_stopped, !world.is_pinned);
        if self.has_stopped {
            return;
        }
        let pins = reconciler.pins.expect("a look at the pins");
        assert_eq!(pins.generation, world.generation);
        assert_eq!(pins.directory, Some(world.directory));
        assert!(world.pending.is_none() && reconciler.pending.is_none());
        assert!(reconciler.tasks.is_empty() && reconciler.in_flight.is_none());
        assert!(!reconciler.registry_unknown && !reconciler.edit_deferred);
        let known = reconciler.registry.as_ref().map(|it| &it.provenance);
        assert!(known.is_none_or(|known| *known == world.in_force));
        assert!(
            known.is_none() || !world.has_changed,
            "the host was not followed"
        );
        // A good registry in the followed file is in force, or was refused.
        let path = reconciler.file.path();
        if let Some(Content::Good(digest)) = world.files.get(path) {
            let on_disk = provenance(path.to_str().unwrap(), *digest);
            assert!(
                world.in_force == on_disk
                    || world.locks_out
                    || world.rolled_back.as_ref() == Some(&on_disk),
                "{on_disk:?} is not in force, but {:?}",
                world.in_force
            );
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 512, failure_persistence: None, ..Config::default() })]

    #[test]
    fn whatever_happens_the_reconciler_agrees_with_the_world_in_the_end(
        events in proptest::collection::vec((event(), any::<bool>()), 0..40),
    ) {
        let mut rig = Rig::start();
        let mut events = events.into_iter();
        while let Some((event, _)) = events.next() {
            if let Some(trigger) = rig.happen(&event) {
                // Further events happen between an operation and the result.
                rig.on_with(trigger, |rig| {
                    let next = events.as_slice().first();
                    let is_in_the_middle = next.is_some_and(|(_, is_in_the_middle)| *is_in_the_middle);
                    let (event, _) = is_in_the_middle.then(|| events.next())??;
                    rig.happen(&event)
                });
            }
        }
        rig.come_to_rest();
        rig.expect_agreement();
    }
}
