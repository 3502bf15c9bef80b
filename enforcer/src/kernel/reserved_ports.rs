//! The map of the ports that enforcer added to `ip_local_reserved_ports`.

use std::{collections::BTreeSet, os::fd::AsFd};

use anyhow::Result;
use enforcer_ebpf::layout::PortBits;

use super::{array::MmapArray, pinned_map, pins::PinDir};
use crate::failpoint::{self, Call};

/// The ports that enforcer added to `ip_local_reserved_ports`, in the map `RESERVED`.
pub(crate) struct Reserved(MmapArray<PortBits>);

impl Reserved {
    /// Maps an open map into memory.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn new(map: impl AsFd) -> Result<Self> {
        Ok(Self(MmapArray::new(map, "RESERVED", 1)?))
    }

    /// Opens the map of a directory of any layout; `None` without a map of today's shape.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn of(pins: &PinDir) -> Result<Option<Self>> {
        let map = pinned_map::open_if_known(pins, "RESERVED")?;
        map.map(|map| Self::new(map.fd())).transpose()
    }

    /// Returns the ports.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        ports(&self.0.get(0))
    }

    /// Replaces the ports.
    pub(crate) fn remember(&self, ports: &BTreeSet<u16>) {
        self.0.set(0, bits(ports));
        failpoint::stored(Call::Remember);
    }
}

fn ports(bits: &PortBits) -> BTreeSet<u16> {
    (0..=u16::MAX)
        .filter(|&port| bits[usize::from(port / 64)] >> (port % 64) & 1 == 1)
        .collect()
}

fn bits(ports: &BTreeSet<u16>) -> PortBits {
    let mut bits = [0; 1024];
    for port in ports {
        bits[usize::from(port / 64)] |= 1 << (port % 64);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_a_bit_of_its_own() {
        for (set, word, expected) in [
            (&[0][..], 0, 1),
            (&[63], 0, 1 << 63),
            (&[64], 1, 1),
            (&[8080, 8081], 126, 0b11 << 16),
            (&[u16::MAX], 1023, 1 << 63),
        ] {
            let set = BTreeSet::from_iter(set.iter().copied());
            let bits = bits(&set);
            assert_eq!(bits[word], expected, "{set:?}");
            assert_eq!(bits.iter().filter(|word| **word != 0).count(), 1);
            assert_eq!(ports(&bits), set);
        }
        assert!(ports(&bits(&BTreeSet::new())).is_empty());
        let all: BTreeSet<u16> = (0..=u16::MAX).collect();
        assert_eq!(ports(&bits(&all)), all);
    }
}
