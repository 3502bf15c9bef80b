//! Compiles a registry and the interfaces of this host to the tables of one policy.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use enforcer_ebpf::{
    Address, FIRST_PORT_SLOT, Mode, PeerSet, Protocol,
    layout::{Binding, LocalRow, MAX_RULES, PREFIX_ENTRIES, SLOTS, WIRE_VIEW},
};
use ipnet::IpNet;

use super::{
    host::{PolicyHost, PolicyInterface},
    networks::{networks, sources},
    port_set::PortSet,
    prefixes::{KeyPrefixes, longest_matches},
    rows::{interface_row, leave_out_plain_rows, wire_view},
    tables::{InterfaceRow, OptionsRow, PeerRow, PolicyTables, ServiceRow, UnregisteredRow},
};
use crate::{
    interfaces::InterfaceOptions,
    registry::{Allow, Identity, MAX_PREFIXES, PublicKey, Registry, Service},
};

/// The counter slot of each registered port: protocol, port, and the service where another service
/// has the same port too.
pub type Slots = BTreeMap<(Protocol, u16, Option<String>), u16>;

/// Compiles a registry. Ports in `taken` keep their slots; all other ports get free slots.
///
/// Where the AllowedIPs of WireGuard devices exceed the maps' limits, whole devices are left out,
/// the largest first, and their peers by key stay inactive. A partly loaded device would lack
/// holes.
///
/// # Errors
/// The registry exceeds a limit of the maps.
pub fn compile(registry: &Registry, host: &PolicyHost, taken: &Slots) -> Result<PolicyTables> {
    let interfaces = &host.interfaces;
    let mut base = base(registry, taken)?;
    base.local = local_rows(&host.local);
    base.macs.clone_from(&host.macs);
    base.open_udp = open_udp(&base, host);
    base.networks = networks(&base, interfaces);
    let mut devices: BTreeMap<u32, KeyPrefixes> = interfaces
        .iter()
        .filter_map(|interface| Some((interface.ifindex, key_prefixes(registry, interface)?)))
        .collect();
    loop {
        let tables = with_interfaces(base.clone(), registry, interfaces, &devices);
        let Err(error) = check_limits(&tables) else {
            return Ok(tables);
        };
        let largest = devices
            .iter()
            .max_by_key(|(_, prefixes)| longest_matches(&[], &[prefixes]).len())
            .map(|(ifindex, _)| *ifindex);
        match largest {
            Some(ifindex) => devices.remove(&ifindex),
            None => return Err(error),
        };
    }
}

/// Compiles the tables that do not depend on interfaces.
fn base(registry: &Registry, taken: &Slots) -> Result<PolicyTables> {
    let peer_numbers: BTreeMap<&str, u16> = (0u16..)
        .zip(registry.peers())
        .map(|(number, peer)| (peer.name.as_str(), number))
        .collect();
    let peer_set = |allow: &Allow| {
        let mut set = PeerSet::EMPTY;
        let numbers = allow.names().filter_map(|name| peer_numbers.get(name));
        numbers.for_each(|number| set.insert(*number));
        set
    };
    let services = registry
        .services()
        .iter()
        .map(|service| ServiceRow {
            name: service.name.clone(),
            allow: peer_set(&service.allow),
        })
        .collect();
    let unregistered = registry.unregistered();
    let bound = ports(registry, taken)?;
    Ok(PolicyTables {
        mode: registry.mode(),
        services,
        peers: Vec::new(),
        interface_options: interface_options(registry, peer_set)?,
        ports: bound.ports,
        ports_at: bound.ports_at,
        unregistered: UnregisteredRow {
            // A global `audit` drops nothing but for services with a mode of their own.
            modes: Protocol::ALL.map(|protocol| match registry.mode() {
                Mode::Audit => unregistered.action(protocol).mode().and(Some(Mode::Audit)),
                Mode::Enforce => unregistered.action(protocol).mode(),
            }),
            allow: peer_set(&unregistered.allow),
        },
        ..PolicyTables::default()
    })
}

/// Returns the peers at each AllowedIP of a device, `None` where the AllowedIPs are unknown.
fn key_prefixes(registry: &Registry, interface: &PolicyInterface) -> Option<KeyPrefixes> {
    let mut peers: BTreeMap<PublicKey, PeerSet> = BTreeMap::new();
    for (number, peer) in (0u16..).zip(registry.peers()) {
        match peer.identity {
            Identity::Key(key) if interface.is_on(&peer.interface) => {
                peers.entry(key).or_insert(PeerSet::EMPTY).insert(number);
            }
            _ => {}
        }
    }
    let known = |key| peers.get(&key).copied().unwrap_or(PeerSet::EMPTY);
    let allowed = interface.allowed_ips.as_ref()?.iter();
    Some(allowed.map(|(prefix, key)| (prefix, known(key))).collect())
}

