//! What WireGuard devices say of their peers: which keys they have, and the AllowedIPs of each.
//!
//! ```text
//! netlink    the kernel's devices: generic netlink      message   reads its answers
//! uapi       a userspace device: its socket beside a tun interface
//! ```
//!
//! [`ask`] looks once, in the network namespace of the calling thread, and keeps nothing: whoever
//! watches WireGuard calls it again and compares.
//!
//! The parser of the kernel's answers is the project's own, on the attributes of `crate::netlink`.
//! The crate netlink-packet-wireguard 0.5 panics on some bytes where a refusal is due, and
//! genetlink 0.3 drops a message that cannot be parsed. A prefix missing from a list of AllowedIPs
//! may be a hole in the prefix of a key that is granted something: here, a list is whole, or an
//! error.

mod message;
mod netlink;
mod uapi;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use ipnet::IpNet;

use crate::{interfaces::Interface, registry::PublicKey};

/// Which addresses a device lets each of its keys use: cryptokey routing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedIps {
    keys: BTreeSet<PublicKey>,
    owners: BTreeMap<IpNet, PublicKey>,
}

impl AllowedIps {
    /// Adds a key, which need not have any AllowedIPs.
    pub fn insert(&mut self, key: PublicKey) {
        self.keys.insert(key);
    }

    /// Adds a prefix of a key.
    ///
    /// # Errors
    /// It is another key's. WireGuard moves a prefix from one to the other, so that there is only
    /// ever one: who says two does not say which of them may use the addresses.
    pub fn allow(&mut self, key: PublicKey, prefix: IpNet) -> Result<()> {
        self.keys.insert(key);
        let prefix = prefix.trunc();
        let owner = *self.owners.entry(prefix).or_insert(key);
        ensure!(
            owner == key,
            "{prefix} is said to be an AllowedIP of two keys, {owner} and {key}"
        );
        Ok(())
    }

    /// Whether the device has the key.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.keys.contains(key)
    }

    /// Every prefix and its key.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, PublicKey)> {
        self.owners.iter().map(|(prefix, key)| (*prefix, *key))
    }

    /// The number of prefixes of all keys.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Whether no key has any.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}

/// What became of the question for the AllowedIPs of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is a WireGuard device.
    Device(AllowedIps),
    /// It is not, whatever its name: it has no keys.
    NotWireGuard,
    /// It is one, and why it cannot be told what it allows.
    Unknown(String),
}

/// Asks the device behind an interface of this network namespace. It needs CAP_NET_ADMIN.
pub async fn ask(interface: &Interface) -> Answer {
    let answer = if interface.is_kind("wireguard") {
        netlink::ask(interface.index).await
    } else if let Some(socket) = uapi::socket_of(interface) {
        uapi::ask(&socket, uapi::LIMIT).await
    } else {
        return Answer::NotWireGuard;
    };
    match answer {
        Ok(allowed) => Answer::Device(allowed),
        Err(error) => Answer::Unknown(format!("{error:#}")),
    }
}

/// Whether [`ask`] need not wait for a process: the kernel answers at once.
pub fn answers_at_once(interface: &Interface) -> bool {
    interface.is_kind("wireguard") || uapi::socket_of(interface).is_none()
}

/// Whether [`ask`] would find a WireGuard device behind an interface.
pub fn is_device(interface: &Interface) -> bool {
    interface.is_kind("wireguard") || uapi::socket_of(interface).is_some()
}
