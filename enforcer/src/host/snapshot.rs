//! The interfaces of this namespace, with the answers of WireGuard.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use anyhow::Result;
use enforcer_ebpf::Protocol;
use ipnet::IpNet;

#[cfg(test)]
use super::retry::Retry;
use super::{
    Keys,
    keys::Heard,
    local_table::LocalTable,
    udp_ports::{self, ListenPorts, Tunnels},
};
use crate::{
    interfaces::{self, Interface, InterfaceOptions, Plan},
    netlink::address::{self, Address},
    policy::PortSet,
    registry::{Identity, Registry, pattern_matches},
    wireguard::{Answer, Device, LIMIT, ask_all},
};

/// The interfaces by rtnetlink at one moment, and the answers of the WireGuard devices that were
/// asked.
#[derive(Clone, Debug)]
pub struct HostSnapshot {
    interfaces: BTreeMap<u32, Interface>,
    host: interfaces::Host,
    own: Result<OwnAddresses, String>,
    wireguard: BTreeMap<u32, Heard>,
    /// The UDP ports of tunnels, where a registry's rules ask for them.
    tunnels: Tunnels,
}

/// The addresses of interfaces, and the local table.
#[derive(Clone, Debug, Default)]
struct OwnAddresses {
    addresses: Vec<Address>,
    local_table: LocalTable,
}

/// Returns the interfaces of this thread's network namespace.
///
/// # Errors
/// The kernel's refusal.
pub async fn snapshot() -> Result<HostSnapshot> {
    let host = interfaces::host(kernel_has_tcx())?;
    let interfaces = interfaces::list().await?;
    // Guards do not wait for the addresses.
    let own = own_addresses(&interfaces).await;
    Ok(HostSnapshot {
        own: own.map_err(|error| format!("{error:#}")),
        interfaces: interfaces.into_iter().map(|i| (i.index, i)).collect(),
        host,
        wireguard: BTreeMap::new(),
        tunnels: Tunnels::default(),
    })
}

async fn own_addresses(interfaces: &[Interface]) -> Result<OwnAddresses> {
    Ok(OwnAddresses {
        addresses: address::list().await?,
        local_table: LocalTable::read(interfaces).await?,
    })
}

/// As [`snapshot`], with what a registry's policy needs to know: the answers of WireGuard for the
/// interfaces of peers by key, after a second at most, and the ports of tunnels.
///
/// # Errors
/// As for [`snapshot`]. A failure of WireGuard is an answer.
pub async fn snapshot_for(registry: &Registry) -> Result<HostSnapshot> {
    let mut snapshot = snapshot().await?;
    snapshot.ask_wireguard(interfaces_with_keys(registry)).await;
    snapshot.ask_tunnels(registry).await;
    Ok(snapshot)
}

/// As [`snapshot_for`], with the answers of WireGuard in `keys`, as for [`snapshot_with`].
///
/// # Errors
/// As for [`snapshot`].
pub async fn snapshot_of(registry: &Registry, keys: &Keys) -> Result<HostSnapshot> {
    let mut snapshot = snapshot_with(interfaces_with_keys(registry), keys).await?;
    snapshot.ask_tunnels(registry).await;
    Ok(snapshot)
}

/// As [`snapshot`], with the answers in `keys` of the WireGuard devices of these names. No process is
/// asked: a userspace device without an answer has not answered yet.
///
/// # Errors
/// As for [`snapshot`].
pub async fn snapshot_with(names: BTreeSet<&str>, keys: &Keys) -> Result<HostSnapshot> {
    let mut snapshot = snapshot().await?;
    let mut at_once = BTreeSet::new();
    for name in names {
        let Some(interface) = snapshot.by_name(name) else {
            continue;
        };
        let heard = match (keys.heard(interface), Device::of(interface)) {
            (Some(heard), _) => heard.clone(),
            (None, Some(Device::Userspace(_))) => Heard::late(),
            (None, Some(Device::Kernel(_)) | None) => {
                at_once.insert(name);
                continue;
            }
        };
        let index = interface.index;
        snapshot.wireguard.insert(index, heard);
    }
    snapshot.ask_wireguard(at_once).await;
    Ok(snapshot)
}

/// Returns the interfaces of a registry's peers by key.
pub(crate) fn interfaces_with_keys(registry: &Registry) -> BTreeSet<&str> {
    let peers = registry.peers().iter();
    peers
        .filter(|peer| matches!(peer.identity, Identity::Key(_)))
        .map(|peer| peer.interface.as_str())
        .collect()
}

impl HostSnapshot {
    /// A snapshot without interfaces, where the kernel does not list any.
    pub(crate) fn unknown() -> Self {
        Self {
            interfaces: BTreeMap::new(),
            host: interfaces::Host::default(),
            own: Err("the interfaces are unknown".to_owned()),
            wireguard: BTreeMap::new(),
            tunnels: Tunnels::default(),
        }
    }

    /// A snapshot of these interfaces and answers, for tests.
    #[cfg(test)]
    pub(crate) fn of(found: Vec<(Interface, Answer)>) -> Self {
        let index = |(interface, answer): (Interface, Answer)| {
            let (index, retry) = (interface.index, Retry::default());
            ((index, interface), (index, Heard { answer, retry }))
        };
        let (interfaces, wireguard) = found.into_iter().map(index).unzip();
        Self {
            interfaces,
            host: interfaces::Host::default(),
            own: Ok(OwnAddresses::default()),
            wireguard,
            tunnels: Tunnels::default(),
        }
    }