/// Adds the peers and the interfaces; `devices` holds the key prefixes of the loaded WireGuard
/// devices, by ifindex.
fn with_interfaces(
    mut tables: PolicyTables,
    registry: &Registry,
    interfaces: &[PolicyInterface],
    devices: &BTreeMap<u32, KeyPrefixes>,
) -> PolicyTables {
    let addresses = add_peers(&mut tables, registry, interfaces, devices);
    let prefixes_of = |all: &[&PolicyInterface]| {
        let by_address = all.iter().filter_map(|i| addresses.get(&i.ifindex));
        let by_address: Vec<_> = by_address.flatten().copied().collect();
        let by_key: Vec<_> = all.iter().filter_map(|i| devices.get(&i.ifindex)).collect();
        longest_matches(&by_address, &by_key)
    };
    for interface in interfaces {
        let row = InterfaceRow {
            vlan_parent: !interface.merged.is_empty(),
            ..interface_row(&tables, interface)
        };
        let prefixes = prefixes_of(&[interface]);
        add_interface(&mut tables, interface.ifindex, row.clone(), prefixes);
        if row.vlan_parent {
            // The wire view passes the union of all that these interfaces would pass.
            let mut all = vec![interface];
            let merged = |other: &&PolicyInterface| interface.merged.contains(&other.ifindex);
            all.extend(interfaces.iter().filter(merged));
            let view = wire_view(&tables, interface, row, &all);
            let view_index = interface.ifindex | WIRE_VIEW;
            add_interface(&mut tables, view_index, view, prefixes_of(&all));
        }
    }
    leave_out_plain_rows(&mut tables);
    tables.sources = sources(&tables, interfaces);
    tables
}

/// Returns the UDP ports that no service has and that rule 6 leaves alone; none where the rule is
/// off.
fn open_udp(tables: &PolicyTables, host: &PolicyHost) -> PortSet {
    if !tables.judges_unregistered_udp() {
        return PortSet::default();
    }
    let is_free = |port: &u16| !tables.ports.contains_key(&(Protocol::Udp, *port));
    (0..=u16::MAX)
        .filter(|port| host.open_udp.contains(*port))
        .filter(is_free)
        .collect()
}

/// Returns the local table by network and prefix length.
pub(crate) fn local_rows(routes: &[(IpNet, u32)]) -> BTreeMap<(Address, u8), LocalRow> {
    let row = |(prefix, ifindex): &(IpNet, u32)| {
        let is_address = prefix.prefix_len() == prefix.max_prefix_len();
        let ifindex = *ifindex;
        (
            key_of(prefix),
            LocalRow {
                ifindex,
                is_address,
            },
        )
    };
    routes.iter().map(row).collect()
}

/// Returns the network and the length of a prefix.
pub(super) fn key_of(prefix: &IpNet) -> (Address, u8) {
    (Address::from(prefix.network()), prefix.prefix_len())
}

/// Adds the peers and returns the prefixes of peers by address, each with the peer's number, by
/// ifindex.
fn add_peers(
    tables: &mut PolicyTables,
    registry: &Registry,
    interfaces: &[PolicyInterface],
    devices: &BTreeMap<u32, KeyPrefixes>,
) -> BTreeMap<u32, Vec<(IpNet, u16)>> {
    let mut addresses: BTreeMap<u32, Vec<(IpNet, u16)>> = BTreeMap::new();
    for (number, peer) in (0u16..).zip(registry.peers()) {
        let matching = interfaces
            .iter()
            .filter(|interface| interface.is_on(&peer.interface));
        let ifindexes: Vec<u32> = matching.map(|interface| interface.ifindex).collect();
        let (key, active) = match &peer.identity {
            Identity::Key(key) => {
                let mut prefixes = ifindexes.iter().filter_map(|it| devices.get(it)).flatten();
                let is_there = prefixes.any(|(_, peers)| peers.contains(number));
                (Some(*key.as_bytes()), is_there)
            }
            Identity::Addresses(prefixes) => {
                for ifindex in &ifindexes {
                    let own = addresses.entry(*ifindex).or_default();
                    own.extend(prefixes.iter().map(|prefix| (*prefix, number)));
                }
                (None, !ifindexes.is_empty())
            }
        };
        tables.peers.push(PeerRow {
            name: peer.name.clone(),
            interface: peer.interface.clone(),
            key,
            active,
        });
    }
    addresses
}

