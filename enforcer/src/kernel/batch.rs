//! Many entries of a map with one call of bpf(2): hashes since Linux 5.6, tries since 5.12, arrays
//! per CPU since 5.13.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use aya::{maps::MapData, util::nr_cpus};

use super::{
    bpf::{self, Command},
    object,
    plain::Plain,
};

/// linux/bpf.h: union bpf_attr, member `batch`.
#[repr(C)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// linux/bpf.h: union bpf_attr, of BPF_MAP_*_ELEM.
#[repr(C)]
struct ElementAttributes {
    map: u32,
    hole: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A hash map or a trie whose entries are read, inserted and removed many at a time.
pub(crate) struct BatchHashMap<K, V> {
    map: OwnedFd,
    _entries: PhantomData<(K, V)>,
}

impl<K: Plain, V: Plain> BatchHashMap<K, V> {
    /// Entries of the first batch of a read.
    const FIRST_BATCH: usize = 4096;
    /// Entries of the largest batch of a read.
    const LARGEST_BATCH: usize = 1 << 20;

    /// Wraps a map whose keys and values are of these types.
    ///
    /// # Errors
    /// The types are of other sizes, or the kernel's refusal.
    pub(crate) fn new(map: OwnedFd, name: &str) -> Result<Self> {
        const {
            assert!(
                size_of::<K>() >= size_of::<u32>(),
                "room for a bucket's number"
            );
        };
        Ok(Self {
            map: checked(map, name, size_of::<K>(), size_of::<V>())?,
            _entries: PhantomData,
        })
    }

    /// Returns every entry. An entry that is added or removed at this time may be missing or not.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn entries(&self) -> io::Result<Vec<(K, V)>> {
        let mut all = Vec::new();
        let mut room = Self::FIRST_BATCH;
        // The kernel's place to go on from: the number of a bucket of a hash (four bytes), or the
        // last key of a trie (generic_map_lookup_batch in kernel/bpf/syscall.c).
        let mut place: Option<Vec<K>> = None;
        loop {
            let mut keys = zeroed::<K>(room);
            let mut values = zeroed::<V>(room);
            let mut next = zeroed::<K>(1);
            let mut attributes = Attributes {
                in_batch: place.as_ref().map_or(0, |from| from.as_ptr() as u64),
                out_batch: next.as_mut_ptr() as u64,
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: count(room)?,
                ..self.attributes()
            };
            let done = bpf::call(Command::MapLookupBatch, &mut attributes);
            let end = match done.as_ref().map_err(io::Error::raw_os_error) {
                Ok(_) => false,
                // The last bucket was read: the entries that came with the answer count.
                Err(Some(libc::ENOENT)) => true,
                // The next bucket holds more entries than there is room for: none was moved.
                Err(Some(libc::ENOSPC)) if room < Self::LARGEST_BATCH => {
                    room *= 2;
                    continue;
                }
                Err(_) => return done.map(|_| all),
            };
            let moved = attributes.count as usize;
            all.extend(keys.into_iter().zip(values).take(moved));
            if end {
                return Ok(all);
            }
            place = Some(next);
        }
    }

