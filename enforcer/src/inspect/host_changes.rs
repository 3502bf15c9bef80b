//! The changes of the host since a policy was compiled, which a reload would take up.

use std::collections::BTreeMap;

use enforcer_ebpf::{
    Address, Family,
    layout::{LocalRow, State},
};

use crate::{
    decisions::attached::AttachedGuards,
    interfaces::WireGuard,
    policy::{Change, InterfaceRow, PolicyTables},
};

/// The guards that a policy wants, and the attached ones.
pub(super) struct Guards<'a> {
    /// The flags of [`State`].
    pub(super) flags: u32,
    /// The wire guards of the plan.
    pub(super) planned: &'a [WireGuard],
    /// The attached wire guards.
    pub(super) attached: &'a AttachedGuards,
    /// Whether a wanted socket guard is absent, and can be attached.
    pub(super) lacks_socket: bool,
}

/// Returns the changes of the host from the policy in force to the policy of a reload.
/// `is_registry_same`: the registry changes nothing, so that every difference is the host's.
pub(super) fn host_changes(
    now: &PolicyTables,
    next: &PolicyTables,
    is_registry_same: bool,
    guards: &Guards<'_>,
) -> Vec<Change> {
    let since = "have changed since the last reload";
    let mut what = Vec::new();
    if addresses_differ(&now.local, &next.local) {
        what.push(format!("this host's own addresses {since}"));
    }
    if now.macs != next.macs {
        what.push(format!("the MAC addresses that this host takes {since}"));
    }
    if is_registry_same && now.networks != next.networks {
        what.push(format!("the container networks {since}"));
    }
    if is_registry_same && interfaces(now) != interfaces(next) {
        what.push(format!("the interfaces of this host {since}"));
    }
    if is_registry_same && now.open_udp != next.open_udp {
        what.push(format!("the UDP ports of clients and tunnels {since}"));
    }
    what.extend(missing_guards(guards));
    let change = |what| Change::global('~', what);
    what.into_iter().map(change).collect()
}

/// Returns the absent guards in words.
fn missing_guards(guards: &Guards<'_>) -> Vec<String> {
    let wants_wire = guards.flags & State::WANT_WIRE != 0;
    let planned = guards.planned.iter().filter(|_| wants_wire);
    let missing = planned.filter(|guard| !guards.attached.guards.contains_key(&guard.ifindex));
    let missing = missing.map(|guard| format!("{} has no wire guard", guard.name));
    let lacks_socket = guards.lacks_socket && guards.flags & State::WANT_SOCKET != 0;
    let socket = lacks_socket.then(|| "there is no socket guard".to_owned());
    missing.chain(socket).collect()
}

/// Returns the rows of interfaces without their own addresses, a short way through the local table.
fn interfaces(tables: &PolicyTables) -> BTreeMap<u32, InterfaceRow> {
    let rows = tables.interfaces.iter().map(|(ifindex, row)| {
        let row = InterfaceRow {
            own_v4: None,
            own_v6: None,
            ..row.clone()
        };
        (*ifindex, row)
    });
    rows.filter(|(_, row)| *row != InterfaceRow::default())
        .collect()
}

/// Returns whether two local tables have different lasting rows.
pub(super) fn addresses_differ(
    one: &BTreeMap<(Address, u8), LocalRow>,
    other: &BTreeMap<(Address, u8), LocalRow>,
) -> bool {
    let lasting = |key: &&(Address, u8)| is_lasting(key);
    !one.keys().filter(lasting).eq(other.keys().filter(lasting))
}

/// Returns whether a row of the local table stays as long as its address. Link-local addresses of
/// IPv6 come a second after the interface (RFC 4862, 5.4), and each packet to one of them meets the
/// FIB's own answer.
fn is_lasting((network, _): &(Address, u8)) -> bool {
    network.family() == Family::V4 || network.high() >> 54 != 0xfe80 >> 6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{interfaces::Hook, policy::NetworkRow};

    fn row() -> LocalRow {
        LocalRow {
            ifindex: 2,
            is_address: true,
        }
    }

    /// The changes between two policies, with a plan of one guard that is attached.
    fn found(now: &PolicyTables, next: &PolicyTables, is_registry_same: bool) -> Vec<String> {
        let attached = AttachedGuards {
            guards: BTreeMap::from([(2, Hook::Tcx)]),
            ..AttachedGuards::default()
        };
        let guards = Guards {
            flags: State::WANT_WIRE | State::WANT_SOCKET,
            planned: &[WireGuard::alone(2, "eth0".to_owned(), vec![Hook::Tcx])],
            attached: &attached,
            lacks_socket: false,
        };
        let changes = host_changes(now, next, is_registry_same, &guards);
        assert!(changes.iter().all(|change| change.sign == '~'));
        changes.into_iter().map(|change| change.what).collect()
    }

    #[test]
    fn each_table_of_the_host_is_compared() {
        let now = PolicyTables::default();
        assert_eq!(found(&now, &now, true), [""; 0]);
        let mut next = now.clone();
        next.local.insert((Address::v4([192, 0, 2, 1]), 32), row());
        next.macs.insert([2; 6], false);
        let network = NetworkRow {
            bridge: 3,
            allow: enforcer_ebpf::PeerSet::EMPTY,
            mode: enforcer_ebpf::Mode::Enforce,
            routed: false,
        };
        let subnet = (Address::v4([10, 88, 0, 0]), 16);
        next.networks.insert(subnet, network);
        let inside = InterfaceRow {
            inside: true,
            ..InterfaceRow::default()
        };
        next.interfaces.insert(4, inside);
        next.open_udp = [51_820].into_iter().collect();
        let changes = found(&now, &next, true);
        assert_eq!(changes.len(), 5, "{changes:?}");
        assert!(changes[0].starts_with("this host's own addresses have changed"));
        // The registry explains the rest.
        assert_eq!(found(&now, &next, false), changes[..2]);
    }

    #[test]
    fn link_local_addresses_are_no_change() {
        let now = PolicyTables::default();
        let mut next = now.clone();
        let link_local = Address::v6(0xfe80 << 48, 1);
        next.local.insert((link_local, 128), row());
        let own = InterfaceRow {
            own_v6: Some(link_local),
            ..InterfaceRow::default()
        };
        next.interfaces.insert(2, own);
        assert_eq!(found(&now, &next, true), [""; 0]);
    }

    #[test]
    fn absent_guards_are_named() {
        let none = AttachedGuards::default();
        let planned = [WireGuard::alone(2, "eth0".to_owned(), vec![Hook::Tcx])];
        let missing = |flags| {
            missing_guards(&Guards {
                flags,
                planned: &planned,
                attached: &none,
                lacks_socket: true,
            })
        };
        let (wire, socket) = (State::WANT_WIRE, State::WANT_SOCKET);
        let expected = ["eth0 has no wire guard", "there is no socket guard"];
        assert_eq!(missing(wire | socket), expected);
        assert_eq!(missing(wire), expected[..1]);
        assert_eq!(missing(socket), expected[1..]);
        assert_eq!(missing(0), [""; 0]);
    }
}
