//! Rules 6 to 10.

use super::*;
use crate::address::MAX_PEERS;

#[test]
fn rule_6_drops_a_strangers_connection_to_an_unregistered_port() {
    for protocol in Protocol::ALL {
        for guard in Guard::ALL {
            let packet = Packet {
                transport: Transport::new(protocol, 9200),
                ..packet()
            };
            let decision = Answers::unregistered().judge(guard, &packet);
            assert_eq!(decision.reason, Reason::UnregisteredPort);
            assert_eq!(decision.rule(), Some(6));
            assert_eq!(decision.slot, unregistered_slot(protocol));
            assert!(decision.drops() && decision.is_counted());
        }
    }
}

#[test]
fn rule_6_leaves_replies_and_the_inside_alone() {
    for change in [
        |policy: &mut Answers| policy.opens = false,
        |policy: &mut Answers| policy.interface.inside = true,
        |policy: &mut Answers| policy.port = Port::Open,
    ] {
        let policy = Answers::unregistered().with(change);
        let decision = policy.expect_both(Reason::Unregistered, 6);
        assert_eq!(decision.slot, NO_SLOT);
        assert!(!decision.is_counted() && !decision.drops());
        assert!(!policy.asked("peers_of") && !policy.asked("route"));
    }
}

#[test]
fn rule_6_passes_and_counts_the_peers_of_unregistered() {
    let policy = Answers::unregistered().with(|policy| policy.peers_of = peers([LAPTOP]));
    let decision = policy.expect_both(Reason::Peer, 6);
    assert_eq!(decision.slot, unregistered_slot(Protocol::Tcp));
    assert!(decision.is_counted() && !decision.drops());
    let policy = policy.with(|policy| policy.interface.has_peers = false);
    policy.expect_both(Reason::UnregisteredPort, 6);
}

#[test]
fn rules_3_and_5_come_before_rule_6() {
    for (rule, other_mac, route) in [(3, true, Route::Here), (5, false, Route::Onward)] {
        let policy = Answers::unregistered().with(|policy| {
            policy.is_local = false;
            policy.is_for_other_mac = other_mac;
            policy.route = route;
        });
        let decision = policy.expect(Guard::Wire, Reason::Forwarded, rule);
        assert!(!decision.is_counted());
        policy.expect(Guard::Socket, Reason::UnregisteredPort, 6);
    }
}

#[test]
fn rule_6_follows_its_own_mode() {
    for (global, own) in [(Mode::Enforce, Mode::Audit), (Mode::Audit, Mode::Enforce)] {
        let policy = Answers::unregistered().with(|policy| {
            policy.mode = global;
            policy.port = Port::Unregistered(own);
        });
        let decision = policy.expect_both(Reason::UnregisteredPort, 6);
        assert_eq!(decision.audited, own == Mode::Audit);
        assert_eq!(decision.drops(), own == Mode::Enforce);
    }
}

#[test]
fn rule_7_passes_a_public_service_without_a_look_at_peers() {
    let policy = Answers::new()
        .service(|service| service.public = true)
        .with(|policy| policy.peers_of = PeerSet::EMPTY);
    let decision = policy.expect_both(Reason::Public, 7);
    assert_eq!(decision.slot, SLOT);
    assert!(decision.is_counted() && !decision.drops());
    assert!(!policy.asked("peers_of"));
}

#[test]
fn rule_8_passes_an_allowed_peer() {
    let decision = Answers::new().expect_both(Reason::Peer, 8);
    assert_eq!(decision.slot, SLOT);
    assert!(decision.is_counted() && !decision.drops());
}

#[test]
fn rule_9_drops_other_sources_on_an_interface_of_an_allowed_peer() {
    for source in [peers([STRANGER]), PeerSet::EMPTY] {
        let policy = Answers::new().with(|policy| policy.peers_of = source);
        let decision = policy.expect_both(Reason::UnknownPeer, 9);
        assert_eq!(decision.slot, SLOT);
        assert!(decision.is_counted() && decision.drops());
    }
}