    /// The same snapshot with these addresses, each with the ifindex of its interface, for tests.
    #[cfg(test)]
    pub(crate) fn with_addresses(mut self, addresses: Vec<(u32, IpNet)>) -> Self {
        let address = |(ifindex, net): (u32, IpNet)| Address {
            ifindex,
            ip: net.addr(),
            prefix_length: net.prefix_len(),
        };
        self.own = Ok(OwnAddresses {
            addresses: addresses.into_iter().map(address).collect(),
            ..OwnAddresses::default()
        });
        self
    }

    /// Asks WireGuard about the existing interfaces of these names at the same time, for a second at
    /// most.
    pub(crate) async fn ask_wireguard(&mut self, names: BTreeSet<&str>) {
        let asked = names.into_iter().filter_map(|name| self.by_name(name));
        let answers = ask_all(asked, LIMIT, |_, _| false).await;
        let now = Instant::now();
        let heard = |(index, answer)| (index, Heard::first(answer, now));
        self.wireguard.extend(answers.into_iter().map(heard));
    }

    /// Asks for the UDP ports of tunnels if a registry judges UDP ports without a service.
    async fn ask_tunnels(&mut self, registry: &Registry) {
        if registry.unregistered().judges(Protocol::Udp) {
            self.tunnels = Tunnels::of(self.iter()).await;
        }
    }

    /// Returns the UDP ports that rule 6 leaves alone, of clients and of tunnels; none if a registry
    /// does not judge UDP ports without a service.
    pub(crate) fn open_udp_ports(&self, registry: &Registry) -> PortSet {
        if !registry.unregistered().judges(Protocol::Udp) {
            return PortSet::default();
        }
        udp_ports::client_ports()
            .chain(self.tunnels.iter())
            .collect()
    }

    /// Returns the listen ports of WireGuard, where a registry's rules ask for them.
    pub(super) const fn listen_ports(&self) -> &ListenPorts {
        &self.tunnels.wireguard
    }

    /// Returns the answer of WireGuard for an interface, if asked.
    pub(crate) fn wireguard(&self, ifindex: u32) -> Option<&Answer> {
        self.heard(ifindex).map(|heard| &heard.answer)
    }

    pub(super) fn heard(&self, ifindex: u32) -> Option<&Heard> {
        self.wireguard.get(&ifindex)
    }

    /// Returns the plan of wire guards under a registry's options for interfaces; `own` are the ids of
    /// enforcer's programs.
    pub(crate) fn plan(
        &self,
        options_of: impl Fn(&Interface) -> InterfaceOptions,
        own: BTreeSet<u32>,
    ) -> Plan {
        let all: Vec<Interface> = self.interfaces.values().cloned().collect();
        let host = interfaces::Host {
            own_programs: own,
            ..self.host.clone()
        };
        interfaces::plan(&all, options_of, &host)
    }

    /// Returns the same interfaces, all up.
    pub(crate) fn as_if_up(&self) -> Self {
        let mut snapshot = self.clone();
        snapshot
            .interfaces
            .values_mut()
            .for_each(|interface| interface.up = true);
        snapshot
    }

    /// Returns every interface, by ifindex.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.values()
    }

    /// Returns the interface of an ifindex.
    pub fn by_index(&self, ifindex: u32) -> Option<&Interface> {
        self.interfaces.get(&ifindex)
    }

    /// Returns the interface of a name as `ip link` finds one, alternative names included.
    pub fn by_name(&self, name: &str) -> Option<&Interface> {
        interfaces::find(self.iter(), name)
    }

    /// Returns the local table.
    ///
    /// # Errors
    /// The reason why the kernel did not show the table or the addresses; the interfaces are known
    /// all the same.
    pub fn local_table(&self) -> Result<&LocalTable, &str> {
        self.own
            .as_ref()
            .map(|own| &own.local_table)
            .map_err(String::as_str)
    }

    /// Returns the addresses of an interface with the lengths of their prefixes; none where
    /// [`Self::local_table`] is unknown.
    pub fn addresses(&self, ifindex: u32) -> impl Iterator<Item = IpNet> {
        let own = self.own.iter().flat_map(|own| &own.addresses);
        let here = own.filter(move |address| address.ifindex == ifindex);
        here.filter_map(|address| IpNet::new(address.ip, address.prefix_length).ok())
    }

    /// Returns the names of the interfaces but lo, alternative names included, each with whether
    /// the interface is WireGuard.
    pub fn by_kind(&self) -> BTreeMap<&str, bool> {
        let others = self.iter().filter(|interface| !interface.loopback);
        let names = others.flat_map(|interface| {
            let is_wireguard = Device::of(interface).is_some();
            interface.names().map(move |name| (name, is_wireguard))
        });
        names.collect()
    }

    /// Returns the interfaces that a registry's pattern matches; see [`pattern_matches`].
    pub fn matching(&self, pattern: &str) -> impl Iterator<Item = &Interface> {
        self.iter()
            .filter(move |interface| interface.names().any(|name| pattern_matches(pattern, name)))
    }
}

/// tcx came with Linux 6.6.
fn kernel_has_tcx() -> bool {
    use aya::util::KernelVersion;
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

#[cfg(test)]
mod tests;
