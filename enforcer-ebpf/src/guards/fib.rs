//! Rule 4: whether this host would forward a packet.

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
    bpf_fib_lookup,
};
use enforcer_ebpf::{Address, Family, Packet};

use super::frame::Frame;

/// Whether the FIB would forward a packet.
///
/// Only such an answer proves that the packet is not for this host: after any other one, errors
/// included, the packet is judged.
#[inline(always)]
pub(super) fn is_forwarded<F: Frame>(frame: &F, ifindex: u32, packet: &Packet) -> bool {
    /// linux/socket.h.
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    // SAFETY: the structure consists of integers and unions of integers: all zeros are a valid
    // value.
    let mut query: bpf_fib_lookup = unsafe { core::mem::zeroed() };
    query.ifindex = ifindex;
    let (Some(source), Some(destination)) = (
        frame.source_whole(packet.ip_offset),
        frame.destination_whole(packet.ip_offset),
    ) else {
        return false;
    };
    match destination.family() {
        Family::V4 => {
            query.family = AF_INET;
            query.__bindgen_anon_3.ipv4_src = ipv4(&source);
            query.__bindgen_anon_4.ipv4_dst = ipv4(&destination);
        }
        Family::V6 => {
            query.family = AF_INET6;
            query.__bindgen_anon_3.ipv6_src = ipv6(&source);
            query.__bindgen_anon_4.ipv6_dst = ipv6(&destination);
        }
    }
    let code = frame.look_up(&mut query);
    code == i64::from(BPF_FIB_LKUP_RET_SUCCESS)
        || code == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH)
        || code == i64::from(BPF_FIB_LKUP_RET_FRAG_NEEDED)
}

/// The address in network byte order.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "an IPv4 address has 32 bits"
)]
const fn ipv4(address: &Address) -> u32 {
    (address.low() as u32).to_be()
}

/// The address in network byte order, in words of 32 bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the halves of 64 bits")]
const fn ipv6(address: &Address) -> [u32; 4] {
    [
        ((address.high() >> 32) as u32).to_be(),
        (address.high() as u32).to_be(),
        ((address.low() >> 32) as u32).to_be(),
        (address.low() as u32).to_be(),
    ]
}
