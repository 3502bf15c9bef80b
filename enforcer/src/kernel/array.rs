//! An array map, mapped into this process: reads and writes without a system call for each entry.

use std::{io, marker::PhantomData, os::fd::AsFd, sync::atomic::AtomicU32};

use anyhow::{Context as _, Result, ensure};
use enforcer_ebpf::{
    PeerSet,
    layout::{
        BankEntry, InterfaceEntry, OriginEntry, PeerEntry, PendingConfirm, PortBits, PortEntry,
        PrefixKey, RuleEntry, ServiceEntry, State,
    },
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::failpoint::{Call, through};

/// A type whose every bit pattern is a value, and which has no padding and no pointer.
///
/// # Safety
/// The type is `repr(C)`, an integer or an array of such, without padding; its alignment is at
/// most eight bytes.
pub(crate) unsafe trait Plain: Copy + 'static {}

// SAFETY: `layout` builds these of integers and arrays of integers, and its tests check for padding.
unsafe impl Plain for State {}
// SAFETY: as above.
unsafe impl Plain for BankEntry {}
// SAFETY: as above.
unsafe impl Plain for PortEntry {}
// SAFETY: as above.
unsafe impl Plain for ServiceEntry {}
// SAFETY: as above.
unsafe impl Plain for PeerEntry {}
// SAFETY: as above.
unsafe impl Plain for RuleEntry {}
// SAFETY: as above.
unsafe impl Plain for InterfaceEntry {}
// SAFETY: as above.
unsafe impl Plain for PortBits {}
// SAFETY: as above.
unsafe impl Plain for PrefixKey {}
// SAFETY: as above.
unsafe impl Plain for OriginEntry {}
// SAFETY: as above.
unsafe impl Plain for PendingConfirm {}
// SAFETY: an array of integers.
unsafe impl Plain for PeerSet {}

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

    /// Maps the `entries` entries of an array map, whose shape the caller has checked.
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

    /// A copy of an entry.
    ///
    /// # Panics
    /// If there is no such entry.
    pub(crate) fn get(&self, index: usize) -> T {
        // SAFETY: the pointer is in the mapping, aligned since strides are multiples of eight, and
        // every bit pattern is a value.
        unsafe { self.entry(index).read_volatile() }
    }

    /// Overwrites an entry that no program reads at this time.
    ///
    /// # Panics
    /// If there is no such entry.
    pub(crate) fn set(&self, index: usize, value: T) {
        // SAFETY: as for `get`; the map is shared memory, which nobody holds a reference to.
        unsafe { self.entry(index).write_volatile(value) };
    }

    /// Overwrites every entry with that of another map of the same shape.
    ///
    /// # Panics
    /// If there are fewer of them.
    pub(crate) fn copy_from(&self, other: &Self) {
        (0..self.entries).for_each(|index| self.set(index, other.get(index)));
    }

    /// The 32-bit word at `offset` bytes into an entry, which programs may read at this time.
    ///
    /// # Panics
    /// If the entry does not exist or the word is not an aligned one of it.
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
        // SAFETY: the mapping is this value's own, and no borrow of it outlives the value.
        let unmapped = unsafe { munmap(self.start.cast(), length) };
        debug_assert!(unmapped.is_ok());
    }
}
