//! AllowedIPs: the prefixes of each key of a device.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use ipnet::IpNet;

use crate::registry::PublicKey;

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

    /// Returns every key.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter()
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
