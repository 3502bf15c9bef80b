//! The life of a network namespace, told by a map among the pins.
//!
//! The map `NAMESPACE` is a hash of devices (BPF_MAP_TYPE_DEVMAP_HASH, Linux 5.4) with one entry:
//! the namespace's `lo`. The kernel removes the entry when the device is unregistered
//! (kernel/bpf/devmap.c: dev_map_notification), and `lo` is unregistered at the end of its namespace
//! alone (net/core/dev.c: NETIF_F_NETNS_LOCAL; drivers/net/loopback.c). The entry holds the device
//! until then, and no device holds its namespace. Nothing is ever redirected through the map, so
//! that `lo` needs no ndo_xdp_xmit.
//!
//! The map's name bears the namespace's cookie. CAP_BPF and CAP_NET_ADMIN suffice for all calls.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    bpf::{self, Command},
    introspect::{DEVMAP_HASH, NAME_BYTES, element, map_info},
    pins::{NAMESPACE, PinDir},
};

/// include/net/net_namespace.h: LOOPBACK_IFINDEX, of `lo` in each namespace.
const LOOPBACK: u32 = 1;
/// The beginning of the map's name, before the cookie in hexadecimal digits.
const PREFIX: &str = "ns_";

/// A network namespace, as the map among the pins tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// The cookie.
    pub(crate) cookie: u64,
    /// Whether the namespace has ended.
    pub(crate) is_gone: bool,
}

/// Makes the map of this thread's network namespace, which has this cookie, and pins the map.
///
/// # Errors
/// The kernel's refusal, or a cookie of more than 48 bits (cookies count from 1).
pub(super) fn pin(pins: &PinDir, cookie: u64) -> Result<()> {
    let map = create(cookie).with_context(|| format!("failed to create the map {NAMESPACE}"))?;
    bpf::pin(map.as_fd(), &pins.map(NAMESPACE))
        .with_context(|| format!("failed to pin the map {NAMESPACE}"))
}

/// Looks at the map among the pins; `None` without the map (pins of an earlier version), or without
/// the privilege to open a map.
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn look(pins: &PinDir) -> Result<Option<Namespace>> {
    let what = || format!("failed to examine the map {NAMESPACE}");
    let map = match bpf::open_pin(&pins.map(NAMESPACE)) {
        Err(error) if is_absent(&error) => return Ok(None),
        map => map.with_context(what)?,
    };
    let info = map_info(map.as_fd()).with_context(what)?;
    let cookie = cookie_of(info.name()).filter(|_| info.kind == DEVMAP_HASH);
    let Some(cookie) = cookie else {
        return Ok(None);
    };
    let is_gone = match element(Command::MapLookup, map.as_fd(), LOOPBACK, &mut 0u32) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        found => found.map(|()| false).with_context(what)?,
    };
    Ok(Some(Namespace { cookie, is_gone }))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    )
}

/// Returns the name of a namespace's map; `None` for a cookie that does not fit.
fn name_of(cookie: u64) -> Option<[u8; NAME_BYTES]> {
    let name = format!("{PREFIX}{cookie:x}");
    let mut bytes = [0; NAME_BYTES];
    bytes[..NAME_BYTES - 1]
        .get_mut(..name.len())?
        .copy_from_slice(name.as_bytes());
    Some(bytes)
}

fn cookie_of(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix(PREFIX)?, 16).ok()
}

fn create(cookie: u64) -> Result<OwnedFd> {
    /// linux/bpf.h: union bpf_attr, of BPF_MAP_CREATE.
    #[repr(C)]
    struct Attributes {
        kind: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
        inner_map: u32,
        numa_node: u32,
        name: [u8; NAME_BYTES],
    }
    let name = name_of(cookie);
    ensure!(name.is_some(), "the cookie {cookie} has too many digits");
    let mut attributes = Attributes {
        kind: DEVMAP_HASH,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        flags: 0,
        inner_map: 0,
        numa_node: 0,
        name: name.unwrap_or_default(),
    };
    let map = bpf::new_descriptor(Command::MapCreate, &mut attributes)?;
    // The kernel looks the index up in the namespace of this thread.
    let mut value = LOOPBACK;
    element(Command::MapUpdate, map.as_fd(), LOOPBACK, &mut value)?;
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_bears_the_cookie() {
        for cookie in [1, 0x5003, (1 << 48) - 1] {
            let name = name_of(cookie).unwrap();
            let text = std::str::from_utf8(&name).unwrap();
            assert!(text.ends_with('\0'), "{text:?}");
            assert_eq!(cookie_of(text.trim_end_matches('\0')), Some(cookie));
        }
        assert_eq!(name_of(1 << 48), None);
        for foreign in ["STATE", "", "ns_", "ns_x"] {
            assert_eq!(cookie_of(foreign), None);
        }
    }
}
