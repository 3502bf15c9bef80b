//! Rule 6 for UDP: whether a datagram comes to a socket that has not asked for it.
//!
//! UDP has no mark of a first packet. A connected socket takes datagrams of its one remote address
//! alone, so an unconnected socket is judged, unless the socket has sent to the datagram's source
//! a moment ago: the map `SENT`.

use aya_ebpf::{
    bindings::{BPF_F_CURRENT_NETNS, bpf_sock_tuple},
    helpers::generated::{bpf_ktime_get_coarse_ns, bpf_sk_lookup_udp, bpf_sk_release},
};
use enforcer_ebpf::{
    Address, Bytes as _, Family, Packet, destination,
    layout::{SentKey, is_recent},
    source,
};

use super::{frame::Frame, maps::SENT, skb::Skb};

/// include/net/tcp_states.h: TCP_CLOSE, the state of a UDP socket without a remote address.
pub(super) const UNCONNECTED: u32 = 7;

/// Whether a datagram on a wire meets an unconnected socket of this host that has sent nothing to
/// the datagram's source within two minutes.
///
/// Not inlined: few packets come here, and the stack of a judgement has no room.
#[inline(never)]
pub(super) fn meets_unasked_socket<F: Frame>(frame: &F, packet: u64) -> bool {
    let packet = &Packet::from_bits(packet);
    let bytes = frame.whole();
    let source_port = bytes.read(packet.transport_offset.into());
    let (Some(source), Some(destination), Some(source_port)) = (
        source(&bytes, packet.ip_offset),
        destination(&bytes, packet.ip_offset),
        source_port.map(u16::from_be_bytes),
    ) else {
        return true;
    };
    let port = packet.transport.port;
    !has_sent(port, &source, source_port)
        && has_unconnected_socket(frame, [(&source, source_port), (&destination, port)])
}

/// Whether a datagram at a socket, with the UDP header at `offset`, answers one from the socket's
/// port, within two minutes.
#[inline(always)]
pub(super) fn is_answer(skb: Skb, packet: &Packet, offset: usize) -> bool {
    // Offset 0: the hook sees the packet from the IP header on.
    let (Some(source), Some(source_port)) = (source(&skb, 0), skb.read(offset)) else {
        return false;
    };
    let source_port = u16::from_be_bytes(source_port);
    has_sent(packet.transport.port, &source, source_port)
}

/// Whether a port of this host has sent to an address and port within two minutes.
#[inline(always)]
fn has_sent(local_port: u16, remote: &Address, remote_port: u16) -> bool {
    let key = SentKey::new(local_port, remote, remote_port);
    let Some(time) = SENT.get_ptr(key) else {
        return false;
    };
    // SAFETY: a map's value outlives the program's run.
    let sent = unsafe { time.read_volatile() };
    // The clock after the entry, which another CPU may have written at this moment.
    // SAFETY: the helper has no conditions.
    is_recent(sent, unsafe { bpf_ktime_get_coarse_ns() })
}

/// Whether the socket of a datagram, by source and destination with their ports, is unconnected;
/// `false` without a socket.
#[inline(always)]
fn has_unconnected_socket<F: Frame>(frame: &F, ends: [(&Address, u16); 2]) -> bool {
    /// Bytes of the members `ipv4` and `ipv6` of `struct bpf_sock_tuple` (linux/bpf.h).
    const SIZE_V4: u32 = 12;
    const SIZE_V6: u32 = 36;
    /// The namespace of the packet's device.
    const NAMESPACE: u64 = BPF_F_CURRENT_NETNS.cast_unsigned() as u64;
    let [(source, source_port), (destination, port)] = ends;
    // SAFETY: the structure consists of integers: all zeros are a valid value.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    let size = match source.family() {
        Family::V4 => {
            tuple.__bindgen_anon_1.ipv4.saddr = source.word_v4();
            tuple.__bindgen_anon_1.ipv4.daddr = destination.word_v4();
            tuple.__bindgen_anon_1.ipv4.sport = source_port.to_be();
            tuple.__bindgen_anon_1.ipv4.dport = port.to_be();
            SIZE_V4
        }
        Family::V6 => {
            tuple.__bindgen_anon_1.ipv6.saddr = source.words_v6();
            tuple.__bindgen_anon_1.ipv6.daddr = destination.words_v6();
            tuple.__bindgen_anon_1.ipv6.sport = source_port.to_be();
            tuple.__bindgen_anon_1.ipv6.dport = port.to_be();
            SIZE_V6
        }
    };
    // SAFETY: the context is the hook's own, and the size is that of the tuple's member.
    let socket = unsafe { bpf_sk_lookup_udp(frame.as_ptr(), &raw mut tuple, size, NAMESPACE, 0) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: a socket, not null, whose fields the verifier knows.
    let state = unsafe { (*socket).state };
    // SAFETY: the reference is the one that the look-up took, and ends here.
    unsafe { bpf_sk_release(socket.cast()) };
    state == UNCONNECTED
}