    /// Returns the value of a key; `None` without an entry.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn get(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = zeroed::<V>(1);
        let mut attributes = ElementAttributes {
            map: self.map.as_raw_fd().cast_unsigned(),
            hole: 0,
            key: std::ptr::from_ref(key) as u64,
            value: value.as_mut_ptr() as u64,
            flags: 0,
        };
        match bpf::call(Command::MapLookup, &mut attributes) {
            Ok(_) => Ok(value.pop()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Inserts or overwrites entries.
    ///
    /// # Errors
    /// The kernel's refusal; some of the entries may be written then.
    pub(crate) fn insert(&self, entries: impl Iterator<Item = (K, V)>) -> io::Result<()> {
        let (keys, values): (Vec<K>, Vec<V>) = entries.unzip();
        if keys.is_empty() {
            return Ok(());
        }
        let mut attributes = Attributes {
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: count(keys.len())?,
            ..self.attributes()
        };
        bpf::call(Command::MapUpdateBatch, &mut attributes).map(drop)
    }

    /// Removes entries; a missing entry is no error.
    ///
    /// # Errors
    /// The kernel's refusal; some of the entries may be gone then.
    pub(crate) fn remove(&self, keys: &[K]) -> io::Result<()> {
        let mut rest = keys;
        while !rest.is_empty() {
            let mut attributes = Attributes {
                keys: rest.as_ptr() as u64,
                count: count(rest.len())?,
                ..self.attributes()
            };
            match bpf::call(Command::MapDeleteBatch, &mut attributes) {
                Ok(_) => return Ok(()),
                // The kernel stops at the first missing entry, and tells how many went before.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    rest = rest.get(attributes.count as usize + 1..).unwrap_or(&[]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn attributes(&self) -> Attributes {
        attributes(&self.map)
    }
}

/// An array per CPU whose entries are zeroed many at a time.
pub(crate) struct BatchPerCpuArray {
    map: OwnedFd,
    /// Bytes of one entry, over all CPUs.
    stride: usize,
}

impl BatchPerCpuArray {
    /// The largest memory of zeros for one call: the kernel reads every entry's zeros from there.
    const MAX_ZEROS: usize = 4 << 20;

    /// Wraps a map whose values are of this size on each CPU.
    ///
    /// # Errors
    /// The values are of another size, or the kernel's refusal.
    pub(crate) fn new(map: &MapData, name: &str, value: usize) -> Result<Self> {
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        Ok(Self {
            map: checked(descriptor_of(map, name)?, name, size_of::<u32>(), value)?,
            // kernel/bpf/arraymap.c: bpf_percpu_array_update rounds up to eight.
            stride: value.next_multiple_of(8) * cpus,
        })
    }

    /// Zeroes entries on every CPU.
    ///
    /// # Errors
    /// The kernel's refusal; some of the entries may be zero then.
    pub(crate) fn clear(&self, indexes: &[u32]) -> io::Result<()> {
        let at_once = (Self::MAX_ZEROS / self.stride).clamp(1, indexes.len().max(1));
        let zeros = vec![0u8; at_once * self.stride];
        for indexes in indexes.chunks(at_once) {
            let mut attributes = Attributes {
                keys: indexes.as_ptr() as u64,
                values: zeros.as_ptr() as u64,
                count: count(indexes.len())?,
                ..attributes(&self.map)
            };
            bpf::call(Command::MapUpdateBatch, &mut attributes)?;
        }
        Ok(())
    }
}

/// Returns a map's descriptor again if the entries of this build's object are of these sizes: the
/// kernel reads and writes as many bytes. The map has the shape of the object ([`pinned_map`]).
///
/// [`pinned_map`]: super::pinned_map
fn checked(map: OwnedFd, name: &str, key: usize, value: usize) -> Result<OwnedFd> {
    let found = object::entry_sizes(name)?;
    let expected = (key, value);
    ensure!(
        found == expected,
        "the map {name} has entries of {found:?} bytes instead of {expected:?}"
    );
    Ok(map)
}

fn descriptor_of(map: &MapData, name: &str) -> Result<OwnedFd> {
    let copy = map.fd().as_fd().try_clone_to_owned();
    copy.with_context(|| format!("failed to open the map {name} twice"))
}

fn attributes(map: &OwnedFd) -> Attributes {
    Attributes {
        in_batch: 0,
        out_batch: 0,
        keys: 0,
        values: 0,
        count: 0,
        map: map.as_raw_fd().cast_unsigned(),
        element_flags: 0,
        flags: 0,
    }
}

fn count(entries: usize) -> io::Result<u32> {
    u32::try_from(entries).map_err(io::Error::other)
}

fn zeroed<T: Plain>(length: usize) -> Vec<T> {
    // SAFETY: every bit pattern is a value of a plain type, all zeros too.
    let zero = unsafe { std::mem::zeroed() };
    vec![zero; length]
}
