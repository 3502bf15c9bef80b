//! Scalars and bounds for the verifier: fewer states to walk, and accesses within known bounds.

use core::{ffi::c_void, mem::MaybeUninit};

use enforcer_ebpf::layout::EVENT_PACKET;

use super::maps::ZERO;

/// The largest packet offset of direct access: the verifier wants offsets bounded, and the longest
/// chain of headers within a guard's limits is shorter (8 extension headers of up to 2,048 bytes).
const MAX_OFFSET: usize = 0x7fff;

/// The same number as an unknown scalar: the verifier forgets value and bounds.
///
/// libbpf's `barrier_var` hides a value from the compiler, this function hides one from the
/// verifier: code behind the call is walked once, not once for each known value.
#[inline(always)]
pub(super) fn unknown_scalar(number: u64) -> u64 {
    // SAFETY: a static word of the object lives as long as the program, and has no writer.
    number ^ unsafe { ZERO.as_ptr().read_volatile() }
}

/// The same packet offset as an unknown scalar below a fixed bound:
/// [`Bytes::unknown_offset`](enforcer_ebpf::Bytes::unknown_offset) of every reader here.
#[inline(always)]
pub(super) fn unknown_offset(offset: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "BPF has 64-bit pointers, and the value is at most MAX_OFFSET"
    )]
    let offset = (unknown_scalar(offset as u64) & MAX_OFFSET as u64) as usize;
    offset
}

/// `N` bytes at `offset` of the packet memory from `data` to `data_end`, by direct access.
#[inline(always)]
pub(super) fn packet_bytes<const N: usize>(
    data: usize,
    data_end: usize,
    offset: usize,
) -> Option<[u8; N]> {
    if offset > MAX_OFFSET {
        return None;
    }
    let start = data + offset;
    if start + N > data_end {
        return None;
    }
    // SAFETY: the N bytes lie between data and data_end, as the verifier checks again; bytes have
    // no alignment.
    Some(unsafe { *(start as *const [u8; N]) })
}

/// The `N` bytes that a helper writes, or `None` where the helper refuses.
///
/// `load` gets the place and its length, and says whether the helper has written all of it. The
/// place is not zeroed before: LLVM calls memset for that, a loop of bytes for CPU and verifier.
#[inline(always)]
pub(super) fn loaded_bytes<const N: usize>(
    load: impl FnOnce(*mut c_void, u32) -> bool,
) -> Option<[u8; N]> {
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    #[expect(clippy::cast_possible_truncation, reason = "headers are short")]
    let length = N as u32;
    if !load(bytes.as_mut_ptr().cast(), length) {
        return None;
    }
    // SAFETY: the helper has written all of the bytes, as the verifier checks at each use.
    Some(unsafe { bytes.assume_init() })
}

/// The number of bytes to copy from the `rest` of a packet, from 1 to [`EVENT_PACKET`]: a mask
/// bounds the number for the verifier.
#[inline(always)]
pub(super) fn bounded_length(rest: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "128")]
    const MASK: u32 = EVENT_PACKET as u32 - 1;
    const { assert!(EVENT_PACKET.is_power_of_two()) };
    let last = if rest > MASK {
        MASK
    } else {
        rest.wrapping_sub(1)
    };
    (last & MASK) + 1
}
