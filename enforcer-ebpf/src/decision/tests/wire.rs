//! Rules 1 to 5, and packets without a port.

use super::*;

/// Packets that are for another machine (rule 3), or that leave again (rule 5).
fn not_for_this_host() -> [(u8, Answers); 2] {
    let other = |policy: &mut Answers| {
        policy.is_local = false;
        policy.is_for_other_mac = true;
    };
    let onward = |policy: &mut Answers| {
        policy.is_local = false;
        policy.route = Route::Onward;
    };
    [
        (3, Answers::new().with(other)),
        (5, Answers::new().with(onward)),
    ]
}

#[test]
fn rule_1_passes_lo_and_counts_registered_ports() {
    for guard in Guard::ALL {
        let registered = decide(&Answers::new(), guard, Arrival::Loopback, &packet());
        assert_eq!(
            (registered.reason, registered.slot),
            (Reason::Loopback, SLOT)
        );
        assert_eq!(registered.rule(), Some(1));
        assert!(registered.is_counted() && !registered.drops());

        let open = Answers::new().with(|policy| policy.port = Port::Open);
        for (policy, packet) in [
            (open, packet()),
            (Answers::unregistered(), packet()),
            (Answers::network(), packet()),
            (Answers::new(), without_a_port(Kind::Malformed)),
        ] {
            let decision = decide(&policy, guard, Arrival::Loopback, &packet);
            assert_eq!(
                (decision.reason, decision.slot),
                (Reason::Loopback, NO_SLOT)
            );
            assert!(!decision.is_counted() && !decision.drops());
            assert!(!policy.asked("is_own"));
        }
    }
}

#[test]
fn rule_1_passes_this_hosts_own_packets_and_believes_their_source_alone() {
    let drops = |policy: &mut Answers| policy.carried = PeerSet::EMPTY;
    for guard in Guard::ALL {
        for is_own in [false, true] {
            let policy = Answers::new().with(|p| p.is_own = is_own).with(drops);
            let decision = decide(&policy, guard, Arrival::MaybeOwn, &packet());
            let reason = if is_own {
                Reason::Loopback
            } else {
                Reason::UntrustedInterface
            };
            assert_eq!((decision.reason, decision.slot), (reason, SLOT));
            // On any other interface a source of this host proves nothing.
            let received = policy.judge(guard, &packet());
            assert_eq!(received.reason, Reason::UntrustedInterface);
        }
    }
}

#[test]
fn rule_2_drops_loopback_addresses_on_the_wire_alone() {
    let forged = Packet {
        loopback: true,
        ..packet()
    };
    let wire = Answers::new().judge(Guard::Wire, &forged);
    assert_eq!((wire.reason, wire.slot), (Reason::LoopbackAddress, SLOT));
    assert_eq!(wire.rule(), Some(2));
    assert!(wire.drops() && wire.is_counted());
    let audit = Answers::new().with(|policy| policy.mode = Mode::Audit);
    let audited = audit.judge(Guard::Wire, &forged);
    assert!(audited.audited && !audited.drops());
    let socket = Answers::new().judge(Guard::Socket, &forged);
    assert_eq!(socket.reason, Reason::Peer);
    // Before all other rules, for any port and without one.
    for policy in [
        Answers::network(),
        Answers::unregistered(),
        Answers::new().with(|policy| policy.port = Port::Open),
    ] {
        let policy = policy.with(|policy| {
            policy.is_local = false;
            policy.is_for_other_mac = true;
        });
        for kind in [Kind::Tcp, Kind::Fragment, Kind::OtherProtocol] {
            let mut forged = forged;
            forged.transport.kind = kind;
            let decision = policy.judge(Guard::Wire, &forged);
            assert_eq!(decision.reason, Reason::LoopbackAddress);
            assert_eq!(decision.slot, NO_SLOT);
        }
    }
}

