//! The flags of the wishes.

use super::*;
use crate::registry::{Reader, Source, load};

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
