//! tcx entry points, and tc's way to a frame.

use aya_ebpf::{
    EbpfContext,
    bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
    helpers::generated::bpf_skb_load_bytes,
    macros::classifier,
    programs::TcContext,
};
use enforcer_ebpf::{Address, Bytes, Link, Packet, destination, parse, source};

use super::{
    event::bounded,
    frame::{Frame, blurred, direct},
    wire::{PACKET_LOOPBACK, passes},
};

/// tcx on an interface with Ethernet frames.
#[classifier]
fn wire_tcx_ethernet(ctx: TcContext) -> i32 {
    verdict(&TcFrame(ctx), Link::Ethernet)
}

/// tcx on an interface whose packets begin with the IP header.
#[classifier]
fn wire_tcx_ip(ctx: TcContext) -> i32 {
    verdict(&TcFrame(ctx), Link::Ip)
}

#[inline(always)]
fn verdict(frame: &TcFrame, link: Link) -> i32 {
    // NEXT, not PASS: the programs behind this one keep their say.
    if passes(frame, link) {
        TCX_NEXT
    } else {
        TCX_DROP
    }
}

struct TcFrame(TcContext);

impl Bytes for TcFrame {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        direct(self.0.data(), self.0.data_end(), offset)
    }

    #[inline(always)]
    fn blurred(&self, offset: usize) -> usize {
        blurred(offset)
    }
}

impl Frame for TcFrame {
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context is the hook's own, and the verifier knows the field.
        unsafe { (*self.0.skb.skb).ifindex }
    }

    #[inline(always)]
    fn length(&self, _: u8) -> u64 {
        self.0.len().into()
    }

    #[inline(always)]
    fn is_looped_back(&self) -> bool {
        // SAFETY: the context is the hook's own, and the verifier knows the field.
        unsafe { (*self.0.skb.skb).pkt_type == PACKET_LOOPBACK }
    }

    #[inline(always)]
    fn tag_beside(&self) -> Option<u16> {
        const VLAN_ID: u32 = 0x0fff;
        let skb = self.0.skb.skb;
        // SAFETY: the context is the hook's own, and the verifier knows the field.
        let present = unsafe { (*skb).vlan_present };
        // SAFETY: as above.
        let control = unsafe { (*skb).vlan_tci };
        let id = (control & VLAN_ID) as u16;
        (present != 0).then_some(id)
    }

    #[inline(always)]
    fn is_for_another(&self, _: &[u8; 6]) -> bool {
        /// linux/if_packet.h.
        const PACKET_OTHERHOST: u32 = 3;
        // The kernel compared the address when the frame came in, with today's own MAC.
        // SAFETY: the context is the hook's own, and the verifier knows the field.
        unsafe { (*self.0.skb.skb).pkt_type == PACKET_OTHERHOST }
    }

    #[inline(never)]
    fn parse_whole(&self, link: Link) -> Packet {
        parse(&WholeSkb(self.as_ptr()), link)
    }

    #[inline(always)]
    fn source_whole(&self, header: u8) -> Option<Address> {
        source(&WholeSkb(self.as_ptr()), header)
    }

    #[inline(always)]
    fn destination_whole(&self, header: u8) -> Option<Address> {
        destination(&WholeSkb(self.as_ptr()), header)
    }

    #[inline(always)]
    fn copy(&self, header: u8, to: *mut u8) -> u16 {
        copy(
            EbpfContext::as_ptr(&self.0).cast(),
            self.0.len(),
            header,
            to,
        )
    }

    #[inline(always)]
    fn as_ptr(&self) -> *mut core::ffi::c_void {
        EbpfContext::as_ptr(&self.0).cast()
    }
}

/// A whole skb, paged parts included, through a helper.
pub(super) struct WholeSkb(pub(super) *mut core::ffi::c_void);

impl Bytes for WholeSkb {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let offset = u32::try_from(offset).ok()?;
        #[expect(clippy::cast_possible_truncation, reason = "headers are short")]
        let length = N as u32;
        // SAFETY: the pointer is the hook's own context, and the helper writes N bytes or none.
        let code = unsafe { bpf_skb_load_bytes(self.0, offset, bytes.as_mut_ptr().cast(), length) };
        (code == 0).then_some(bytes)
    }

    #[inline(always)]
    fn blurred(&self, offset: usize) -> usize {
        blurred(offset)
    }
}

/// [`Frame::copy`] of an skb that is `whole` bytes long.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no packet is that long")]
pub(super) fn copy(skb: *mut core::ffi::c_void, whole: u32, header: u8, to: *mut u8) -> u16 {
    let offset = blurred(header.into()) as u32;
    let length = bounded(whole.wrapping_sub(offset));
    // SAFETY: the pointer is the hook's own context; the place has room for as many bytes.
    let code = unsafe { bpf_skb_load_bytes(skb, offset, to.cast(), length) };
    if code == 0 { length as u16 } else { 0 }
}
