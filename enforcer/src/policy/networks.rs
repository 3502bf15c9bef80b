//! Container networks (rule 4), and the sources of later fragments.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::{Address, PeerSet, layout::WIRE_VIEW};
use ipnet::IpNet;

use super::{
    compile::key_of,
    host::PolicyInterface,
    tables::{NetworkRow, PolicyTables},
};

/// Returns the container networks of a host: the global subnets of the bridges that a container
/// engine made, or that the registry marks.
pub(super) fn networks(
    tables: &PolicyTables,
    interfaces: &[PolicyInterface],
) -> BTreeMap<(Address, u8), NetworkRow> {
    let mut networks = BTreeMap::new();
    for bridge in interfaces.iter().filter(|interface| interface.is_bridge) {
        let row = tables.options_row(bridge.names());
        let (options, allow) = row.map(|row| (row.options, row.allow)).unwrap_or_default();
        let is_engines = is_container_bridge(&bridge.name);
        if !options.containers.unwrap_or(is_engines) {
            continue;
        }
        let row = NetworkRow {
            bridge: bridge.ifindex,
            allow,
            mode: options.mode.unwrap_or(tables.mode),
            routed: options.routed,
        };
        let global = bridge.addresses.iter().filter(|prefix| is_global(prefix));
        networks.extend(global.map(|prefix| (key_of(prefix), row)));
    }
    networks
}

/// Returns whether a name is that of a container engine's bridge: Podman's netavark and CNI,
/// Docker, nerdctl.
fn is_container_bridge(name: &str) -> bool {
    /// Docker names the bridge of a network by the first digits of the network's id
    /// (`bridgeName` in libnetwork's drivers/bridge).
    const ID_DIGITS: usize = 12;
    let is_id = |id: &str| id.len() == ID_DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit());
    name.starts_with("podman")
        || name.starts_with("cni-podman")
        || ["docker0", "docker_gwbridge", "nerdctl0"].contains(&name)
        || name.strip_prefix("br-").is_some_and(is_id)
}

/// Returns whether a subnet's addresses hold beyond one link: neither link-local (RFC 3927,
/// RFC 4291) nor loopback.
fn is_global(prefix: &IpNet) -> bool {
    match prefix {
        IpNet::V4(v4) => !v4.addr().is_link_local() && !v4.addr().is_loopback(),
        IpNet::V6(v6) => !v6.addr().is_unicast_link_local() && !v6.addr().is_loopback(),
    }
}