#[test]
fn rule_10_drops_on_an_interface_without_an_allowed_peer() {
    for policy in [
        Answers::new().service(|service| service.has_peers = false),
        Answers::new().with(|policy| policy.interface.has_peers = false),
        Answers::new().with(|policy| policy.carried = peers([STRANGER])),
        Answers::new().with(|policy| policy.allowed = PeerSet::EMPTY),
    ] {
        let decision = policy.expect_both(Reason::UntrustedInterface, 10);
        assert_eq!(decision.slot, SLOT);
        assert!(decision.is_counted() && decision.drops());
        assert!(!policy.asked("peers_of"));
    }
}

#[test]
fn the_inside_and_replies_matter_to_rule_6_alone() {
    let policy = Answers::new().with(|policy| {
        policy.interface.inside = true;
        policy.opens = false;
        policy.peers_of = PeerSet::EMPTY;
    });
    policy.expect_both(Reason::UnknownPeer, 9);
    assert!(!policy.asked("opens"));
}

#[test]
fn the_accepted_side_of_a_transparent_proxy_passes() {
    for change in [
        |policy: &mut Answers| policy.peers_of = PeerSet::EMPTY,
        |policy: &mut Answers| policy.carried = PeerSet::EMPTY,
    ] {
        let policy = Answers::new()
            .with(change)
            .with(|policy| policy.is_proxied = true);
        let decision = policy.expect(Guard::Socket, Reason::Forwarded, 5);
        assert_eq!(decision.slot, NO_SLOT);
        assert!(!decision.is_counted() && !decision.drops());
        assert!(policy.judge(Guard::Wire, &packet()).drops());
    }
    // No need to ask for what passes anyway.
    let policy = Answers::new().with(|policy| policy.is_proxied = true);
    policy.expect_both(Reason::Peer, 8);
    assert!(!policy.asked("is_proxied"));
    // A listening socket, which rule 6 is about, serves no such connection.
    let policy = Answers::unregistered().with(|policy| policy.is_proxied = true);
    policy.expect_both(Reason::UnregisteredPort, 6);
}

#[test]
fn drops_of_a_service_follow_the_mode_of_the_service() {
    for (global, own) in [(Mode::Enforce, Mode::Audit), (Mode::Audit, Mode::Enforce)] {
        for change in [
            |policy: &mut Answers| policy.peers_of = PeerSet::EMPTY,
            |policy: &mut Answers| policy.carried = PeerSet::EMPTY,
        ] {
            let policy = Answers::new()
                .with(|policy| policy.mode = global)
                .service(|service| service.mode = own)
                .with(change);
            let decision = policy.judge(Guard::Wire, &packet());
            assert_eq!(decision.verdict(), Verdict::Drop);
            assert_eq!(decision.audited, own == Mode::Audit);
            assert_eq!(decision.drops(), own == Mode::Enforce);
        }
    }
}

#[test]
fn every_peer_number_can_be_the_one_that_matches() {
    for number in (0..256).step_by(51) {
        assert!(usize::from(number) < MAX_PEERS);
        let everyone = |policy: &mut Answers| {
            policy.carried = peers([number]);
            policy.allowed = peers([number]);
            policy.allowed_unregistered = peers([number]);
            policy.peers_of = peers([number]);
        };
        let allowed = |policy: &mut Answers| {
            policy.network = Some(Network {
                allowed: peers([number]),
                mode: Mode::Enforce,
            });
        };
        Answers::new().with(everyone).expect_both(Reason::Peer, 8);
        let unregistered = Answers::unregistered().with(everyone);
        unregistered.expect_both(Reason::Peer, 6);
        let network = Answers::network().with(everyone).with(allowed);
        network.expect(Guard::Wire, Reason::Peer, 4);
    }
}

#[test]
fn a_packet_at_a_socket_has_the_sockets_protocol_and_port() {
    let packet = at_socket(Protocol::Udp, 8125);
    assert_eq!(packet.transport, Transport::new(Protocol::Udp, 8125));
    assert!(!packet.loopback);
    assert_eq!((packet.ip_offset, packet.transport_offset), (0, 0));
}
