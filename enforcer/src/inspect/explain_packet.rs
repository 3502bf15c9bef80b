//! The described packet of `explain` at the guards of this host.

use std::net::IpAddr;

use anyhow::Result;
use enforcer_ebpf::{Address, Decision, Guard, Protocol, Reason, Route};

use super::{
    explain_fib::route_of,
    explain_live::{Live, own_address},
};
use crate::{
    control::{Instance, find_attached},
    decisions::candidate::{EVERY_GUARD, guard_plan},
    host::HostSnapshot,
    interfaces::Interface,
    policy::{PacketSpec, PolicyTables},
    procfs::udp,
};

/// A packet, as an operator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The arriving interface.
    pub interface: String,
    /// The source address.
    pub source: IpAddr,
    /// The destination address; `None` for an address of this host.
    pub destination: Option<IpAddr>,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
    /// Whether the loaded wire guard runs on the packet too.
    pub live: bool,
}

/// Returns the packet at the first guard on the way.
///
/// # Errors
/// The pins cannot be read, or the kernel cannot be asked for a route.
pub(super) async fn describe(
    question: &Question,
    tables: &PolicyTables,
    instance: &Instance,
    snapshot: &HostSnapshot,
    interface: &Interface,
) -> Result<PacketSpec> {
    // An interface without a wire guard (podman0, a bridge's member): the socket guard alone.
    let guard = match has_wire_guard(instance, tables, snapshot, interface.index)? {
        true => Guard::Wire,
        false => Guard::Socket,
    };
    let route = match question.destination {
        Some(destination) if guard == Guard::Wire => {
            route_of(question, destination, interface.index, tables, snapshot).await?
        }
        _ => Route::Here,
    };
    Ok(PacketSpec {
        guard,
        ifindex: interface.index,
        loopback: interface.loopback,
        source: question.source.into(),
        destination: question.destination.map(Into::into),
        protocol: question.protocol,
        port: question.port,
        route,
        opens: opens(question, tables, interface).await?,
    })
}

/// Returns whether the packet opens a connection, for rule 6. A described TCP or SCTP packet does;
/// a datagram does where an unconnected socket takes the datagram.
async fn opens(question: &Question, tables: &PolicyTables, interface: &Interface) -> Result<bool> {
    if !asks_for_a_socket(question, tables) {
        return Ok(true);
    }
    let destination = match question.destination {
        Some(destination) => destination,
        None => own_address(interface.index, question.source).await?,
    };
    udp::has_unconnected(destination, question.port)
}

/// Returns whether rule 6 judges the packet by a socket of this host.
fn asks_for_a_socket(question: &Question, tables: &PolicyTables) -> bool {
    let port = (question.protocol, question.port);
    question.protocol == Protocol::Udp
        && !tables.ports.contains_key(&port)
        && tables.unregistered_mode(port.0, port.1).is_some()
}

/// Returns the packet as the kernel saw it: where the model and a run of the guard's program agree
/// with the other answer on the datagram's socket alone, the program has found the socket
/// (`bpf_sk_lookup_udp`), and /proc shows too little of sockets.
pub(super) fn as_run(
    question: &Question,
    tables: &PolicyTables,
    packet: PacketSpec,
    live: &Live,
) -> PacketSpec {
    let Live::Ran(run) = live else {
        return packet;
    };
    let other = PacketSpec {
        opens: !packet.opens,
        ..packet
    };
    let is_other = asks_for_a_socket(question, tables)
        && !run.agrees(&tables.judge(&packet))
        && run.agrees(&tables.judge(&other));
    if is_other { other } else { packet }
}

/// Returns the decision on a packet after all guards, with the packet at the deciding guard.
///
/// A packet that the wire guard passes to a socket of this host meets the socket guard, which may
/// know the interface better (a bridge, a VLAN device).
pub(super) fn through_both_guards(
    tables: &PolicyTables,
    packet: PacketSpec,
) -> (PacketSpec, Decision) {
    let first = tables.judge(&packet);
    let ends = first.drops() || packet.guard == Guard::Socket || passes_on(tables, &packet, &first);
    if !ends {
        let socket = PacketSpec {
            guard: Guard::Socket,
            ..packet
        };
        let second = tables.judge(&socket);
        if second.drops() {
            return (socket, second);
        }
    }
    (packet, first)
}

/// Returns whether a packet is for a container or for another host, and meets no socket of this one.
pub(super) fn passes_on(tables: &PolicyTables, packet: &PacketSpec, decision: &Decision) -> bool {
    let is_for_others = |address: Address| address.is_unicast() && !tables.is_own(&address);
    decision.reason == Reason::Forwarded || packet.destination.is_some_and(is_for_others)
}

/// Returns whether a wire guard judges an interface: an attached guard, or with nothing pinned, a
/// guard that `up` would attach.
fn has_wire_guard(
    instance: &Instance,
    tables: &PolicyTables,
    snapshot: &HostSnapshot,
    ifindex: u32,
) -> Result<bool> {
    let attached = find_attached(instance.pins(), snapshot)?;
    if instance.is_pinned()? {
        return Ok(attached.guards.contains_key(&ifindex));
    }
    let options = |interface: &Interface| tables.options_of(interface.names());
    let plan = guard_plan(snapshot, EVERY_GUARD, options, &attached).wanted;
    Ok(plan.guards.iter().any(|guard| guard.ifindex == ifindex))
}

