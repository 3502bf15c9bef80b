//! The programs of the object, and the options that a state implies.

use std::io;

use aya_obj::Object;

use super::*;

#[test]
fn every_program_and_every_pinned_map_is_in_the_object() {
    let object = Object::parse(OBJECT).unwrap();
    let sockets = [SOCKET_PROGRAM, SOCKET_PROGRAM_READING];
    let sent = SENT_PROGRAMS.map(|(program, _)| program);
    for program in wire_programs().into_iter().chain(sockets).chain(sent) {
        assert!(object.programs.contains_key(program), "{program}");
    }
    for map in MAPS {
        assert!(object.maps.contains_key(map), "{map}");
    }
}

#[test]
fn both_hooks_of_xdp_have_one_program() {
    for link in [Link::Ethernet, Link::Ip] {
        let program = |hook| wire_program(hook, link);
        assert_eq!(program(Hook::XdpNative), program(Hook::XdpGeneric));
        assert_ne!(program(Hook::XdpNative), program(Hook::Tcx));
    }
}

#[test]
fn options_follow_from_the_state() {
    for (flags, log) in [(0, false), (State::LOG, true), (!State::LOG, false)] {
        let state = State {
            netns_cookie: 7,
            flags,
            ..State::default()
        };
        let options = Options::of(state);
        assert_eq!((options.netns_cookie, options.log), (7, log));
    }
}

#[test]
fn each_cause_is_told_once() {
    #[derive(Debug)]
    struct Outer(&'static str, io::Error);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.1)
        }
    }
    let cause = || io::Error::other("no room");
    assert_eq!(describe(&Outer("failed", cause())), "failed: no room");
    assert_eq!(
        describe(&Outer("failed: no room", cause())),
        "failed: no room"
    );
    assert_eq!(describe(&cause()), "no room");
}
