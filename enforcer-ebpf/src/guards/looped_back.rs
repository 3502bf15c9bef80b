//! A packet that the stack handed back to this host, as tc sees it.
//!
//! Such a packet has no link-layer header: `dev_loopback_xmit` (net/core/dev.c) takes the header
//! off, and the bytes are read from the network header on.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_hdr_start_off::BPF_HDR_START_NET, helpers::generated::bpf_skb_load_bytes_relative,
};
use enforcer_ebpf::{Bytes, Link};

use super::{
    frame::Frame,
    skb::Skb,
    verifier::{bounded_length, loaded_bytes, unknown_offset},
};

/// A packet of the type [`PACKET_LOOPBACK`](super::skb::PACKET_LOOPBACK).
#[derive(Clone, Copy)]
pub(super) struct LoopedBack(pub(super) Skb);

impl LoopedBack {
    /// Copies `length` bytes at `offset` from the network header to `to`. Returns whether the
    /// packet has as many.
    #[inline(always)]
    fn load(&self, offset: u32, to: *mut u8, length: u32) -> bool {
        // SAFETY: the context is the hook's own; the callers' places have room for `length` bytes.
        let code = unsafe {
            bpf_skb_load_bytes_relative(
                self.0.as_ptr(),
                offset,
                to.cast(),
                length,
                BPF_HDR_START_NET,
            )
        };
        code == 0
    }
}

impl Bytes for LoopedBack {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let offset = u32::try_from(offset).ok()?;
        loaded_bytes(|to, length| self.load(offset, to.cast(), length))
    }

    #[inline(always)]
    fn unknown_offset(&self, offset: usize) -> usize {
        unknown_offset(offset)
    }
}

impl Frame for LoopedBack {
    type Whole = Self;

    #[inline(always)]
    fn whole(&self) -> Self {
        *self
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
    fn offloaded_vlan_id(&self) -> Option<u16> {
        None
    }

    #[inline(always)]
    fn is_for_other_host(&self, _: &[u8; 6]) -> bool {
        false
    }

    #[inline(always)]
    fn foreign_mac(&self, _: Link) -> Option<[u8; 6]> {
        None
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no packet is that long")]
    fn copy(&self, ip_offset: u8, to: *mut u8) -> u16 {
        let offset = unknown_offset(ip_offset.into()) as u32;
        let length = bounded_length(self.0.len().wrapping_sub(offset));
        if self.load(offset, to, length) {
            length as u16
        } else {
            0
        }
    }

    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}