#[cfg(test)]
mod tests {
    use enforcer_ebpf::{
        Address, Mode, PeerSet, Protocol,
        layout::{Binding, Cell},
        unregistered_slot,
    };

    use super::*;
    use crate::{
        inspect::Run,
        interfaces::Hook,
        policy::{InterfaceRow, ServiceRow},
    };

    const IFINDEX: u32 = 2;

    /// A service on 6379/tcp for a peer, and an interface whose wire view passes any peer.
    fn tables(wire: InterfaceRow) -> PolicyTables {
        let mut allow = PeerSet::EMPTY;
        allow.insert(0);
        let mut tables = PolicyTables {
            services: vec![ServiceRow {
                name: "redis".to_owned(),
                allow,
            }],
            ..PolicyTables::default()
        };
        let binding = Binding {
            slot: 1,
            has_peers: true,
            ..Binding::default()
        };
        tables.ports.insert((Protocol::Tcp, 6379), binding);
        tables.interfaces.insert(IFINDEX, wire);
        let view = IFINDEX | enforcer_ebpf::layout::WIRE_VIEW;
        tables
            .prefixes
            .insert((view, Address::v4([0; 4]), 0), allow);
        let carries = InterfaceRow {
            carries: allow,
            ..InterfaceRow::default()
        };
        tables.interfaces.insert(view, carries);
        tables
    }

    fn packet(guard: Guard) -> PacketSpec {
        PacketSpec {
            guard,
            ifindex: IFINDEX,
            loopback: false,
            source: Address::v4([192, 0, 2, 7]),
            destination: None,
            protocol: Protocol::Tcp,
            port: 6379,
            route: Route::Here,
            opens: true,
        }
    }

    #[test]
    fn the_socket_guard_has_the_last_word() {
        let vlan_parent = InterfaceRow {
            vlan_parent: true,
            ..InterfaceRow::default()
        };
        let tables = tables(vlan_parent);
        assert_eq!(tables.judge(&packet(Guard::Wire)).reason, Reason::Peer);
        let (end, decision) = through_both_guards(&tables, packet(Guard::Wire));
        assert_eq!(end.guard, Guard::Socket);
        assert_eq!(decision.reason, Reason::UntrustedInterface);
    }

    #[test]
    fn the_program_knows_the_sockets_of_rule_6() {
        let mut tables = tables(InterfaceRow::default());
        tables.unregistered.modes[Protocol::Udp as usize] = Some(Mode::Enforce);
        let question = |protocol, port| Question {
            interface: "eth0".to_owned(),
            source: "192.0.2.7".parse().unwrap(),
            destination: None,
            protocol,
            port,
            live: true,
        };
        let datagram = PacketSpec {
            protocol: Protocol::Udp,
            port: 9999,
            ..packet(Guard::Wire)
        };
        let run = |passes, counted| Run {
            hook: Hook::Tcx,
            passes,
            counted,
        };
        let cell = Cell {
            guard: Guard::Wire,
            reason: Reason::UnregisteredPort,
            audited: false,
        };
        let dropped = run(false, Some((unregistered_slot(Protocol::Udp), cell)));
        let passed = run(true, None);
        let is = |port, opens, run: &Run| {
            let packet = PacketSpec {
                port,
                opens,
                ..datagram
            };
            as_run(
                &question(Protocol::Udp, port),
                &tables,
                packet,
                &Live::Ran(*run),
            )
            .opens
        };
        assert!(is(9999, true, &dropped));
        assert!(is(9999, false, &dropped));
        assert!(!is(9999, true, &passed));
        assert!(!is(9999, false, &passed));
        // Another difference stays one.
        let other = run(true, Some((7, cell)));
        assert!(is(9999, true, &other));
        assert!(!asks_for_a_socket(&question(Protocol::Tcp, 9999), &tables));
        tables.ports.insert((Protocol::Udp, 53), Binding::default());
        assert!(!asks_for_a_socket(&question(Protocol::Udp, 53), &tables));
    }

    #[test]
    fn a_drop_at_the_wire_is_the_end() {
        let tables = tables(InterfaceRow::default());
        let (end, decision) = through_both_guards(&tables, packet(Guard::Wire));
        assert_eq!(end.guard, Guard::Wire);
        assert!(decision.drops());
    }

    #[test]
    fn a_forwarded_packet_meets_no_socket() {
        let forward = InterfaceRow {
            vlan_parent: true,
            ..InterfaceRow::default()
        };
        let mut tables = tables(forward);
        let view = IFINDEX | enforcer_ebpf::layout::WIRE_VIEW;
        if let Some(row) = tables.interfaces.get_mut(&view) {
            row.hairpin = true;
        }
        let forwarded = PacketSpec {
            destination: Some(Address::v4([203, 0, 113, 9])),
            route: Route::Back,
            ..packet(Guard::Wire)
        };
        let (end, decision) = through_both_guards(&tables, forwarded);
        assert_eq!(end.guard, Guard::Wire);
        assert_eq!(decision.reason, Reason::Forwarded);
    }
}
