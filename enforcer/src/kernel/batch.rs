//! Many entries of a map with one call of bpf(2): hashes since Linux 5.6, arrays per CPU since 5.13.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use aya::{maps::MapData, util::nr_cpus};

use super::{
    array::Plain,
    bpf::{self, Command},
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

/// A hash map whose entries are moved many at a time.
pub(crate) struct Hash<K, V> {
    map: OwnedFd,
    _entries: PhantomData<(K, V)>,
}

impl<K: Plain, V: Plain> Hash<K, V> {
    /// Entries to ask for at once, to begin with.
    const ROOM: usize = 4096;

    /// A map whose keys and values are of these types.
    ///
    /// # Errors
    /// They are of other sizes, or the kernel's refusal.
    pub(crate) fn new(map: &MapData, name: &str) -> Result<Self> {
        Ok(Self {
            map: sized(map, name, size_of::<K>(), size_of::<V>())?,
            _entries: PhantomData,
        })
    }

    /// Every entry. One that is added or removed at this time may be there or not.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn entries(&self) -> io::Result<Vec<(K, V)>> {
        let mut all = Vec::new();
        let mut room = Self::ROOM;
        // Where the kernel left off: the number of a bucket of the hash.
        let mut place = None;
        loop {
            let mut keys = zeroed::<K>(room);
            let mut values = zeroed::<V>(room);
            let (from, mut next) = (place.unwrap_or(0u32), 0u32);
            let mut attributes = Attributes {
                in_batch: place.map_or(0, |_| (&raw const from) as u64),
                out_batch: (&raw mut next) as u64,
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
                // The next bucket holds more than there is room for, and nothing was moved.
                Err(Some(libc::ENOSPC)) if room < 1 << 20 => {
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

    /// Inserts or overwrites entries.
    ///
    /// # Errors
    /// The kernel's refusal; some of them may be there then.
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

    /// Removes entries; those that are not there are no error.
    ///
    /// # Errors
    /// The kernel's refusal; some of them may be gone then.
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
                // The kernel stops at the first that is missing, and says how many it removed.
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

/// An array per CPU, whose entries are zeroed many at a time.
pub(crate) struct PerCpu {
    map: OwnedFd,
    /// Bytes of one entry, over all CPUs.
    stride: usize,
}

impl PerCpu {
    /// Memory to hand over at once: the kernel takes the zeros from there.
    const MOST: usize = 4 << 20;

    /// A map whose values are of a size, on each CPU.
    ///
    /// # Errors
    /// They are of another size, or the kernel's refusal.
    pub(crate) fn new(map: &MapData, name: &str, value: usize) -> Result<Self> {
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        Ok(Self {
            map: sized(map, name, size_of::<u32>(), value)?,
            // kernel/bpf/arraymap.c: bpf_percpu_array_update rounds up to eight.
            stride: value.next_multiple_of(8) * cpus,
        })
    }

    /// Zeroes entries on every CPU.
    ///
    /// # Errors
    /// The kernel's refusal; some of them may be zero then.
    pub(crate) fn clear(&self, indexes: &[u32]) -> io::Result<()> {
        let at_once = (Self::MOST / self.stride).clamp(1, indexes.len().max(1));
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

/// A descriptor of a map, if its entries are of these sizes: the kernel reads and writes as much.
fn sized(map: &MapData, name: &str, key: usize, value: usize) -> Result<OwnedFd> {
    let info = map
        .info()
        .with_context(|| format!("failed to examine the map {name}"))?;
    let has = (info.key_size() as usize, info.value_size() as usize);
    ensure!(
        has == (key, value),
        "the map {name} has entries of {has:?} bytes, and not {:?}",
        (key, value)
    );
    map.fd()
        .as_fd()
        .try_clone_to_owned()
        .with_context(|| format!("failed to open the map {name} twice"))
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