#[test]
fn rule_3_needs_another_mac_and_a_destination_that_is_not_local() {
    for is_local in [false, true] {
        for is_for_other_mac in [false, true] {
            let policy = Answers::new().with(|policy| {
                policy.is_local = is_local;
                policy.is_for_other_mac = is_for_other_mac;
            });
            if is_for_other_mac && !is_local {
                let decision = policy.expect(Guard::Wire, Reason::Forwarded, 3);
                assert_eq!(decision.slot, NO_SLOT);
                assert!(!decision.is_counted() && !decision.drops());
                assert!(!policy.asked("route"));
            } else {
                policy.expect(Guard::Wire, Reason::Peer, 8);
            }
            policy.expect(Guard::Socket, Reason::Peer, 8);
        }
    }
}

#[test]
fn rule_4_drops_all_but_the_networks_peers_for_any_protocol_and_port() {
    let every_kind = [
        Kind::Tcp,
        Kind::Udp,
        Kind::Sctp,
        Kind::Fragment,
        Kind::OtherProtocol,
        Kind::Malformed,
        Kind::HeaderChain,
    ];
    for kind in every_kind {
        let packet = Packet {
            transport: Transport { kind, port: 9200 },
            ..packet()
        };
        for port in [Port::Open, Answers::new().port] {
            let policy = Answers::network().with(|policy| policy.port = port);
            let decision = policy.judge(Guard::Wire, &packet);
            assert_eq!(decision.reason, Reason::ContainerNetwork);
            assert_eq!((decision.slot, decision.rule()), (NETWORK_SLOT, Some(4)));
            assert!(decision.drops() && decision.is_counted());
        }
        let policy = Answers::network().with(|policy| policy.peers_of = peers([LAPTOP]));
        let decision = policy.judge(Guard::Wire, &packet);
        assert_eq!(decision.reason, Reason::Peer);
        assert_eq!((decision.slot, decision.rule()), (NETWORK_SLOT, Some(4)));
        assert!(!decision.drops() && decision.is_counted());
    }
    // The socket guard has no such rule.
    Answers::network().expect(Guard::Socket, Reason::Unregistered, 6);
}

#[test]
fn rule_4_needs_peers_on_the_interface() {
    let policy = Answers::network().with(|policy| {
        policy.interface.has_peers = false;
        policy.peers_of = peers([LAPTOP]);
    });
    policy.expect(Guard::Wire, Reason::ContainerNetwork, 4);
    assert!(!policy.asked("peers_of"));
}

#[test]
fn rule_4_comes_before_rule_5_and_behind_rule_3() {
    let policy = Answers::network().with(|policy| policy.route = Route::Onward);
    policy.expect(Guard::Wire, Reason::ContainerNetwork, 4);
    assert!(!policy.asked("route"));
    for (is_local, judges_all) in [(false, false), (true, false), (false, true)] {
        let policy = Answers::network().with(|policy| {
            policy.is_for_other_mac = true;
            policy.is_local = is_local;
            policy.interface.judges_all = judges_all;
        });
        if is_local || judges_all {
            policy.expect(Guard::Wire, Reason::ContainerNetwork, 4);
        } else {
            let decision = policy.expect(Guard::Wire, Reason::Forwarded, 3);
            assert!(!decision.is_counted());
        }
    }
}

#[test]
fn rule_4_follows_the_mode_of_the_network() {
    for (global, own) in [(Mode::Enforce, Mode::Audit), (Mode::Audit, Mode::Enforce)] {
        let policy = Answers::network().with(|policy| {
            policy.mode = global;
            policy.network = Some(Network {
                allowed: peers([LAPTOP]),
                mode: own,
            });
        });
        let decision = policy.expect(Guard::Wire, Reason::ContainerNetwork, 4);
        assert_eq!(decision.audited, own == Mode::Audit);
        assert_eq!(decision.drops(), own == Mode::Enforce);
    }
}

#[test]
fn rule_5_needs_a_destination_that_is_not_local_and_a_way_on() {
    for is_local in [false, true] {
        for hairpin in [false, true] {
            for route in [Route::Here, Route::Back, Route::Onward] {
                let policy = Answers::new().with(|policy| {
                    policy.is_local = is_local;
                    policy.interface.hairpin = hairpin;
                    policy.route = route;
                });
                let leaves = match route {
                    Route::Here => false,
                    Route::Back => hairpin,
                    Route::Onward => true,
                };
                if leaves && !is_local {
                    let decision = policy.expect(Guard::Wire, Reason::Forwarded, 5);
                    assert_eq!(decision.slot, NO_SLOT);
                    assert!(!decision.is_counted() && !decision.drops());
                } else {
                    policy.expect(Guard::Wire, Reason::Peer, 8);
                }
                assert_eq!(policy.asked("route"), !is_local);
            }
        }
    }
}

