//! Rule 5: whether this host would forward a packet.

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
    bpf_fib_lookup,
};
use enforcer_ebpf::{
    Bytes as _, Family, Packet, Protocol, Route, destination, source, traffic_class,
};

use super::frame::Frame;

/// The FIB's answer on a packet that arrived on the interface `ifindex`, or on a member of it.
///
/// Only an answer that names another interface proves that the packet is not for this host; after
/// any other one, errors included, the packet is judged. The question has the protocol, the ports
/// and the TOS: a rule such as `ip rule add dport 9200 lookup local` delivers by them. No flag
/// (`BPF_FIB_LOOKUP_DIRECT` would skip the rules, and the local table).
#[inline(never)]
pub(super) fn route<F: Frame>(frame: &F, ifindex: u32, packet: u64) -> Route {
    /// linux/socket.h.
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    let packet = &Packet::from_bits(packet);
    // SAFETY: the structure consists of integers and unions of integers: all zeros are a valid
    // value.
    let mut query: bpf_fib_lookup = unsafe { core::mem::zeroed() };
    query.ifindex = ifindex;
    let bytes = frame.whole();
    let (Some(source), Some(destination)) = (
        source(&bytes, packet.ip_offset),
        destination(&bytes, packet.ip_offset),
    ) else {
        return Route::Here;
    };
    // The FIB sends IPv4 multicast and broadcast along the default route.
    if !destination.is_unicast() {
        return Route::Here;
    }
    if let Ok(protocol) = packet.transport.protocol() {
        query.l4_protocol = match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        };
        query.dport = packet.transport.port.to_be();
        let source_port = bytes.read(packet.transport_offset.into());
        query.sport = source_port.map_or(0, u16::from_ne_bytes);
    }
    let class = traffic_class(&bytes, packet.ip_offset);
    match destination.family() {
        Family::V4 => {
            query.family = AF_INET;
            query.__bindgen_anon_2.tos = class;
            query.__bindgen_anon_3.ipv4_src = source.word_v4();
            query.__bindgen_anon_4.ipv4_dst = destination.word_v4();
        }
        Family::V6 => {
            query.family = AF_INET6;
            query.__bindgen_anon_2.flowinfo = (u32::from(class) << 20).to_be();
            query.__bindgen_anon_3.ipv6_src = source.words_v6();
            query.__bindgen_anon_4.ipv6_dst = destination.words_v6();
        }
    }
    let code = frame.look_up(&mut query);
    let is_forwarded = code == i64::from(BPF_FIB_LKUP_RET_SUCCESS)
        || code == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH)
        || code == i64::from(BPF_FIB_LKUP_RET_FRAG_NEEDED);
    match is_forwarded {
        false => Route::Here,
        // Also where the kernel did not write the interface of departure.
        true if query.ifindex == ifindex => Route::Back,
        true => Route::Onward,
    }
}
