//! An interface that can be plugged in and out.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::lab::enforcer::SETTLE;
use crate::lab::frames::{self, Ends, Mac};
use crate::lab::topology::{GHOST, HOST_LAN};
use crate::lab::wire::Wire;
use crate::lab::{Lab, Patience};
use crate::scenarios::lifecycle::PORT;
use crate::scenarios::raw_packet::{Probe, send_probe};
use crate::scenarios::runner::answered;

use super::timing::within;

/// The MAC address of the near end.
const NEAR_MAC: Mac = [2, 0, 0, 0, 0x99, 1];
/// The MAC address of the far end.
const FAR_MAC: Mac = [2, 0, 0, 0, 0x99, 2];

/// The name of the near end.
pub(super) const NEAR: &str = "plug0";
/// The name of the far end.
pub(super) const FAR: &str = "far0";

/// A veth pair between the host and its neighbour; the far end is up, the near end is not.
#[derive(Debug)]
pub(super) struct Plug<'lab> {
    lab: &'lab Lab,
    /// The near end's index.
    pub(super) index: u32,
}

impl<'lab> Plug<'lab> {
    pub(super) fn new(lab: &'lab Lab) -> Result<Self> {
        let (near, far) = (mac(NEAR_MAC), mac(FAR_MAC));
        lab.host.ip(&format!(
            "link add {NEAR} address {near} type veth peer name {FAR} address {far} netns {}",
            lab.lan.path()
        ))?;
        let plug = Self {
            lab,
            index: lab.host.ifindex(NEAR)?,
        };
        lab.lan.ip(&format!("link set {FAR} up"))?;
        Ok(plug)
    }

    /// Brings the near end up; returns the moment before.
    pub(super) fn up(&self) -> Result<Instant> {
        self.lab.host.bring_up(NEAR)
    }

    /// A packet socket at the far end.
    pub(super) fn far(&self) -> Result<Wire> {
        Wire::open(&self.lab.lan, FAR)
    }

    /// Whether the near end has a wire guard: the link is pinned last of all.
    pub(super) fn is_guarded(&self) -> Result<bool> {
        is_guarded(self.lab, self.index)
    }

    /// Whether the near end has the guard of an interface that is not up yet.
    pub(super) fn has_early_guard(&self) -> bool {
        let pin = format!("link_early_{}", self.index);
        self.lab.pin_dir().join(pin).exists()
    }

    /// A frame to the near end with a packet to one of the host's own addresses, as any sender at
    /// the far end may send; answers leave by eth0, to the ghost.
    pub(super) fn frame(probe: Probe) -> Vec<u8> {
        frames::ethernet(
            NEAR_MAC,
            FAR_MAC,
            &[],
            probe.ends.ethertype(),
            &probe.packet(),
        )
    }

    /// The addresses of such a packet.
    pub(super) const ENDS: Ends = Ends::V4(GHOST, HOST_LAN);
}

impl Drop for Plug<'_> {
    fn drop(&mut self) {
        // A scenario may have moved or removed the interface.
        let _ = self.lab.lan.ip(&format!("link del {FAR}"));
    }
}

/// The control of an attack: without the enforcer a SYN through a fresh interface is answered.
pub(super) fn expect_answer_unguarded(lab: &Lab) -> Result<()> {
    let plug = Plug::new(lab)?;
    plug.up()?;
    let answers = Wire::open(&lab.lan, "eth0")?;
    answered(send_probe(&plug.far()?, &answers, Patience::Long, &|| {
        let probe = Probe::between(Plug::ENDS, PORT);
        (probe, vec![Plug::frame(probe)])
    })?)
    .context("through a fresh interface, unguarded")
}

/// The pins of wire guards, each with the interface's index.
pub(super) fn wire_pins(lab: &Lab) -> Result<Vec<(u32, PathBuf)>> {
    let pins = lab.pin_dir();
    let entries = std::fs::read_dir(&pins).with_context(|| format!("no pins in {pins:?}"))?;
    let index = |path: &PathBuf| -> Option<u32> {
        let name = path.file_name()?.to_str()?;
        let (index, _) = name.strip_prefix("link_wire_")?.split_once('_')?;
        index.parse().ok()
    };
    Ok(entries
        .flatten()
        .map(|entry| entry.path())
        .filter_map(|path| Some((index(&path)?, path)))
        .collect())
}

/// Whether the interface of an index has a wire guard.
pub(super) fn is_guarded(lab: &Lab, index: u32) -> Result<bool> {
    Ok(wire_pins(lab)?.iter().any(|(pinned, _)| *pinned == index))
}

/// Makes `run` look at the host, and waits for the end of that look: a later interface gets a guard
/// by a later look, which takes guards off last of all. The following look shows that the first is
/// over.
pub(in crate::scenarios) fn look_again(lab: &Lab) -> Result<()> {
    lab.host.ip("link add later0 type veth peer name later1
         link set later0 up
         link set later1 up")?;
    let index = lab.host.ifindex("later0")?;
    within(SETTLE, "the guard of a later interface", || {
        is_guarded(lab, index)
    })?;
    lab.host.ip("link del later0")?;
    within(SETTLE, "the end of its guard", || {
        Ok(!is_guarded(lab, index)?)
    })
    .map(drop)
}

fn mac(address: Mac) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
