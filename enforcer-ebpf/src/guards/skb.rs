//! A socket buffer, as the hooks of tcx and cgroup_skb see it.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::{bpf_sk_fullsock, bpf_skb_load_bytes},
    programs::sk_buff::SkBuff,
};
use enforcer_ebpf::Bytes;

use super::verifier::{bounded_length, loaded_bytes, unknown_offset};

/// Packet type (linux/if_packet.h) of broadcasts and multicasts that the stack hands back on the
/// interface of their departure (dev_loopback_xmit in net/core/dev.c).
///
/// This host's own ones, and those that this host relays for others (ip_mc_output in
/// net/ipv4/ip_output.c): the source address tells one from the other.
pub(super) const PACKET_LOOPBACK: u32 = 5;

/// Packet type of unicast frames for the interface's own MAC address: eth_type_trans
/// (net/ethernet/eth.c) compared the addresses on arrival.
pub(super) const PACKET_HOST: u32 = 0;

/// A hook's context, with access to a few fields.
///
/// [`Bytes`] reads the whole buffer, paged parts included, through a helper.
#[derive(Clone, Copy)]
pub(super) struct Skb(*mut __sk_buff);

impl Skb {
    /// The buffer of a hook's context.
    #[inline(always)]
    pub(super) const fn of(context: &SkBuff) -> Self {
        Self(context.skb)
    }

    /// The context, as helpers take it.
    #[inline(always)]
    pub(super) const fn as_ptr(self) -> *mut c_void {
        self.0.cast()
    }

    /// The length in bytes from the hook's first byte on, paged parts included.
    #[inline(always)]
    pub(super) fn len(self) -> u32 {
        // SAFETY: the context is the hook's own, and the verifier knows the field.
        unsafe { (*self.0).len }
    }

    /// The start of the linear part, for direct access.
    #[inline(always)]
    pub(super) fn data(self) -> usize {
        // SAFETY: the context is the hook's own, and the verifier knows the field.
        unsafe { (*self.0).data as usize }
    }

    /// The end of the linear part.
    #[inline(always)]
    pub(super) fn data_end(self) -> usize {
        // SAFETY: the context is the hook's own, and the verifier knows the field.
        unsafe { (*self.0).data_end as usize }
    }

    /// The ifindex of the current device; 0 where the buffer has none.
    #[inline(always)]
    pub(super) fn ifindex(self) -> u32 {
        // SAFETY: the context is the hook's own, and the verifier knows the field.
        unsafe { (*self.0).ifindex }
    }

    /// The ifindex of the first device on the way in (`skb_iif`).
    #[inline(always)]
    pub(super) fn ingress_ifindex(self) -> u32 {
        // SAFETY: the context is the hook's own, and the verifier knows the field.
        unsafe { (*self.0).ingress_ifindex }
    }

    /// The packet type, such as [`PACKET_LOOPBACK`].
    #[inline(always)]
    pub(super) fn packet_type(self) -> u32 {
        // SAFETY: the context is the hook's own, and the verifier knows the field.
        unsafe { (*self.0).pkt_type }
    }

    /// The VLAN id of the tag in the buffer's metadata, `None` without one.
    #[inline(always)]
    pub(super) fn offloaded_vlan_id(self) -> Option<u16> {
        const VLAN_ID: u32 = 0x0fff;
        // SAFETY: the context is the hook's own, and the verifier knows the field.
        let present = unsafe { (*self.0).vlan_present };
        // SAFETY: as above.
        let control = unsafe { (*self.0).vlan_tci };
        let id = (control & VLAN_ID) as u16;
        (present != 0).then_some(id)
    }

    /// The full socket of the packet, `None` where the kernel matched none.
    #[inline(always)]
    pub(super) fn full_socket(self) -> Option<*mut bpf_sock> {
        // SAFETY: the context is the hook's own, and the verifier knows the field.
        let field = unsafe { (*self.0).__bindgen_anon_2 };
        // SAFETY: the union has this one member.
        let common = unsafe { field.sk };
        if common.is_null() {
            return None;
        }
        // SAFETY: the pointer is the context's socket, and not null.
        let socket = unsafe { bpf_sk_fullsock(common) };
        if socket.is_null() {
            return None;
        }
        Some(socket)
    }

    /// Copies the packet from `offset` on to `to`, which has room for
    /// [`EVENT_PACKET`](enforcer_ebpf::layout::EVENT_PACKET) bytes. Returns the number of bytes, 0
    /// where the helper failed.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no packet is that long")]
    pub(super) fn copy(self, offset: u8, to: *mut u8) -> u16 {
        let whole = self.len();
        let offset = unknown_offset(offset.into()) as u32;
        let length = bounded_length(whole.wrapping_sub(offset));
        // SAFETY: the pointer is the hook's own context; the place has room for as many bytes.
        let code = unsafe { bpf_skb_load_bytes(self.as_ptr(), offset, to.cast(), length) };
        if code == 0 { length as u16 } else { 0 }
    }
}

impl Bytes for Skb {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let offset = u32::try_from(offset).ok()?;
        loaded_bytes(|to, length| {
            // SAFETY: the pointer is the hook's own context, and the place has room for `length`
            // bytes.
            let code = unsafe { bpf_skb_load_bytes(self.as_ptr(), offset, to, length) };
            code == 0
        })
    }

    #[inline(always)]
    fn unknown_offset(&self, offset: usize) -> usize {
        unknown_offset(offset)
    }
}
