//! One map, opened by its pin.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::MapData;

use super::{
    bpf,
    introspect::map_info,
    object::{difference, shape_mismatch},
    pins::PinDir,
};
use crate::{
    failpoint::{Call, through},
    printable::decode_path,
};

/// The result of a look for a pinned map.
pub(super) enum Found<M> {
    /// A map of the shape that this build's object has.
    Map(M),
    /// No such map, or a map of another shape: the reason in words.
    Foreign(String),
}

/// Looks for a map among the pins, and opens the map.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn find(pins: &PinDir, name: &str) -> Result<Found<MapData>> {
    if let Some(why) = absence(pins, name)? {
        return Ok(Found::Foreign(why));
    }
    let map = from_pin(&pins.map(name))
        .with_context(|| format!("failed to open the map {name} (CAP_BPF is needed)"))?;
    Ok(match shape_mismatch(name, &map)? {
        None => Found::Map(map),
        Some(why) => Found::Foreign(why),
    })
}

/// As [`find`], for the descriptor alone: with half the questions to the kernel.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn find_descriptor(pins: &PinDir, name: &str) -> Result<Found<OwnedFd>> {
    if let Some(why) = absence(pins, name)? {
        return Ok(Found::Foreign(why));
    }
    let what = || format!("failed to open the map {name} (CAP_BPF is needed)");
    let map = bpf::open_pin(&pins.map(name)).with_context(what)?;
    let info = map_info(map.as_fd()).with_context(what)?;
    Ok(match difference(name, info.shape())? {
        None => Found::Map(map),
        Some(why) => Found::Foreign(why),
    })
}

/// Returns words for a missing pin, `None` for an existing one.
fn absence(pins: &PinDir, name: &str) -> Result<Option<String>> {
    let pin = pins.map(name);
    let exists = pin.try_exists();
    let exists = exists.with_context(|| format!("failed to look for {}", decode_path(&pin)))?;
    Ok((!exists).then(|| format!("there is no map {name}")))
}

/// Opens a map that must have the shape of this build's object.
///
/// # Errors
/// The map is missing or has another shape, or the kernel's refusal.
pub(super) fn open(pins: &PinDir, name: &str) -> Result<MapData> {
    match find(pins, name)? {
        Found::Map(map) => Ok(map),
        Found::Foreign(why) => bail!(why),
    }
}

/// Opens the descriptor of a map that must have the shape of this build's object.
///
/// # Errors
/// As for [`open`].
pub(super) fn descriptor(pins: &PinDir, name: &str) -> Result<OwnedFd> {
    match find_descriptor(pins, name)? {
        Found::Map(map) => Ok(map),
        Found::Foreign(why) => bail!(why),
    }
}

/// Opens a map of a directory of any layout; `None` for a missing map or another shape.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn open_if_known(pins: &PinDir, name: &str) -> Result<Option<MapData>> {
    Ok(match find(pins, name)? {
        Found::Map(map) => Some(map),
        Found::Foreign(_) => None,
    })
}

fn from_pin(pin: &Path) -> Result<MapData> {
    through(Call::OpenMap, || Ok(MapData::from_pin(pin)?))
}
