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
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    bpf::{self, Command},
    pins::{NAMESPACE, PinDir},
};

/// linux/bpf.h: enum bpf_map_type.
const DEVMAP_HASH: u32 = 25;
/// include/net/net_namespace.h: LOOPBACK_IFINDEX, of `lo` in each namespace.
const LOOPBACK: u32 = 1;
/// linux/bpf.h: BPF_OBJ_NAME_LEN, with the closing zero.
const NAME_BYTES: usize = 16;
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

/// Looks at the map among the pins; `None` without the map (pins of an earlier version), or if the
/// kernel does not tell.
pub(crate) fn look(pins: &PinDir) -> Option<Namespace> {
    let map = bpf::open_pin(&pins.map(NAMESPACE)).ok()?;
    let (kind, name) = kind_and_name(map.as_fd()).ok()?;
    let cookie = cookie_of(&name).filter(|_| kind == DEVMAP_HASH)?;
    let is_gone = match lookup(map.as_fd()) {
        Ok(()) => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(_) => return None,
    };
    Some(Namespace { cookie, is_gone })
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

fn cookie_of(name: &[u8; NAME_BYTES]) -> Option<u64> {
    let text = name.split(|byte| *byte == 0).next()?;
    let digits = std::str::from_utf8(text).ok()?.strip_prefix(PREFIX)?;
    u64::from_str_radix(digits, 16).ok()
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
    element(Command::MapUpdate, map.as_fd(), &mut value)?;
    Ok(map)
}

fn lookup(map: BorrowedFd<'_>) -> io::Result<()> {
    element(Command::MapLookup, map, &mut 0)
}

/// Reads or writes the map's only entry.
fn element(command: Command, map: BorrowedFd<'_>, value: &mut u32) -> io::Result<()> {
    /// linux/bpf.h: union bpf_attr, of BPF_MAP_*_ELEM.
    #[repr(C)]
    struct Attributes {
        map: u32,
        hole: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let key = LOOPBACK;
    let mut attributes = Attributes {
        map: map.as_raw_fd().cast_unsigned(),
        hole: 0,
        key: (&raw const key) as u64,
        value: (&raw mut *value) as u64,
        flags: 0,
    };
    bpf::call(command, &mut attributes).map(drop)
}

/// Returns the type and the name of a map.
fn kind_and_name(map: BorrowedFd<'_>) -> io::Result<(u32, [u8; NAME_BYTES])> {
    /// linux/bpf.h: struct bpf_map_info, up to the name.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        shape: [u32; 4],
        name: [u8; NAME_BYTES],
    }
    let mut info = Info::default();
    bpf::object_info(map, &mut info)?;
    Ok((info.kind, info.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_bears_the_cookie() {
        for cookie in [1, 0x5003, (1 << 48) - 1] {
            let name = name_of(cookie).unwrap();
            assert_eq!(cookie_of(&name), Some(cookie));
            assert_eq!(name[NAME_BYTES - 1], 0);
        }
        assert_eq!(name_of(1 << 48), None);
        for foreign in [
            *b"STATE\0\0\0\0\0\0\0\0\0\0\0",
            [0; NAME_BYTES],
            [0xff; NAME_BYTES],
        ] {
            assert_eq!(cookie_of(&foreign), None);
        }
    }
}
