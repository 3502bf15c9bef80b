//! XDP entry points, and XDP's access to a frame.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS},
        xdp_md,
    },
    helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    macros::xdp,
    programs::XdpContext,
};
use enforcer_ebpf::{Bytes, Link, claimed_length};

use super::{
    frame::Frame,
    verifier::{bounded_length, loaded_bytes, packet_bytes, unknown_offset},
    wire::passes,
};

/// XDP on an interface with Ethernet frames.
#[xdp(frags)]
fn wire_xdp_ethernet(ctx: XdpContext) -> u32 {
    verdict(&XdpFrame(ctx), Link::Ethernet)
}

/// XDP on an interface whose packets begin with the IP header.
#[xdp(frags)]
fn wire_xdp_ip(ctx: XdpContext) -> u32 {
    verdict(&XdpFrame(ctx), Link::Ip)
}

/// An empty program: the baseline of the benchmark.
#[xdp(frags)]
fn empty_xdp(_: XdpContext) -> u32 {
    XDP_PASS
}

#[inline(always)]
fn verdict(frame: &XdpFrame, link: Link) -> u32 {
    if passes(frame, link) {
        XDP_PASS
    } else {
        XDP_DROP
    }
}

struct XdpFrame(XdpContext);

impl Bytes for XdpFrame {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        packet_bytes(self.0.data(), self.0.data_end(), offset)
    }

    #[inline(always)]
    fn unknown_offset(&self, offset: usize) -> usize {
        unknown_offset(offset)
    }
}

impl Frame for XdpFrame {
    const COMPARES_MACS: bool = false;

    type Whole = Whole;

    #[inline(always)]
    fn whole(&self) -> Whole {
        Whole(self.0.ctx)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "u32 in struct xdp_md")]
    fn ifindex(&self) -> u32 {
        self.0.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn length(&self, ip_offset: u8) -> u64 {
        let linear = self.0.data_end() - self.0.data();
        // The helper costs as much as the whole decision, and is needed only where the packet goes
        // on behind the linear part.
        match claimed_length(self, ip_offset) {
            Some(claimed) if claimed <= linear => linear as u64,
            // SAFETY: the context is the hook's own.
            _ => unsafe { bpf_xdp_get_buff_len(self.0.ctx) },
        }
    }

    #[inline(always)]
    fn is_looped_back(&self) -> bool {
        // Native XDP never meets such a packet, and generic XDP has no view of the packet type.
        false
    }

    #[inline(always)]
    fn offloaded_vlan_id(&self) -> Option<u16> {
        // XDP has no view of a tag that the driver took off: `layout::WIRE_VIEW`.
        None
    }

    #[inline(always)]
    fn foreign_mac(&self, link: Link) -> Option<[u8; 6]> {
        match link {
            Link::Ethernet => self.read(0),
            Link::Ip => None,
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no packet is that long")]
    fn copy(&self, ip_offset: u8, to: *mut u8) -> u16 {
        let offset = unknown_offset(ip_offset.into()) as u32;
        // SAFETY: the context is the hook's own.
        let whole = unsafe { bpf_xdp_get_buff_len(self.0.ctx) } as u32;
        let length = bounded_length(whole.wrapping_sub(offset));
        // SAFETY: the context is the hook's own; the place has room for as many bytes.
        let code = unsafe { bpf_xdp_load_bytes(self.0.ctx, offset, to.cast(), length) };
        if code == 0 { length as u16 } else { 0 }
    }

    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        EbpfContext::as_ptr(&self.0).cast()
    }
}

/// Reads the whole buffer, fragments included, through a helper (Linux 5.18).
struct Whole(*mut xdp_md);

impl Bytes for Whole {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let offset = u32::try_from(offset).ok()?;
        loaded_bytes(|to, length| {
            // SAFETY: the context is the hook's own, and the place has room for `length` bytes.
            let code = unsafe { bpf_xdp_load_bytes(self.0, offset, to, length) };
            code == 0
        })
    }

    #[inline(always)]
    fn unknown_offset(&self, offset: usize) -> usize {
        unknown_offset(offset)
    }
}
