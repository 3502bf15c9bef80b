//! The map of the ports that enforcer added to `ip_local_reserved_ports`.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use enforcer_ebpf::layout::PortBits;

use super::{
    array::MmapArray,
    maps::{mapped, open},
    object::misshapen,
    pins::PinDir,
};
use crate::failpoint::{self, Call};

/// The map of the ports that were added to `ip_local_reserved_ports`.
pub(crate) struct Reserved(MmapArray<PortBits>);

impl Reserved {
    /// The ports of an open map.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn new(map: &MapData) -> Result<Self> {
        Ok(Self(mapped(map, "RESERVED", 1)?))
    }

    /// That of a directory of any layout; `None` if there is none of today's shape.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn of(pins: &PinDir) -> Result<Option<Self>> {
        let pin = pins.map("RESERVED");
        if !pin.try_exists()? {
            return Ok(None);
        }
        let map = open(&pin).context("failed to open the map RESERVED")?;
        match misshapen("RESERVED", &map)? {
            None => Ok(Some(Self::new(&map)?)),
            Some(_) => Ok(None),
        }
    }

    /// The ports.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        let bits = self.0.get(0);
        (0..=u16::MAX)
            .filter(|&port| bits[usize::from(port / 64)] >> (port % 64) & 1 == 1)
            .collect()
    }

    /// Other ports from now on.
    pub(crate) fn remember(&self, ports: &BTreeSet<u16>) {
        let mut bits = [0u64; 1024];
        for port in ports {
            bits[usize::from(port / 64)] |= 1 << (port % 64);
        }
        self.0.set(0, bits);
        failpoint::stored(Call::Remember);
    }
}