#[test]
fn forward_false_switches_rules_3_and_5_off() {
    for (rule, policy) in not_for_this_host() {
        policy.expect(Guard::Wire, Reason::Forwarded, rule);
        let policy = policy.with(|policy| policy.interface.judges_all = true);
        policy.expect(Guard::Wire, Reason::Peer, 8);
    }
}

#[test]
fn packets_without_a_port_follow_the_parser_and_the_global_mode() {
    for (kind, reason, verdict) in [
        (Kind::Fragment, Reason::Fragment, Verdict::Pass),
        (Kind::Tagged, Reason::Tagged, Verdict::Pass),
        (Kind::OtherProtocol, Reason::OtherProtocol, Verdict::Pass),
        (Kind::HeaderChain, Reason::HeaderChain, Verdict::Drop),
        (Kind::Malformed, Reason::Malformed, Verdict::Drop),
    ] {
        let drop = verdict == Verdict::Drop;
        for mode in [Mode::Enforce, Mode::Audit] {
            let policy = Answers::new().with(|policy| policy.mode = mode);
            let decision = policy.judge(Guard::Wire, &without_a_port(kind));
            assert_eq!((decision.reason, decision.verdict()), (reason, verdict));
            assert_eq!((decision.slot, decision.rule()), (NO_SLOT, None));
            assert_eq!(decision.audited, drop && mode == Mode::Audit);
            assert_eq!(decision.drops(), drop && mode == Mode::Enforce);
            assert_eq!(decision.is_counted(), drop);
            assert!(!policy.asked("port"));
        }
    }
}

#[test]
fn a_chain_or_a_damaged_header_that_is_not_for_this_host_passes() {
    for kind in [Kind::HeaderChain, Kind::Malformed] {
        let packet = without_a_port(kind);
        for (rule, policy) in not_for_this_host() {
            let decision = policy.judge(Guard::Wire, &packet);
            assert_eq!(decision.reason, Reason::Forwarded);
            assert_eq!(decision.rule(), Some(rule));
            assert!(!decision.is_counted());
        }
        for stays in [
            |policy: &mut Answers| policy.is_local = true,
            |policy: &mut Answers| policy.interface.judges_all = true,
        ] {
            for (_, policy) in not_for_this_host() {
                let decision = policy.with(stays).judge(Guard::Wire, &packet);
                assert!(decision.drops());
                assert_eq!(decision.rule(), None);
            }
        }
        // The socket guard asks neither for the frame nor for a route.
        for (_, policy) in not_for_this_host() {
            assert!(policy.judge(Guard::Socket, &packet).drops());
            assert!(!policy.asked("route"));
        }
    }
}

#[test]
fn a_later_fragment_of_another_interfaces_peer_is_dropped() {
    let packet = without_a_port(Kind::Fragment);
    for mode in [Mode::Enforce, Mode::Audit] {
        let policy = Answers::new().with(|policy| {
            policy.is_anothers_fragment = true;
            policy.mode = mode;
        });
        let wire = policy.judge(Guard::Wire, &packet);
        assert_eq!((wire.reason, wire.rule()), (Reason::UnknownPeer, None));
        assert_eq!((wire.slot, wire.audited), (NO_SLOT, mode == Mode::Audit));
        assert_eq!(wire.drops(), mode == Mode::Enforce);
        assert!(wire.is_counted());
        // The socket guard judges the reassembled packet.
        let socket = policy.judge(Guard::Socket, &packet);
        assert_eq!(socket.reason, Reason::Fragment);
    }
    for (_, policy) in not_for_this_host() {
        let policy = policy.with(|policy| policy.is_anothers_fragment = true);
        let decision = policy.judge(Guard::Wire, &packet);
        assert_eq!((decision.reason, decision.rule()), (Reason::Fragment, None));
        assert!(!decision.is_counted());
        let policy = policy.with(|policy| policy.interface.judges_all = true);
        assert!(policy.judge(Guard::Wire, &packet).drops());
    }
}
