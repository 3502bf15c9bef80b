//! The number of entries of a pinned map, by the bpf system call alone.

use std::ffi::c_long;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::bpf::{Attributes, bpf, info, pinned_object};

const LOOKUP: c_long = 1;
const NEXT_KEY: c_long = 4;

/// BPF_MAP_TYPE_ARRAY.
const ARRAY: u32 = 2;

/// The number of entries of a pinned map: of a hash the keys, of an array the values that do not
/// begin with a word of zeros.
pub fn entries(path: &Path) -> io::Result<usize> {
    let map = pinned_object(path)?;
    // `struct bpf_map_info`: type, id, sizes of key and value, and the most entries.
    let [kind, _, key_size, value_size, most] = info::<5>(&map)?;
    let descriptor = u32::try_from(map.as_raw_fd()).map_err(io::Error::other)?;
    let bytes = |size: u32| usize::try_from(size).map_err(io::Error::other);
    if kind != ARRAY {
        return keys(descriptor, bytes(key_size)?);
    }
    let mut filled = 0;
    for index in 0..most {
        let mut value = vec![0u8; bytes(value_size)?];
        let mut element = Element {
            map: descriptor,
            key: (&raw const index) as u64,
            value: value.as_mut_ptr() as u64,
            ..Element::default()
        };
        bpf(LOOKUP, &mut element)?;
        filled += usize::from(value.iter().take(4).any(|&byte| byte != 0));
    }
    Ok(filled)
}

fn keys(map: u32, size: usize) -> io::Result<usize> {
    let (mut key, mut next) = (vec![0u8; size], vec![0u8; size]);
    let mut count = 0;
    loop {
        let mut element = Element {
            map,
            // A null pointer asks for the first key.
            key: if count == 0 { 0 } else { key.as_ptr() as u64 },
            value: next.as_mut_ptr() as u64,
            ..Element::default()
        };
        match bpf(NEXT_KEY, &mut element) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(count),
            Err(error) => return Err(error),
        }
        count += 1;
        std::mem::swap(&mut key, &mut next);
    }
}

/// The part of `union bpf_attr` that BPF_MAP_*_ELEM read.
#[derive(Default)]
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Attributes for Element {}
