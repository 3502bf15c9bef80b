//! What a wire guard's hook gives the one body: a frame, wherever it came from.

use super::maps::ZERO;
use aya_ebpf::bindings::bpf_fib_lookup as FibLookup;
use aya_ebpf::helpers::generated::bpf_fib_lookup;
use enforcer_ebpf::{Address, Bytes, Link, Packet};

/// A frame on a hook; as [`Bytes`] it shows its linear part, by direct access.
pub(super) trait Frame: Bytes {
    /// The ifindex of the interface that it arrived on.
    fn ifindex(&self) -> u32;

    /// Its length in bytes, link-layer header and fragments of the buffer included; `header` is
    /// the offset of its IP header.
    fn length(&self, header: u8) -> u64;

    /// Whether it is this host's own and never was on a wire: [`super::wire::PACKET_LOOPBACK`].
    fn is_looped_back(&self) -> bool;

    /// The VLAN id of a tag beside the bytes, where a driver or the stack put it.
    fn tag_beside(&self) -> Option<u16>;

    /// Whether the frame is unicast and for another MAC than `mac`, the interface's own.
    fn is_for_another(&self, mac: &[u8; 6]) -> bool;

    /// Parses again through the helper that reads the whole buffer, not the linear part alone.
    fn parse_whole(&self, link: Link) -> Packet;

    /// The source address, through the same helper.
    fn source_whole(&self, header: u8) -> Option<Address>;

    /// The destination address, through the same helper.
    fn destination_whole(&self, header: u8) -> Option<Address>;

    /// Copies the packet from offset `header` on to where an event wants it, through the same
    /// helper, and says how many bytes: at most [`EVENT_PACKET`], 0 if that failed.
    ///
    /// [`EVENT_PACKET`]: enforcer_ebpf::layout::EVENT_PACKET
    fn copy(&self, header: u8, to: *mut u8) -> u16;

    /// The context, as helpers want it.
    fn as_ptr(&self) -> *mut core::ffi::c_void;

    /// Asks the FIB about a packet; returns the helper's code (`BPF_FIB_LKUP_RET_*`, or an error
    /// below 0).
    #[inline(always)]
    fn look_up(&self, question: &mut FibLookup) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "64 bytes")]
        const SIZE: i32 = size_of::<FibLookup>() as i32;
        // SAFETY: the context is the hook's own, and the size is that of what the pointer names.
        unsafe { bpf_fib_lookup(self.as_ptr(), question, SIZE, 0) }
    }
}

/// The far end of what direct access may reach: the verifier wants packet offsets bounded, and no
/// chain of headers that a guard walks is longer (8 extension headers of up to 2,048 bytes).
const REACH: usize = 0x7fff;

/// A number of which the verifier knows nothing any more.
#[inline(always)]
pub(super) fn blurred64(number: u64) -> u64 {
    // SAFETY: a word that lives as long as the program; nobody writes it.
    number ^ unsafe { ZERO.as_ptr().read_volatile() }
}

/// [`Bytes::blurred`] for every way to read a packet here.
#[inline(always)]
pub(super) fn blurred(offset: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "BPF has 64-bit pointers, and the value is below REACH"
    )]
    let offset = (blurred64(offset as u64) & REACH as u64) as usize;
    offset
}

/// `N` bytes at `offset` of the packet memory from `data` to `data_end`.
#[inline(always)]
pub(super) fn direct<const N: usize>(
    data: usize,
    data_end: usize,
    offset: usize,
) -> Option<[u8; N]> {
    if offset > REACH {
        return None;
    }
    let start = data + offset;
    if start + N > data_end {
        return None;
    }
    // SAFETY: the N bytes lie between data and data_end, which the verifier checks again; bytes
    // have no alignment.
    Some(unsafe { *(start as *const [u8; N]) })
}
