//! Properties of the design, without the second implementation.

use std::cell::RefCell;

use enforcer_ebpf::{
    Guard, Link, Mode, NO_SLOT, Protocol, Reason, at_socket, claimed_length, decide, destination,
    parse, source,
};
use proptest::{
    prelude::any,
    test_runner::{Config, TestRunner},
};

use crate::{
    case::{CASES, Case, check, ensure, packet_words, same},
    frames::{
        Frame,
        choices::{Choices, is_mapped},
        named::{self, named},
    },
    reference::{LO, Reading, Registry, Service},
    tables::Tables,
};

#[test]
fn no_cut_of_a_packet_opens_a_door() {
    let ports = Protocol::ALL
        .map(|protocol| (protocol, named::PORT))
        .to_vec();
    let service = Service {
        ports,
        public: false,
        allow: Vec::new(),
        mode: None,
    };
    let registry = Registry {
        mode: Mode::Enforce,
        services: vec![service],
        peers: Vec::new(),
        interfaces: Vec::new(),
    };
    let judge = |frame: &Frame| {
        let packet = parse(&frame.bytes[..], frame.link);
        let tables = Tables {
            registry: &registry,
            interface: 2,
            bytes: &frame.bytes,
            forwarded: true,
        };
        (packet, decide(&tables, Guard::Wire, false, &packet))
    };
    for sample in named() {
        let (full, whole) = judge(&sample.frame);
        for length in 0..=sample.frame.bytes.len().min(128) {
            let cut = sample.frame.cut(length);
            for frame in [cut.repaired(), cut] {
                let (packet, decision) = judge(&frame);
                let context = || format!("{} cut to {length}: {}", sample.name, frame.hex());
                let words = packet_words(&packet);
                assert!(
                    words == packet_words(&full)
                        || matches!(words, Err(Reason::Malformed | Reason::HeaderChain)),
                    "{words:?}, {}",
                    context()
                );
                assert!(!packet.loopback || full.loopback, "{}", context());
                assert!(
                    decision.drops() || !whole.drops(),
                    "{decision:?}, {}",
                    context()
                );
            }
        }
    }
}

#[test]
fn a_parse_that_is_not_truncated_stays_the_same_with_more_bytes() {
    check(CASES / 5, |case| {
        for length in 0..case.frame.bytes.len() {
            let cut = parse(&case.frame.bytes[..length], case.frame.link);
            if !cut.may_be_truncated() {
                return same(&format!("cut to {length}"), cut, case.parse());
            }
        }
        Ok(())
    });
}

#[test]
fn no_bytes_make_it_panic() {
    let bytes = proptest::collection::vec(any::<u8>(), 0..=200);
    let config = Config {
        cases: 2_000,
        failure_persistence: None,
        ..Config::default()
    };
    // Random bytes behind the front of a named packet: alone they rarely get past the first header.
    let fronts = named()
        .into_iter()
        .map(|sample| sample.frame.bytes)
        .chain([Vec::new()]);
    let fronts: Vec<Vec<u8>> = fronts.collect();
    let run = TestRunner::new(config).run(
        &(bytes, 0..fronts.len(), 0..=200usize),
        |(bytes, front, keep)| {
            let front = &fronts[front];
            let frame = [&front[..keep.min(front.len())], &bytes[..]].concat();
            for length in 0..=frame.len().min(200) {
                for link in [Link::Ethernet, Link::Ip] {
                    let cut = &frame[..length];
                    let packet = parse(cut, link);
                    for header in [
                        packet.ip_offset,
                        0,
                        14,
                        bytes.first().copied().unwrap_or(255),
                    ] {
                        let _ = (
                            source(cut, header),
                            destination(cut, header),
                            claimed_length(cut, header),
                        );
                    }
                    let registry = Choices::new(&bytes).registry();
                    let tables = Tables {
                        registry: &registry,
                        interface: 2,
                        bytes: cut,
                        forwarded: false,
                    };
                    for guard in Guard::ALL {
                        let _ = decide(&tables, guard, false, &packet);
                    }
                }
            }
            Ok(())
        },
    );
    run.unwrap();
}

#[test]
fn audit_never_drops_and_gives_the_same_reasons() {
    check(CASES / 5, |case| {
        let with = |global: Mode, services: Option<Mode>| {
            let mut registry = case.registry.clone();
            registry.mode = global;
            registry
                .services
                .iter_mut()
                .for_each(|service| service.mode = services);
            [case.wire_with(&registry), case.socket_with(&registry)]
        };
        let enforced = with(Mode::Enforce, None);
        for (audited, services_too) in [
            (with(Mode::Audit, None), true),
            (with(Mode::Enforce, Some(Mode::Audit)), false),
        ] {
            for (audited, enforced) in audited.into_iter().zip(enforced) {
                same("reason", audited.reason, enforced.reason)?;
                same("slot", audited.slot, enforced.slot)?;
                same("counted", audited.is_counted(), enforced.is_counted())?;
                // A service's mode has no effect on packets without a service.
                let global = enforced.slot == NO_SLOT && !services_too;
                same("drops", audited.drops(), global && enforced.drops())?;
                same("audited", audited.audited, !global && enforced.drops())?;
            }
        }
        // The reverse: a service with `enforce` drops under a global `audit`.
        let mixed = with(Mode::Audit, Some(Mode::Enforce));
        for (mixed, enforced) in mixed.into_iter().zip(enforced) {
            same(
                "enforced",
                mixed.drops(),
                enforced.drops() && enforced.slot != NO_SLOT,
            )?;
        }
        Ok(())
    });
}

