//! The described packet of `explain` at the guards of this host.

use std::net::IpAddr;

use anyhow::Result;
use enforcer_ebpf::{Address, Decision, Guard, Protocol, Reason, Route};

use super::explain_fib::route_of;
use crate::{
    control::{Instance, find_attached},
    decisions::candidate::{EVERY_GUARD, guard_plan},
    host::HostSnapshot,
    interfaces::Interface,
    policy::{PacketSpec, PolicyTables},
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
        opens: true,
    })
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
    use enforcer_ebpf::{Address, PeerSet, Protocol, layout::Binding};

    use super::*;
    use crate::policy::{InterfaceRow, ServiceRow};

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
