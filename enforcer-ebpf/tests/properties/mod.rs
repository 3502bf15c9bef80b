//! Properties of the design, without the second implementation.

use std::cell::RefCell;

use enforcer_ebpf::{
    Arrival as Way, Decision, Guard, Link, Mode, NO_SLOT, Protocol, Reason, VlanIds, at_socket,
    claimed_length, decide, destination, opens, parse, source,
};
use proptest::{
    prelude::any,
    test_runner::{Config, TestRunner},
};

use crate::{
    case::{CASES, Case, check, ensure, packet_words, same},
    frames::{
        Frame,
        choices::{Choices, OWN_MAC, is_mapped},
        named::{self, named},
    },
    reference::{Arrival, Fib, Reading, Registry, Service, Unregistered},
    tables::Tables,
};

/// The arrival of a frame on an interface without a registry entry, with no way onward.
fn arrival(link: Link, bytes: &[u8]) -> Arrival {
    Arrival {
        interface: 2,
        handed_back: false,
        mac: bytes
            .first_chunk()
            .copied()
            .filter(|_| link == Link::Ethernet),
        fib: Fib::NotForwarded,
        unasked: true,
    }
}

#[test]
fn no_cut_of_a_packet_opens_a_door() {
    let ports = Protocol::ALL
        .map(|protocol| (protocol, named::PORT))
        .to_vec();
    let service = Service {
        ports,
        on: Vec::new(),
        public: false,
        allow: Vec::new(),
        mode: None,
    };
    let registry = Registry {
        mode: Mode::Enforce,
        services: vec![service],
        unregistered: Unregistered::default(),
        peers: Vec::new(),
        interfaces: Vec::new(),
        networks: Vec::new(),
        local: Vec::new(),
        macs: vec![OWN_MAC],
    };
    let judge = |frame: &Frame| {
        let packet = parse(&frame.bytes[..], frame.link, VlanIds::Stop);
        let tables = Tables {
            registry: &registry,
            bytes: &frame.bytes,
            arrival: arrival(frame.link, &frame.bytes),
            socket: None,
        };
        (packet, decide(&tables, Guard::Wire, Way::Received, &packet))
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
            let cut = parse(&case.frame.bytes[..length], case.frame.link, case.ids());
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
                    let packet = parse(cut, link, VlanIds::LookThrough);
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
                            opens(cut, &packet),
                        );
                    }
                    let registry = Choices::new(&bytes).registry();
                    let tables = Tables {
                        registry: &registry,
                        bytes: cut,
                        arrival: arrival(link, cut),
                        socket: None,
                    };
                    for guard in Guard::ALL {
                        let _ = decide(&tables, guard, Way::MaybeOwn, &packet);
                    }
                }
            }
            Ok(())
        },
    );
    run.unwrap();
}

/// Whether a drop follows the global mode: rule 2 does for registered ports, too.
fn is_global(decision: &Decision) -> bool {
    decision.slot == NO_SLOT || decision.reason == Reason::LoopbackAddress
}

#[test]
fn audit_never_drops_and_gives_the_same_reasons() {
    check(CASES / 5, |case| {
        let with = |global: Mode, own: Option<Mode>| {
            let mut registry = case.registry.clone();
            registry.mode = global;
            let services = registry.services.iter_mut();
            services.for_each(|service| service.mode = own);
            let networks = registry.networks.iter_mut();
            networks.for_each(|network| network.mode = own);
            let unregistered = &mut registry.unregistered;
            for protocol in [
                &mut unregistered.tcp,
                &mut unregistered.udp,
                &mut unregistered.sctp,
            ] {
                *protocol = protocol.map(|_| own.unwrap_or(global));
            }
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
                // The mode of services, networks and `[unregistered]` has no effect on others.
                let global = is_global(&enforced) && !services_too;
                same("drops", audited.drops(), global && enforced.drops())?;
                same("audited", audited.audited, !global && enforced.drops())?;
            }
        }
        // The reverse: a mode `enforce` of their own drops under a global `audit`.
        let mixed = with(Mode::Audit, Some(Mode::Enforce));
        for (mixed, enforced) in mixed.into_iter().zip(enforced) {
            same(
                "enforced",
                mixed.drops(),
                enforced.drops() && !is_global(&enforced),
            )?;
        }
        Ok(())
    });
}

#[test]
fn nothing_behind_the_ports_matters() {
    check(CASES / 5, |case| {
        let reading = case.strict();
        if reading.outcome.is_err() {
            return Ok(());
        }
        let bytes = &case.frame.bytes;
        let ports = &bytes[..reading.consumed];
        // Rule 6 reads the flags.
        let mut registry = case.registry.clone();
        registry.unregistered = Unregistered::default();
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
                other.wire_with(&registry),
                case.wire_with(&registry),
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
        let source = Reading::at_socket(case.ip()).addresses.map(|both| both.0);
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
        let (protocol, port) = case.socket.port;
        let packet = at_socket(protocol, port);
        same(
            "the socket's port",
            packet_words(&packet),
            Ok(case.socket.port),
        )?;
        same("the socket's loopback", packet.loopback, false)?;
        let at_socket = case.socket_with(&case.registry);
        // Even for a parsed packet, with the addresses of the frame.
        let tables = case.tables(&case.registry, &case.frame.bytes, Some(case.socket));
        let parsed = decide(&tables, Guard::Socket, case.way_to_socket(), &case.parse());
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
        let mut service = more.service(0);
        service.on.clear();
        service.ports = (0..4)
            .map(|_| more.port())
            .filter(|port| case.registry.registered(*port, None).is_none())
            .collect();
        let wanted = case.strict().outcome.ok();
        let ports = service.ports.clone();
        let mut registry = case.registry.clone();
        registry.services.push(service);
        let wire = (
            wanted,
            case.wire_with(&case.registry),
            case.wire_with(&registry),
        );
        let socket = (
            Some(case.socket.port),
            case.socket_with(&case.registry),
            case.socket_with(&registry),
        );
        for (port, before, after) in [wire, socket] {
            if port.is_some_and(|port| !ports.contains(&port)) {
                same("another port", after, before)?;
            }
            // The service has taken its ports from `[unregistered]`.
            let is_taken = before.reason == Reason::UnregisteredPort;
            ensure(after.drops() || !before.drops() || is_taken, || {
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
        let Some((from, _)) = case.strict().addresses else {
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
