//! The order of the queries: each costs a look-up in the kernel, and none comes too early.

use super::*;

/// Fails unless a guard asks a policy for exactly these answers, in this order.
#[track_caller]
fn assert_queries(policy: &Answers, guard: Guard, packet: &Packet, queries: &[&str]) {
    policy.queries.borrow_mut().clear();
    decide(policy, guard, Arrival::Received, packet);
    assert_eq!(*policy.queries.borrow(), queries);
}

#[test]
fn an_open_port_costs_the_port_and_the_network_alone() {
    let policy = Answers::new().with(|policy| policy.port = Port::Open);
    assert_queries(&policy, Guard::Wire, &packet(), &["port", "network"]);
    assert_queries(&policy, Guard::Socket, &packet(), &["port"]);
}

#[test]
fn a_packet_without_a_port_asks_for_no_port() {
    for kind in [Kind::Tagged, Kind::OtherProtocol] {
        let packet = without_a_port(kind);
        assert_queries(&Answers::new(), Guard::Wire, &packet, &["network"]);
    }
    let fragment = without_a_port(Kind::Fragment);
    let mut queries = vec!["network", "is_anothers_fragment"];
    assert_queries(&Answers::new(), Guard::Wire, &fragment, &queries);
    let policy = Answers::new().with(|policy| policy.is_anothers_fragment = true);
    queries.extend(["interface", "is_local", "mode"]);
    assert_queries(&policy, Guard::Wire, &fragment, &queries);
    let malformed = without_a_port(Kind::Malformed);
    let queries = ["network", "interface", "is_local", "mode"];
    assert_queries(&Answers::new(), Guard::Wire, &malformed, &queries);
    let policy = Answers::new().with(|policy| policy.is_local = false);
    let queries = [
        "network",
        "interface",
        "is_local",
        "is_for_other_mac",
        "route",
        "mode",
    ];
    assert_queries(&policy, Guard::Wire, &malformed, &queries);
}

#[test]
fn lo_asks_for_the_port_alone() {
    let policy = Answers::network();
    decide(&policy, Guard::Wire, Arrival::Loopback, &packet());
    assert_eq!(*policy.queries.borrow(), ["port"]);
    let policy = Answers::network().with(|policy| policy.is_own = true);
    decide(&policy, Guard::Wire, Arrival::MaybeOwn, &packet());
    assert_eq!(*policy.queries.borrow(), ["port", "is_own"]);
}

#[test]
fn a_loopback_address_asks_for_the_mode_alone() {
    let forged = Packet {
        loopback: true,
        ..packet()
    };
    assert_queries(&Answers::network(), Guard::Wire, &forged, &["port", "mode"]);
}

#[test]
fn a_container_network_asks_for_no_route() {
    let mut queries = vec!["port", "network", "interface", "is_for_other_mac"];
    let stranger = [&queries[..], &["peers_of"]].concat();
    assert_queries(&Answers::network(), Guard::Wire, &packet(), &stranger);
    let policy = Answers::network().with(|policy| policy.is_for_other_mac = true);
    queries.push("is_local");
    assert_queries(&policy, Guard::Wire, &packet(), &queries);
}

#[test]
fn a_registered_port_asks_for_the_destination_and_then_for_peers() {
    let wire = [
        "port",
        "network",
        "interface",
        "is_local",
        "allowed",
        "carried",
        "peers_of",
    ];
    assert_queries(&Answers::new(), Guard::Wire, &packet(), &wire);
    let socket = ["port", "interface", "allowed", "carried", "peers_of"];
    assert_queries(&Answers::new(), Guard::Socket, &packet(), &socket);
    // The MAC before the FIB, and neither for a destination of this host.
    let abroad = Answers::new().with(|policy| policy.is_local = false);
    let mut asked = wire.to_vec();
    asked.splice(4..4, ["is_for_other_mac", "route"]);
    assert_queries(&abroad, Guard::Wire, &packet(), &asked);
    // Without rules 3 and 5, nothing about the destination.
    let all = Answers::new().with(|policy| policy.interface.judges_all = true);
    asked.drain(3..6);
    assert_queries(&all, Guard::Wire, &packet(), &asked);
}

#[test]
fn a_drop_at_a_socket_asks_for_the_sockets_address_last() {
    let policy = Answers::new().with(|policy| policy.peers_of = PeerSet::EMPTY);
    let queries = [
        "port",
        "interface",
        "allowed",
        "carried",
        "peers_of",
        "is_proxied",
    ];
    assert_queries(&policy, Guard::Socket, &packet(), &queries);
}

#[test]
fn a_reply_from_an_unregistered_port_asks_for_nothing_else() {
    let policy = Answers::unregistered().with(|policy| policy.opens = false);
    let queries = ["port", "network", "opens"];
    assert_queries(&policy, Guard::Wire, &packet(), &queries);
    let inside = Answers::unregistered().with(|policy| policy.interface.inside = true);
    let queries = ["port", "network", "opens", "interface"];
    assert_queries(&inside, Guard::Wire, &packet(), &queries);
    let stranger = [
        &queries[..],
        &["is_local", "allowed_unregistered", "peers_of"],
    ]
    .concat();
    assert_queries(&Answers::unregistered(), Guard::Wire, &packet(), &stranger);
}
