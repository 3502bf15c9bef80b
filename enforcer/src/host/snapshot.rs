//! The interfaces of this namespace, with the answers of WireGuard.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::Keys;
use crate::{
    interfaces::{self, Interface, InterfaceOptions, Plan},
    registry::{Identity, Registry},
    wireguard::{self, Answer},
};

/// The interfaces by rtnetlink at one moment, and the answers of the WireGuard devices that were
/// asked.
#[derive(Clone, Debug)]
pub struct HostSnapshot {
    interfaces: BTreeMap<u32, Interface>,
    host: interfaces::Host,
    wireguard: BTreeMap<u32, Answer>,
}

/// Returns the interfaces of this thread's network namespace.
///
/// # Errors
/// The kernel's refusal.
pub async fn snapshot() -> Result<HostSnapshot> {
    let host = interfaces::host(kernel_has_tcx())?;
    let interfaces = interfaces::list().await?;
    Ok(HostSnapshot {
        interfaces: interfaces.into_iter().map(|i| (i.index, i)).collect(),
        host,
        wireguard: BTreeMap::new(),
    })
}

/// As [`snapshot`], with the answers of WireGuard for the interfaces of a registry's peers by key.
///
/// # Errors
/// As for [`snapshot`]. A failure of WireGuard is an answer.
pub async fn snapshot_for(registry: &Registry) -> Result<HostSnapshot> {
    let mut snapshot = snapshot().await?;
    snapshot.ask_wireguard(interfaces_with_keys(registry)).await;
    Ok(snapshot)
}

/// As [`snapshot`], with the answers of the WireGuard devices of these names. A userspace device
/// with an answer `before` is not asked again.
///
/// # Errors
/// As for [`snapshot`].
pub(crate) async fn snapshot_at_once(names: BTreeSet<&str>, before: &Keys) -> Result<HostSnapshot> {
    let mut snapshot = snapshot().await?;
    for name in names {
        let Some(interface) = snapshot.by_name(name) else {
            continue;
        };
        let answer = match wireguard::answers_at_once(interface) {
            true => wireguard::ask(interface).await,
            false => before.answer(interface).await,
        };
        let index = interface.index;
        snapshot.wireguard.insert(index, answer);
    }
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
    /// A snapshot of these interfaces and answers, for tests.
    #[cfg(test)]
    pub(crate) fn of(found: Vec<(Interface, Answer)>) -> Self {
        let index = |(interface, answer): (Interface, Answer)| {
            let index = interface.index;
            ((index, interface), (index, answer))
        };
        let (interfaces, wireguard) = found.into_iter().map(index).unzip();
        Self {
            interfaces,
            host: interfaces::Host::default(),
            wireguard,
        }
    }

    /// Asks WireGuard about the existing interfaces of these names.
    pub(crate) async fn ask_wireguard(&mut self, names: BTreeSet<&str>) {
        for name in names {
            if let Some(interface) = self.by_name(name) {
                let (index, answer) = (interface.index, wireguard::ask(interface).await);
                self.wireguard.insert(index, answer);
            }
        }
    }

    /// Returns the answer of WireGuard for an interface, if asked.
    pub(crate) fn wireguard(&self, ifindex: u32) -> Option<&Answer> {
        self.wireguard.get(&ifindex)
    }

    /// Returns the plan of wire guards under a registry's options for interfaces; `own` are the ids of
    /// enforcer's programs.
    pub(crate) fn plan(
        &self,
        options_of: impl Fn(&str) -> InterfaceOptions,
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

    /// Returns the interface of a name.
    pub fn by_name(&self, name: &str) -> Option<&Interface> {
        self.iter().find(|interface| interface.name == name)
    }

    /// Returns whether the interface of a name is WireGuard; `None` without such an interface.
    pub fn is_wireguard(&self, name: &str) -> Option<bool> {
        self.by_name(name).map(wireguard::is_device)
    }
}

/// tcx came with Linux 6.6.
fn kernel_has_tcx() -> bool {
    use aya::util::KernelVersion;
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}