/// Returns the prefixes that the sources of later fragments are compared with: under ifindex 0
/// those longer than /0 of the peers that some service allows, and for each interface its own
/// peers' and subnets'. None without such a peer.
pub(super) fn sources(
    tables: &PolicyTables,
    interfaces: &[PolicyInterface],
) -> BTreeSet<(u32, Address, u8)> {
    let services = tables.services.iter();
    let allowed = services.fold(PeerSet::EMPTY, |all, service| all.union(&service.allow));
    let own = tables.prefixes.iter();
    let own = own.filter(|((ifindex, ..), peers)| ifindex & WIRE_VIEW == 0 && !peers.is_empty());
    let mut peers: BTreeMap<u32, Vec<(Address, u8)>> = BTreeMap::new();
    let mut sources = BTreeSet::new();
    for ((ifindex, network, length), set) in own {
        peers.entry(*ifindex).or_default().push((*network, *length));
        if *length > 0 && set.shares_with(&allowed) {
            sources.insert((0, *network, *length));
        }
    }
    if sources.is_empty() {
        return sources;
    }
    for interface in interfaces.iter().filter(|interface| interface.is_guarded) {
        let merged = |other: &&PolicyInterface| {
            other.ifindex == interface.ifindex || interface.merged.contains(&other.ifindex)
        };
        for here in interfaces.iter().filter(merged) {
            let subnets = here.addresses.iter().map(key_of);
            let peers = peers.get(&here.ifindex).into_iter().flatten().copied();
            let both = subnets.chain(peers);
            sources.extend(both.map(|(network, length)| (interface.ifindex, network, length)));
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use enforcer_ebpf::Mode;

    use super::*;

    #[test]
    fn the_bridges_of_container_engines_are_known_by_name() {
        for name in [
            "podman0",
            "podman17",
            "cni-podman0",
            "docker0",
            "docker_gwbridge",
            "nerdctl0",
            "br-0123456789ab",
        ] {
            assert!(is_container_bridge(name), "{name}");
        }
        for name in [
            "br0",
            "br-lan",
            "br-0123456789abc",
            "br-0123456789ax",
            "docker1",
            "virbr0",
        ] {
            assert!(!is_container_bridge(name), "{name}");
        }
    }

    fn interface(ifindex: u32, name: &str, addresses: &[&str]) -> PolicyInterface {
        PolicyInterface {
            ifindex,
            name: name.to_owned(),
            is_bridge: name.starts_with("podman") || name.starts_with("br"),
            is_guarded: true,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ..PolicyInterface::default()
        }
    }

    fn key(text: &str) -> (Address, u8) {
        key_of(&text.parse().unwrap())
    }

    #[test]
    fn global_subnets_of_an_engines_bridge_are_networks() {
        let addresses = [
            "10.88.0.1/16",
            "fd00:88::1/64",
            "fe80::1/64",
            "169.254.3.4/16",
        ];
        let interfaces = [
            interface(2, "eth0", &["192.168.1.2/24"]),
            interface(3, "podman0", &addresses),
            interface(4, "br0", &["192.168.2.1/24"]),
        ];
        let found = networks(&PolicyTables::default(), &interfaces);
        let keys: Vec<_> = found.keys().copied().collect();
        assert_eq!(keys, [key("10.88.0.0/16"), key("fd00:88::/64")]);
        for row in found.values() {
            assert_eq!(
                (row.bridge, row.mode, row.routed),
                (3, Mode::Enforce, false)
            );
        }
    }

    #[test]
    fn fragments_are_compared_with_allowed_peers_and_with_each_interfaces_own() {
        let mut allow = PeerSet::EMPTY;
        allow.insert(0);
        let mut other = PeerSet::EMPTY;
        other.insert(1);
        let mut tables = PolicyTables {
            services: vec![super::super::ServiceRow {
                name: "redis".to_owned(),
                allow,
            }],
            ..PolicyTables::default()
        };
        for (ifindex, prefix, peers) in [
            (3, "10.10.0.2/32", allow),
            (3, "0.0.0.0/0", allow),
            (3, "10.10.0.9/32", other),
            (2 | WIRE_VIEW, "10.10.0.2/32", allow),
        ] {
            let (network, length) = key(prefix);
            tables.prefixes.insert((ifindex, network, length), peers);
        }
        let mut member = interface(4, "veth0", &[]);
        member.merged = vec![2];
        let interfaces = [
            interface(2, "eth0", &["192.168.1.2/24"]),
            interface(3, "wg0", &["10.10.0.1/24"]),
            member,
        ];
        let found = sources(&tables, &interfaces);
        let has = |ifindex: u32, prefix: &str| {
            let (network, length) = key(prefix);
            found.contains(&(ifindex, network, length))
        };
        assert!(has(0, "10.10.0.2/32"));
        assert!(!has(0, "0.0.0.0/0") && !has(0, "10.10.0.9/32"));
        assert!(has(2, "192.168.1.0/24") && !has(2, "10.10.0.0/24"));
        assert!(has(4, "192.168.1.0/24"));
        for own in ["10.10.0.0/24", "10.10.0.2/32", "10.10.0.9/32", "0.0.0.0/0"] {
            assert!(has(3, own), "{own}");
        }
        tables.services.clear();
        assert!(sources(&tables, &interfaces).is_empty());
    }
}
