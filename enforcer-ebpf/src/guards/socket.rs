//! The socket guard: cgroup_skb/ingress, where a packet reaches a socket.
//!
//! The hook stands behind reassembly, NAT and decapsulation, and runs for every socket of the
//! machine. The port comes from the socket, not from the packet.

use aya_ebpf::{bindings::bpf_sock, macros::cgroup_skb, programs::SkBuffContext};
use aya_log_ebpf::info;
use enforcer_ebpf::{
    Address, Guard, Packet, Protocol, Verdict, at_socket, decide, layout::port_index, source,
};

use super::{
    count::count,
    event::{DropInfo, emit, take_budget},
    maps::{BYPASSED, PORTS},
    namespace,
    policy::{ActivePolicy, Arrival, LOOPBACK_IFINDEX},
    skb::{PACKET_LOOPBACK, Skb},
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
    let Some((socket, protocol, port)) = registered_port(*skb) else {
        return ALLOW;
    };
    if !is_ours(socket) {
        return ALLOW;
    }
    let ifindex = ifindex(*skb);
    let policy = ActivePolicy::new(AtSocket { skb: *skb, ifindex });
    let packet = at_socket(protocol, port);
    let packet_type = skb.packet_type();
    let on_loopback = ifindex == LOOPBACK_IFINDEX || packet_type == PACKET_LOOPBACK;
    let decision = decide(&policy, Guard::Socket, on_loopback, &packet);
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

/// Emits the event of a drop. Not inlined: the verifier walks a function once.
#[inline(never)]
fn emit_event(skb: &Skb, packet: u64, info: DropInfo) {
    emit(Guard::Socket, &Packet::from_bits(packet), info, |to| {
        // Offset 0: the hook sees the packet from the IP header on.
        skb.copy(0, to)
    });
}

/// The socket, its protocol and its local port, if any bank knows that port.
#[inline(always)]
fn registered_port(skb: Skb) -> Option<(*mut bpf_sock, Protocol, u16)> {
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

struct AtSocket {
    skb: Skb,
    ifindex: u32,
}

impl Arrival for AtSocket {
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
    fn is_forwarded(&self, _: &Packet) -> bool {
        // A packet at a socket was delivered, not forwarded.
        false
    }
}
