//! The flags of the wishes.

use super::*;
use crate::{
    policy::{PolicyHost, Slots, compile},
    registry::{Reader, Source, load},
};

fn loaded(origin: Origin) -> Loaded {
    Loaded {
        origin,
        ..load(&Source::Embedded, &Reader::STRICT).unwrap()
    }
}

#[test]
fn by_default_both_layers_are_wanted_and_nothing_else() {
    let files = loaded(Origin::Files(Vec::new()));
    let flags = UpOptions::default().flags(&files);
    assert_eq!(flags, State::WANT_WIRE | State::WANT_SOCKET);
}

#[test]
fn each_wish_has_a_flag() {
    let none = UpOptions {
        wire: false,
        socket: false,
        ..UpOptions::default()
    };
    let flag = |set: fn(&mut UpOptions)| {
        let mut options = none;
        set(&mut options);
        options.flags(&loaded(Origin::Files(Vec::new())))
    };
    assert_eq!(flag(|_| ()), 0);
    assert_eq!(flag(|it| it.wire = true), State::WANT_WIRE);
    assert_eq!(flag(|it| it.socket = true), State::WANT_SOCKET);
    assert_eq!(flag(|it| it.log = true), State::LOG);
    assert_eq!(flag(|it| it.fallback = true), State::FALLBACK);
    assert_eq!(flag(|it| it.static_peers = true), State::STATIC_PEERS);
    assert_eq!(flag(|it| it.consent.force = true), 0);
}

#[test]
fn the_embedded_registry_is_a_fallback_or_the_operators_choice() {
    let embedded = loaded(Origin::Embedded);
    let both = State::WANT_WIRE | State::WANT_SOCKET;
    let chosen = UpOptions::default().flags(&embedded);
    assert_eq!(chosen, both | State::EMBEDDED);
    let fallback = UpOptions {
        fallback: true,
        ..UpOptions::default()
    };
    assert_eq!(fallback.flags(&embedded), both | State::FALLBACK);
}

#[test]
fn ports_of_the_policy_before_are_released_by_name() {
    let embedded = load(&Source::Embedded, &Reader::STRICT).unwrap();
    let all = compile(&embedded.registry, &PolicyHost::of(&[]), &Slots::new()).unwrap();
    let mut few = all.clone();
    few.ports.retain(|&(_, port), _| port != 9200);
    let texts = |before, next| -> Vec<String> {
        let notes = released_by(before, next);
        notes.into_iter().map(|note| note.text).collect()
    };
    assert_eq!(
        texts(Some(all.clone()), &few),
        ["service elasticsearch: tcp port 9200 is guarded no longer"]
    );
    // The other way round a port is taken under guard, and a first policy releases none.
    assert_eq!(texts(Some(few.clone()), &all), [""; 0]);
    assert_eq!(texts(Some(all.clone()), &all), [""; 0]);
    assert_eq!(texts(None, &few), [""; 0]);
}
