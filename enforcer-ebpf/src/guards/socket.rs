//! The socket guard: cgroup_skb/ingress, where a packet reaches a socket.
//!
//! The hook stands behind reassembly, NAT and decapsulation, and runs for every socket of the
//! machine. The port comes from the socket, not from the packet.

use aya_ebpf::{bindings::bpf_sock, macros::cgroup_skb, programs::SkBuffContext};
use aya_log_ebpf::info;
use enforcer_ebpf::{
    Address, Arrival, Bytes as _, Family, Guard, Kind, Packet, Protocol, Route, Verdict, at_socket,
    decide, destination,
    layout::{InterfaceEntry, port_index},
    opens_association, source, transport_header,
};

use super::{
    count::count,
    event::{DropInfo, emit, take_budget},
    maps::{BYPASSED, PORTS},
    namespace,
    policy::{ActivePolicy, AtHook, LOOPBACK_IFINDEX},
    skb::{PACKET_LOOPBACK, Skb},
    udp::{self, UNCONNECTED},
    verifier::unknown_scalar,
};

/// Return values of cgroup_skb/ingress.
const ALLOW: i32 = 1;
const DENY: i32 = 0;

/// The guard on kernels where cgroup_skb may ask for the socket's namespace (Linux 6.15).
#[cgroup_skb]
fn socket_ingress(ctx: SkBuffContext) -> i32 {
    let skb = Skb::of(&ctx.skb);
    verdict::<true>(&skb, |_| namespace::is_ours(skb))
}

/// The guard on older kernels, where the namespace is read out of the socket.
///
/// Without events: with them, Linux 6.1 takes seven times as long to verify this program.
#[cgroup_skb]
fn socket_ingress_reading(ctx: SkBuffContext) -> i32 {
    verdict::<false>(&Skb::of(&ctx.skb), namespace::is_ours_by_reading)
}

#[inline(always)]
fn verdict<const EVENTS: bool>(skb: &Skb, is_ours: impl Fn(*mut bpf_sock) -> bool) -> i32 {
    let Some((socket, protocol, port)) = judged_port(*skb) else {
        return ALLOW;
    };
    if !is_ours(socket) {
        return ALLOW;
    }
    let ifindex = ifindex(*skb);
    let policy = ActivePolicy::new(AtSocket {
        skb: *skb,
        socket,
        ifindex,
    });
    let packet = at_socket(protocol, port);
    let arrival = match ifindex {
        LOOPBACK_IFINDEX => Arrival::Loopback,
        _ if skb.packet_type() == PACKET_LOOPBACK => Arrival::MaybeOwn,
        _ if policy.flags() & InterfaceEntry::VRF != 0 => Arrival::MaybeOwn,
        _ => Arrival::Received,
    };
    let decision = decide(&policy, Guard::Socket, arrival, &packet);
    if decision.is_counted() {
        count(Guard::Socket, &decision, skb.len().into());
    }
    if EVENTS && decision.verdict() == Verdict::Drop && take_budget() {
        let info = DropInfo {
            ifindex,
            reason: decision.reason as u8,
            audited: decision.audited,
            has_ip_header: true,
        };
        emit_event(skb, unknown_scalar(packet.to_bits()), info);
    }
    if !decision.drops() {
        return ALLOW;
    }
    if let Some(bypassed) = BYPASSED.get_ptr_mut(ifindex) {
        // SAFETY: the value is this CPU's own.
        unsafe { *bypassed += 1 };
    }
    info!(
        skb,
        "socket: drop, reason {} slot {} ifindex {}", decision.reason as u8, decision.slot, ifindex
    );
    DENY
}

/// Emits the event of a drop. Not inlined, so that the verifier walks this code once.
#[inline(never)]
fn emit_event(skb: &Skb, packet: u64, info: DropInfo) {
    emit(Guard::Socket, &Packet::from_bits(packet), info, |to| {
        // Offset 0: the hook sees the packet from the IP header on.
        skb.copy(0, to)
    });
}

