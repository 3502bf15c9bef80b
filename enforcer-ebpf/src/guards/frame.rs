//! A frame on a wire guard's hook: the trait behind which XDP and tcx look alike.

use core::ffi::c_void;

use aya_ebpf::{bindings::bpf_fib_lookup as FibLookup, helpers::generated::bpf_fib_lookup};
use enforcer_ebpf::{Bytes, Link};

/// A frame on a hook; [`Bytes`] reads the linear part, by direct access.
pub(super) trait Frame: Bytes {
    /// Whether the kernel compares the destination MAC with the interface's own before the hook, so
    /// that [`Self::foreign_mac`] knows the interface's address of this moment.
    const COMPARES_MACS: bool;

    /// A reader of the whole buffer.
    type Whole: Bytes;

    /// The whole buffer, through a helper, fragments and paged parts included.
    fn whole(&self) -> Self::Whole;

    /// The ifindex of the arriving interface.
    fn ifindex(&self) -> u32;

    /// The length in bytes, link-layer header and fragments of the buffer included; `ip_offset` is
    /// the offset of the IP header.
    fn length(&self, ip_offset: u8) -> u64;

    /// Whether the stack handed a packet back to this host on the interface of its departure. Such a
    /// packet has no link-layer header: `dev_loopback_xmit` (net/core/dev.c) lets it begin at the
    /// network header.
    fn is_looped_back(&self) -> bool;

    /// The VLAN id of a tag outside the bytes, taken off by the driver or the stack.
    fn offloaded_vlan_id(&self) -> Option<u16>;

    /// The destination MAC address; `None` without an Ethernet header, and where the kernel found
    /// the frame to be for the interface's own address.
    fn foreign_mac(&self, link: Link) -> Option<[u8; 6]>;

    /// Copies the packet from offset `ip_offset` of the whole buffer to `to`, which has room for
    /// [`EVENT_PACKET`](enforcer_ebpf::layout::EVENT_PACKET) bytes. Returns the number of bytes, 0
    /// where the helper failed.
    fn copy(&self, ip_offset: u8, to: *mut u8) -> u16;

    /// The context, as helpers take it.
    fn as_ptr(&self) -> *mut c_void;

    /// Asks the FIB about a packet. Returns the helper's code (`BPF_FIB_LKUP_RET_*`, or an error
    /// below 0).
    #[inline(always)]
    fn look_up(&self, query: &mut FibLookup) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "64 bytes")]
        const SIZE: i32 = size_of::<FibLookup>() as i32;
        // SAFETY: the context is the hook's own, and the size is that of the query.
        unsafe { bpf_fib_lookup(self.as_ptr(), query, SIZE, 0) }
    }
}