#[test]
fn nothing_behind_the_ports_matters() {
    check(CASES / 5, |case| {
        let reading = Reading::strict(&case.frame.bytes, case.frame.link);
        if reading.outcome.is_err() {
            return Ok(());
        }
        let bytes = &case.frame.bytes;
        let ports = &bytes[..reading.consumed];
        for other in [
            ports.to_vec(),
            [ports, &[0xff; 99]].concat(),
            [ports, &[6; 7], bytes].concat(),
        ] {
            let frame = Frame {
                bytes: other,
                ..case.frame.clone()
            };
            let other = Case {
                frame,
                ..case.clone()
            };
            same(
                "wire guard",
                other.wire_with(&case.registry),
                case.wire_with(&case.registry),
            )?;
        }
        Ok(())
    });
}

#[test]
fn a_mapped_source_is_no_ipv4_peer() {
    let near = RefCell::new(0);
    check(CASES / 5, |case| {
        let mut registry = case.registry.clone();
        for peer in &mut registry.peers {
            peer.prefixes.retain(|(network, _)| network.is_ipv4());
        }
        let source = Reading::strict(case.ip(), Link::Ip)
            .addresses
            .map(|both| both.0);
        if source.is_some_and(is_mapped) {
            for decision in [case.wire_with(&registry), case.socket_with(&registry)] {
                ensure(decision.reason != Reason::Peer, || format!("{decision:?}"))?;
                *near.borrow_mut() += u32::from(decision.reason == Reason::UnknownPeer);
            }
        }
        Ok(())
    });
    assert!(
        near.into_inner() > 100,
        "too few of them met an interface with peers"
    );
}

#[test]
fn loopback_addresses_are_for_the_wire_guard_only() {
    check(CASES / 5, |case| {
        let (protocol, port) = case.socket;
        let packet = at_socket(protocol, port);
        same("the socket's port", packet_words(&packet), Ok(case.socket))?;
        same("the socket's loopback", packet.loopback, false)?;
        let at_socket = case.socket_with(&case.registry);
        // Even for a parsed packet, with the addresses of the frame.
        let tables = case.tables(&case.registry, &case.frame.bytes);
        let parsed = decide(&tables, Guard::Socket, case.interface == LO, &case.parse());
        for decision in [at_socket, parsed] {
            ensure(decision.reason != Reason::LoopbackAddress, || {
                format!("{decision:?}")
            })?;
        }
        Ok(())
    });
}

#[test]
fn another_service_opens_no_port_of_others() {
    check(CASES / 5, |case| {
        let mut more = Choices::new(&case.frame.bytes);
        let mut service = more.service();
        service.ports = (0..4)
            .map(|_| more.socket())
            .filter(|(protocol, port)| case.registry.service(*protocol, *port).is_none())
            .collect();
        let wanted = Reading::strict(&case.frame.bytes, case.frame.link)
            .outcome
            .ok();
        let ports = service.ports.clone();
        let mut registry = case.registry.clone();
        registry.services.push(service);
        let wire = (
            wanted,
            case.wire_with(&case.registry),
            case.wire_with(&registry),
        );
        let socket = (
            Some(case.socket),
            case.socket_with(&case.registry),
            case.socket_with(&registry),
        );
        for (port, before, after) in [wire, socket] {
            if port.is_none_or(|port| !ports.contains(&port)) {
                same("another port", after, before)?;
            }
            ensure(after.drops() || !before.drops(), || {
                format!("{before:?} became {after:?}")
            })?;
        }
        Ok(())
    });
}

#[test]
fn the_claimed_length_is_the_headers() {
    check(CASES / 5, |case| {
        let bytes = &case.frame.bytes[..];
        let packet = case.parse();
        let Some((from, _)) = Reading::strict(bytes, case.frame.link).addresses else {
            return Ok(());
        };
        let header = usize::from(packet.ip_offset);
        let (field, fixed) = if from.is_ipv4() { (2, 0) } else { (4, 40) };
        let claimed = u16::from_be_bytes([bytes[header + field], bytes[header + field + 1]]);
        // 0 is no claim: a segment after receive offload, or a jumbogram.
        let expected = (claimed != 0).then(|| header + fixed + usize::from(claimed));
        same(
            "claimed length",
            claimed_length(bytes, packet.ip_offset),
            expected,
        )
    });
}