/// The socket, its protocol and its local port, if any bank judges that port.
#[inline(always)]
fn judged_port(skb: Skb) -> Option<(*mut bpf_sock, Protocol, u16)> {
    /// linux/net.h. The "port" of a raw socket is the protocol number.
    const SOCK_RAW: u32 = 3;
    let socket = skb.full_socket()?;
    // SAFETY: a full socket, not null, whose fields the verifier knows; so below.
    let port = unsafe { (*socket).src_port };
    // SAFETY: as above.
    let number = unsafe { (*socket).protocol };
    // SAFETY: as above.
    if unsafe { (*socket).type_ } == SOCK_RAW {
        return None;
    }
    let protocol = Protocol::from_ip_number(u8::try_from(number).ok()?)?;
    let port = u16::try_from(port).ok()?;
    // Nearly every packet of the machine ends here, after a single look-up.
    let [a, b] = PORTS.get(port_index(protocol, port))?;
    (a | b != 0).then_some((socket, protocol, port))
}

/// The ifindex of the arriving interface as the stack sees it last: the bridge, not the
/// member; the VLAN device, not the parent; wg0, not eth0.
#[inline(always)]
fn ifindex(skb: Skb) -> u32 {
    match skb.ifindex() {
        // A packet without a current device still knows the first one.
        0 => skb.ingress_ifindex(),
        ifindex => ifindex,
    }
}

/// Whether a packet for an unconnected UDP socket, or for a listening SCTP socket, comes unasked.
///
/// Not inlined: few packets come here, and the verifier walks the chain of headers once.
#[inline(never)]
fn is_unasked(skb: Skb, packet: u64) -> bool {
    // Offset 0: the hook sees the packet from the IP header on, SCTP within UDP too.
    let Some((protocol, offset)) = transport_header(&skb, 0) else {
        return true;
    };
    let packet = &Packet::from_bits(packet);
    let offset = skb.unknown_offset(offset);
    match packet.transport.kind {
        Kind::Sctp => opens_association(&skb, (protocol, offset)),
        _ => !udp::is_answer(skb, packet, offset),
    }
}

struct AtSocket {
    skb: Skb,
    socket: *mut bpf_sock,
    ifindex: u32,
}

impl AtSocket {
    /// The socket's state (include/net/tcp_states.h), for protocols other than TCP too.
    #[inline(always)]
    fn state(&self) -> u32 {
        // SAFETY: a full socket, not null, whose fields the verifier knows.
        unsafe { (*self.socket).state }
    }
}

/// include/net/tcp_states.h.
const LISTEN: u32 = 10;

impl AtHook for AtSocket {
    const ON_WIRE: bool = false;

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    #[inline(always)]
    fn source(&self, _: &Packet) -> Option<Address> {
        // From the packet, never from the socket: a dual-stack listener gets IPv4 too. Offset 0:
        // the hook sees the packet from the IP header on.
        source(&self.skb, 0)
    }

    #[inline(always)]
    fn destination(&self, _: &Packet) -> Option<Address> {
        destination(&self.skb, 0)
    }

    #[inline(always)]
    fn foreign_mac(&self) -> Option<[u8; 6]> {
        None
    }

    #[inline(always)]
    fn compares_macs(&self) -> bool {
        true
    }

    #[inline(always)]
    fn route(&self, _: &Packet, _: u32) -> Route {
        // A packet at a socket was delivered, not forwarded.
        Route::Here
    }

    #[inline(always)]
    fn opens(&self, packet: &Packet) -> bool {
        let state = self.state();
        match packet.transport.kind {
            Kind::Udp if state == UNCONNECTED => {}
            Kind::Sctp if state == LISTEN => {}
            // A listener shows for the SYN and for the last ACK, syncookies included.
            kind => return kind == Kind::Tcp && state == LISTEN,
        }
        is_unasked(self.skb, packet.to_bits())
    }

    #[inline(always)]
    fn connected_address(&self) -> Option<Address> {
        match self.state() {
            UNCONNECTED | LISTEN => return None,
            _ => {}
        }
        // By the packet's family: an IPv6 socket with an IPv4 packet has its address in `src_ip4`.
        match source(&self.skb, 0)?.family() {
            Family::V4 => {
                // SAFETY: a full socket, not null, whose fields the verifier knows; so below.
                let address = unsafe { (*self.socket).src_ip4 };
                Some(Address::v4(address.to_ne_bytes()))
            }
            Family::V6 => {
                // SAFETY: as above.
                let words = unsafe { (*self.socket).src_ip6 };
                Some(Address::from_words_v6(words))
            }
        }
    }
}
