//! The peers of WireGuard devices: their public keys and AllowedIPs.
//!
//! ```text
//! netlink    the kernel's devices: generic netlink      message   parsing of the replies
//! uapi       userspace devices: a socket beside a tun interface
//! ```
//!
//! [`ask`] queries a device once, in the network namespace of the calling thread, and keeps no
//! state: callers that watch WireGuard ask again and compare.
//!
//! The parser of the kernel's replies is part of this crate, on top of netlink-packet-core, a
//! dependency of rtnetlink. The crates genetlink 0.3 and netlink-packet-wireguard 0.5 would add 13
//! packages to the 40 of rtnetlink; netlink-packet-wireguard panics on some malformed bytes, and
//! genetlink drops messages that fail to parse. An AllowedIP missing from a list may be a hole in
//! the prefix of a granted key: here, a list is complete or an error.

mod message;
mod netlink;
mod uapi;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use ipnet::IpNet;

use crate::{interfaces::Interface, registry::PublicKey};

/// The addresses that a device lets each key use: cryptokey routing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedIps {
    keys: BTreeSet<PublicKey>,
    owners: BTreeMap<IpNet, PublicKey>,
}

impl AllowedIps {
    /// Adds a key, with or without AllowedIPs.
    pub fn insert(&mut self, key: PublicKey) {
        self.keys.insert(key);
    }

    /// Adds a prefix of a key.
    ///
    /// # Errors
    /// The prefix belongs to another key. WireGuard moves a prefix from key to key, so a prefix
    /// never has two keys; a list with two is ambiguous.
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

    /// Returns whether the device has the key.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.keys.contains(key)
    }

    /// Returns every prefix with the owning key.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, PublicKey)> {
        self.owners.iter().map(|(prefix, key)| (*prefix, *key))
    }

    /// Returns the number of prefixes of all keys.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Returns whether no key has any prefix.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}

/// The answer to a query for the AllowedIPs of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The interface is a WireGuard device with these AllowedIPs.
    Device(AllowedIps),
    /// The interface is no WireGuard device, whatever the name.
    NotWireGuard,
    /// The interface is a WireGuard device, but the query failed for this reason.
    Unknown(String),
}

/// Queries the device behind an interface of this network namespace. Needs CAP_NET_ADMIN.
pub async fn ask(interface: &Interface) -> Answer {
    let answer = if interface.is_kind("wireguard") {
        netlink::ask(interface.index).await
    } else if let Some(socket) = uapi::socket_of(interface) {
        uapi::ask(&socket, uapi::TIMEOUT).await
    } else {
        return Answer::NotWireGuard;
    };
    match answer {
        Ok(allowed) => Answer::Device(allowed),
        Err(error) => Answer::Unknown(format!("{error:#}")),
    }
}

/// Returns whether [`ask`] gets an answer at once, from the kernel and not from a process.
pub fn answers_at_once(interface: &Interface) -> bool {
    interface.is_kind("wireguard") || uapi::socket_of(interface).is_none()
}

/// Returns whether [`ask`] would find a WireGuard device behind an interface.
pub fn is_device(interface: &Interface) -> bool {
    interface.is_kind("wireguard") || uapi::socket_of(interface).is_some()
}
