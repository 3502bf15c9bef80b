//! The interfaces of this namespace, and which of them want a wire guard.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::interfaces::{self, Interface, Plan, Rule};

/// What rtnetlink says, at one moment.
#[derive(Clone, Debug)]
pub struct Survey {
    interfaces: BTreeMap<u32, Interface>,
    host: interfaces::Host,
}

/// Asks rtnetlink about the interfaces of the namespace that this thread is in.
///
/// # Errors
/// The kernel's refusal.
pub async fn survey() -> Result<Survey> {
    let host = interfaces::host(kernel_has_tcx())?;
    let interfaces = interfaces::list().await?;
    Ok(Survey {
        interfaces: interfaces.into_iter().map(|i| (i.index, i)).collect(),
        host,
    })
}

impl Survey {
    /// Which interfaces want a wire guard, under a registry's rules for interfaces; `own` are the
    /// ids of programs of ours.
    pub(super) fn plan(&self, rules: impl Fn(&str) -> Rule, own: BTreeSet<u32>) -> Plan {
        let all: Vec<Interface> = self.interfaces.values().cloned().collect();
        let host = interfaces::Host {
            own_programs: own,
            ..self.host.clone()
        };
        interfaces::plan(&all, rules, &host)
    }

    /// The same interfaces, as if none of them were down.
    pub(super) fn as_if_up(&self) -> Self {
        let mut survey = self.clone();
        survey
            .interfaces
            .values_mut()
            .for_each(|interface| interface.up = true);
        survey
    }

    /// Every interface, by ifindex.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.values()
    }

    /// The interface of an ifindex.
    pub fn by_index(&self, ifindex: u32) -> Option<&Interface> {
        self.interfaces.get(&ifindex)
    }

    /// The interface of a name.
    pub fn by_name(&self, name: &str) -> Option<&Interface> {
        self.iter().find(|interface| interface.name == name)
    }

    /// Whether the interface of a name is WireGuard, `None` if there is none of that name.
    pub fn is_wireguard(&self, name: &str) -> Option<bool> {
        let interface = self.by_name(name)?;
        Some(interface.kind.as_deref() == Some("wireguard"))
    }
}

/// tcx came with Linux 6.6.
fn kernel_has_tcx() -> bool {
    use aya::util::KernelVersion;
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}