/// Checks the number of prefixes. A valid registry keeps peers by address within the first limit;
/// peers by key may exceed either.
fn check_limits(tables: &PolicyTables) -> Result<()> {
    let owners = tables.prefixes.keys();
    let own = owners.filter(|(owner, ..)| owner & WIRE_VIEW == 0).count();
    ensure!(
        own <= MAX_PREFIXES,
        "the peers have {own} prefixes on this host's interfaces, and the limit is {MAX_PREFIXES}"
    );
    let most = PREFIX_ENTRIES as usize / 2;
    ensure!(
        tables.prefixes.len() <= most,
        "the peers have {} prefixes on this host's interfaces, and the limit is {most}",
        tables.prefixes.len()
    );
    Ok(())
}

/// Adds an interface's prefixes, and a row unless the row equals the default.
fn add_interface(
    tables: &mut PolicyTables,
    ifindex: u32,
    mut row: InterfaceRow,
    prefixes: Vec<(IpNet, PeerSet)>,
) {
    for (prefix, peers) in prefixes {
        row.carries = row.carries.union(&peers);
        let (network, length) = (Address::from(prefix.network()), prefix.prefix_len());
        tables.prefixes.insert((ifindex, network, length), peers);
    }
    if row != InterfaceRow::default() {
        tables.interfaces.insert(ifindex, row);
    }
}

fn interface_options(
    registry: &Registry,
    peer_set: impl Fn(&Allow) -> PeerSet,
) -> Result<Vec<OptionsRow>> {
    let count = registry.interfaces().len();
    ensure!(
        count <= MAX_RULES as usize,
        "the registry has {count} [interfaces] tables, and the limit is {MAX_RULES}"
    );
    Ok(registry
        .interfaces()
        .iter()
        .map(|table| OptionsRow {
            pattern: table.pattern.clone(),
            options: InterfaceOptions::from(table),
            allow: peer_set(&table.allow),
            has_allow: table.allow.at.is_some(),
            has_routed: table.routed_at.is_some(),
        })
        .collect())
}

/// The bindings of a registry's ports.
#[derive(Default)]
struct Bound {
    ports: BTreeMap<(Protocol, u16), Binding>,
    ports_at: BTreeMap<(Protocol, u16, Address), Binding>,
}

/// Binds ports to services and slots.
///
/// A service without `on` has its ports wherever no `on` covers the address. Where every service of
/// a port has `on`, the port is closed at every other address, with the slot of the port's first
/// service: nobody is allowed there, and audit holds only if all these services have that mode.
fn ports(registry: &Registry, taken: &Slots) -> Result<Bound> {
    let used: BTreeSet<u16> = taken.values().copied().collect();
    let last = u16::try_from(SLOTS).context("slots are numbered with 16 bits")?;
    let mut free = (FIRST_PORT_SLOT..last).filter(|slot| !used.contains(slot));
    let mut bound = Bound::default();
    let mut closed = BTreeMap::new();
    let services = || (0u16..).zip(registry.services());
    let everywhere = services().filter(|(_, service)| service.on.is_empty());
    let at_addresses = services().filter(|(_, service)| !service.on.is_empty());
    for (number, service) in everywhere.chain(at_addresses) {
        for &(protocol, port) in &service.ports {
            let place = (protocol, port);
            let is_first = !bound.ports.contains_key(&place) && !closed.contains_key(&place);
            let owner = (!is_first).then(|| service.name.clone());
            let slot = match taken.get(&(protocol, port, owner)) {
                Some(slot) => *slot,
                // The map has twice as many slots as a registry may have ports.
                None => free.next().context("no slot is free")?,
            };
            let binding = binding(registry, service, number, slot);
            if service.on.is_empty() {
                bound.ports.insert(place, binding);
                continue;
            }
            for address in service.on.keys() {
                let place = (protocol, port, Address::from(*address));
                bound.ports_at.insert(place, binding);
            }
            if !bound.ports.contains_key(&place) {
                let of_port = closed.entry(place).or_insert(Binding {
                    public: false,
                    has_peers: false,
                    ..binding
                });
                of_port.audit &= binding.audit;
            }
        }
    }
    bound.ports.extend(closed);
    for (protocol, port, _) in bound.ports_at.keys() {
        if let Some(binding) = bound.ports.get_mut(&(*protocol, *port)) {
            binding.by_address = true;
        }
    }
    Ok(bound)
}

fn binding(registry: &Registry, service: &Service, number: u16, slot: u16) -> Binding {
    Binding {
        slot,
        service: number,
        public: service.public,
        audit: registry.mode_of(service) == Mode::Audit,
        has_peers: !service.allow.is_empty(),
        ..Binding::default()
    }
}
