//! The kernel's own WireGuard.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};

use crate::lab::topology::{HOST_WG, Lab, PEER, STRANGER};
use crate::lab::wireguard::Member;
use crate::lab::{Ask, Feature, Guards, Outcome, Patience, Transport, WireGuard};
use crate::scenario::Scenario;

use super::hub::{Hub, Who, follow, hole};

pub(super) fn scenarios() -> Vec<Scenario> {
    let needs = [Feature::WireGuard];
    let mut scenarios = vec![
        Scenario::new(
            "keys::kernel::each_reload_takes_what_is_allowed_now",
            |rig| follow(rig, &Kernel::hub(rig.lab)?),
        )
        .needs_all(needs),
    ];
    for guards in [Guards::Wire, Guards::Socket, Guards::Both] {
        let name = format!("a21_a_hole_in_a_granted_prefix::kernel::{}", guards.name());
        scenarios.push(
            Scenario::new(name, move |rig| hole(rig, &Kernel::hub(rig.lab)?, guards))
                .needs_all(needs),
        );
    }
    scenarios
}

/// The laptop first, then the stranger; both may try either address.
pub(in crate::scenarios) struct Kernel<'lab>(WireGuard<'lab>);

impl<'lab> Kernel<'lab> {
    pub(in crate::scenarios) fn hub(lab: &'lab Lab) -> Result<Self> {
        let member = |name, home: Ipv4Addr, other: Ipv4Addr| Member {
            name,
            addresses: vec![home.into(), other.into()],
            allowed_ips: vec![format!("{home}/32")],
        };
        let members = [
            member("laptop", PEER, STRANGER),
            member("stranger", STRANGER, PEER),
        ];
        WireGuard::hub(lab, members).map(Self)
    }

    fn give(&self, who: Who, prefixes: &[&str]) -> Result<()> {
        self.0
            .set(&["peer", self.key(who), "allowed-ips", &prefixes.join(",")])
            .with_context(|| format!("failed to give {who:?} its AllowedIPs"))
    }

    fn key(&self, who: Who) -> &str {
        self.0.peers[who as usize].public_key()
    }
}

impl Hub for Kernel<'_> {
    fn laptop(&self) -> &str {
        self.key(Who::Laptop)
    }

    fn ask(&self, who: Who, from: Ipv4Addr, patience: Patience) -> Result<Outcome> {
        Ask::new(Transport::Tcp, &format!("{HOST_WG}:9100"))
            .from(&format!("{from}:0"))
            .ask(&self.0.peers[who as usize].namespace, patience)
    }

    fn allow(&self, laptop: &[&str], stranger: &[&str]) -> Result<()> {
        // WireGuard moves a prefix to its latest owner; here no two peers want the same.
        self.give(Who::Laptop, laptop)?;
        self.give(Who::Stranger, stranger)
    }

    fn allow_stranger(&self, prefixes: &[&str]) -> Result<()> {
        self.give(Who::Stranger, prefixes)
    }

    fn come_back(&self, prefixes: &[&str]) -> Result<()> {
        self.0.set(&[
            "peer",
            self.key(Who::Laptop),
            "endpoint",
            &self.0.endpoint(Who::Laptop as usize),
        ])?;
        self.give(Who::Laptop, prefixes)?;
        // The laptop's device believes in the forgotten session.
        self.0.greet()
    }

    fn forget_laptop(&self) -> Result<()> {
        self.0.set(&["peer", self.key(Who::Laptop), "remove"])
    }
}
