//! An array map in the memory of this process: no system call for each entry.

use std::{io, marker::PhantomData, os::fd::AsFd, sync::atomic::AtomicU32};

use anyhow::{Context as _, Result, ensure};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::plain::Plain;
use crate::failpoint::{Call, through};

/// The memory of an array map with `BPF_F_MMAPABLE`.
///
/// The kernel and other processes read and write the same memory: every access is volatile or
/// atomic, and goes through a copy.
pub(crate) struct MmapArray<T> {
    start: *mut u8,
    entries: usize,
    _entries: PhantomData<T>,
}

impl<T: Plain> MmapArray<T> {
    /// Bytes from one entry to the next (kernel/bpf/arraymap.c: elem_size is rounded up to eight).
    const STRIDE: usize = size_of::<T>().next_multiple_of(8);

    /// Maps an array map of `entries` entries into memory. The caller has checked the map's shape.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn new(map: impl AsFd, name: &str, entries: u32) -> Result<Self> {
        const { assert!(align_of::<T>() <= 8) };
        let entries = usize::try_from(entries).context("more entries than memory")?;
        ensure!(entries > 0, "map {name} has no entries");
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let mapped = || unsafe {
            mmap(
                std::ptr::null_mut(),
                entries * Self::STRIDE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                map.as_fd(),
                0,
            )
        };
        let start = through(Call::MapMemory, || mapped().map_err(io::Error::from))
            .with_context(|| format!("failed to map {name} into memory"))?;
        Ok(Self {
            start: start.cast(),
            entries,
            _entries: PhantomData,
        })
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    fn entry(&self, index: usize) -> *mut T {
        assert!(index < self.entries, "entry {index} of {}", self.entries);
        // SAFETY: the mapping holds `entries` strides, and the index is below that.
        unsafe { self.start.add(index * Self::STRIDE) }.cast()
    }

    /// Returns a copy of an entry.
    ///
    /// # Panics
    /// The array has no such entry.
    pub(crate) fn get(&self, index: usize) -> T {
        // SAFETY: the pointer is in the mapping, aligned since strides are multiples of eight, and
        // every bit pattern is a value.
        unsafe { self.entry(index).read_volatile() }
    }

    /// Overwrites an entry that no program reads at this time.
    ///
    /// # Panics
    /// The array has no such entry.
    pub(crate) fn set(&self, index: usize, value: T) {
        // SAFETY: as for `get`; the map is shared memory, to which there are no references.
        unsafe { self.entry(index).write_volatile(value) };
    }

    /// Overwrites every entry with the entry of another map of the same shape.
    ///
    /// # Panics
    /// The other map has fewer entries.
    pub(crate) fn copy_from(&self, other: &Self) {
        (0..self.entries).for_each(|index| self.set(index, other.get(index)));
    }

    /// Returns the 32-bit word at `offset` bytes into an entry, which programs may read at this
    /// time.
    ///
    /// # Panics
    /// The array has no such entry, or the entry no aligned word at the offset.
    pub(crate) fn word(&self, index: usize, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= size_of::<T>());
        let entry: *mut u8 = self.entry(index).cast();
        // SAFETY: the offset was just found to lie in the entry.
        let word = unsafe { entry.add(offset) };
        // SAFETY: four aligned bytes of the mapping, which lives as long as `self`, and which is
        // only ever read and written through atomics or volatile accesses.
        unsafe { AtomicU32::from_ptr(word.cast()) }
    }
}

impl<T> Drop for MmapArray<T> {
    fn drop(&mut self) {
        let length = self.entries * size_of::<T>().next_multiple_of(8);
        // SAFETY: the mapping is this value's own, and no borrow outlives the value.
        let unmapped = unsafe { munmap(self.start.cast(), length) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use std::{os::fd::OwnedFd, sync::atomic::Ordering};

    use enforcer_ebpf::layout::{PeerEntry, PortEntry};
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    /// Shared memory in place of a map: mmap(2) treats both alike.
    fn memory() -> OwnedFd {
        let memory = memfd_create("array", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, 4096).unwrap();
        memory
    }

    #[test]
    fn entries_of_an_odd_size_keep_apart() {
        // 84 bytes, 88 with the kernel's padding.
        let array = MmapArray::<PeerEntry>::new(memory(), "PEERS", 3).unwrap();
        let entry = |byte| PeerEntry {
            name: [byte; 32],
            flags: u32::from(byte),
            ..PeerEntry::EMPTY
        };
        let entries = [entry(1), entry(2), entry(3)];
        for (index, entry) in entries.into_iter().enumerate() {
            array.set(index, entry);
        }
        assert_eq!([0, 1, 2].map(|index| array.get(index)), entries);
    }

    #[test]
    fn two_mappings_show_the_same_entries() {
        let memory = memory();
        let ours = MmapArray::<PortEntry>::new(&memory, "PORTS", 4).unwrap();
        let theirs = MmapArray::<PortEntry>::new(&memory, "PORTS", 4).unwrap();
        ours.word(2, 4).store(7, Ordering::SeqCst);
        assert_eq!(theirs.get(2), [0, 7]);
        assert_eq!(theirs.word(2, 0).load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_copy_is_whole_and_apart() {
        let (from, to) = (memory(), memory());
        let from = MmapArray::<PortEntry>::new(from, "PORTS", 2).unwrap();
        let to = MmapArray::<PortEntry>::new(to, "PORTS", 2).unwrap();
        from.set(0, [1, 2]);
        from.set(1, [3, 4]);
        to.copy_from(&from);
        from.set(0, [9, 9]);
        assert_eq!((to.len(), to.get(0), to.get(1)), (2, [1, 2], [3, 4]));
    }

    #[test]
    #[should_panic(expected = "entry 2 of 2")]
    fn an_entry_behind_the_last_panics() {
        let array = MmapArray::<PortEntry>::new(memory(), "PORTS", 2).unwrap();
        array.get(2);
    }

    #[test]
    fn an_array_without_entries_is_an_error() {
        assert!(MmapArray::<PortEntry>::new(memory(), "PORTS", 0).is_err());
    }
}
