//! tcx entry points, and tc's access to a frame.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
    macros::classifier,
    programs::TcContext,
};
use enforcer_ebpf::{Bytes, Link};

use super::{
    frame::Frame,
    skb::{PACKET_HOST, PACKET_LOOPBACK, Skb},
    verifier::{packet_bytes, unknown_offset},
    wire::passes,
};

/// tcx on an interface with Ethernet frames.
#[classifier]
fn wire_tcx_ethernet(ctx: TcContext) -> i32 {
    verdict(&ctx, Link::Ethernet)
}

/// tcx on an interface whose packets begin with the IP header.
#[classifier]
fn wire_tcx_ip(ctx: TcContext) -> i32 {
    verdict(&ctx, Link::Ip)
}

#[inline(always)]
fn verdict(ctx: &TcContext, link: Link) -> i32 {
    // NEXT, not PASS: the next programs keep their say.
    match passes(&TcFrame(Skb::of(&ctx.skb)), link) {
        true => TCX_NEXT,
        false => TCX_DROP,
    }
}

struct TcFrame(Skb);

impl Bytes for TcFrame {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        packet_bytes(self.0.data(), self.0.data_end(), offset)
    }

    #[inline(always)]
    fn unknown_offset(&self, offset: usize) -> usize {
        unknown_offset(offset)
    }
}

impl Frame for TcFrame {
    const COMPARES_MACS: bool = true;

    type Whole = Skb;

    #[inline(always)]
    fn whole(&self) -> Skb {
        self.0
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.0.ifindex()
    }

    #[inline(always)]
    fn length(&self, _: u8) -> u64 {
        self.0.len().into()
    }

    #[inline(always)]
    fn is_looped_back(&self) -> bool {
        self.0.packet_type() == PACKET_LOOPBACK
    }

    #[inline(always)]
    fn offloaded_vlan_id(&self) -> Option<u16> {
        self.0.offloaded_vlan_id()
    }

    #[inline(always)]
    fn foreign_mac(&self, link: Link) -> Option<[u8; 6]> {
        match link {
            Link::Ethernet => match self.0.packet_type() {
                PACKET_HOST | PACKET_LOOPBACK => None,
                _ => self.read(0),
            },
            Link::Ip => None,
        }
    }

    #[inline(always)]
    fn copy(&self, ip_offset: u8, to: *mut u8) -> u16 {
        self.0.copy(ip_offset, to)
    }

    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}
