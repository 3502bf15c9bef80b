//! The socket guard: cgroup_skb/ingress, where a packet reaches a socket.
//!
//! It runs after reassembly, NAT and decapsulation, for every socket of the machine, and takes the
//! port from the socket, not from the packet.

use aya_ebpf::{
    EbpfContext, bindings::bpf_sock, helpers::generated::bpf_sk_fullsock, macros::cgroup_skb,
    programs::SkBuffContext,
};
use aya_log_ebpf::info;
use enforcer_ebpf::{
    Address, Guard, Packet, Protocol, Verdict, at_socket, decide, layout::port_index, source,
};

use super::{
    count::count,
    event::{Told, is_due, tell},
    frame::blurred64,
    maps::{BYPASSED, PORTS},
    namespace,
    policy::{Active, Arrival},
    tcx::{WholeSkb, copy},
    wire::{LOOPBACK_IFINDEX, PACKET_LOOPBACK},
};

/// What cgroup_skb/ingress returns.
const ALLOW: i32 = 1;
const DENY: i32 = 0;

/// The guard on kernels where cgroup_skb may ask for the socket's namespace (Linux 6.15).
#[cgroup_skb]
fn socket_ingress(ctx: SkBuffContext) -> i32 {
    verdict::<true>(&ctx, |_| namespace::is_ours(ctx.as_ptr().cast()))
}

/// The guard on older kernels, where the namespace is read out of the socket.
///
/// Its drops make no events: Linux 6.1 takes seven times as long to verify it with them.
#[cgroup_skb]
fn socket_ingress_reading(ctx: SkBuffContext) -> i32 {
    verdict::<false>(&ctx, namespace::is_ours_by_reading)
}

#[inline(always)]
fn verdict<const TELLS: bool>(ctx: &SkBuffContext, is_ours: impl Fn(*mut bpf_sock) -> bool) -> i32 {
    let Some((socket, protocol, port)) = registered(ctx) else {
        return ALLOW;
    };
    if !is_ours(socket) {
        return ALLOW;
    }
    let ifindex = ifindex(ctx);
    let policy = Active::new(AtSocket { ctx, ifindex });
    let packet = at_socket(protocol, port);
    // SAFETY: the context is the hook's own, and the verifier knows the field.
    let kind = unsafe { (*ctx.skb.skb).pkt_type };
    let on_loopback = ifindex == LOOPBACK_IFINDEX || kind == PACKET_LOOPBACK;
    let decision = decide(&policy, Guard::Socket, on_loopback, &packet);
    if decision.is_counted() {
        count(Guard::Socket, &decision, ctx.len().into());
    }
    if TELLS && decision.verdict() == Verdict::Drop && is_due() {
        let told = Told {
            ifindex,
            reason: decision.reason as u8,
            audited: decision.audited,
            has_header: true,
        };
        tell_of(ctx, blurred64(packet.to_bits()), told);
    }
    if !decision.drops() {
        return ALLOW;
    }
    if let Some(bypassed) = BYPASSED.get_ptr_mut(ifindex) {
        // SAFETY: the value is this CPU's own.
        unsafe { *bypassed += 1 };
    }
    info!(
        ctx,
        "socket: drop, reason {} slot {} ifindex {}", decision.reason as u8, decision.slot, ifindex
    );
    DENY
}

/// Makes an event of a drop. A function of its own, so that the verifier walks it once.
#[inline(never)]
fn tell_of(ctx: &SkBuffContext, packet: u64, what: Told) {
    tell(Guard::Socket, &Packet::from_bits(packet), what, |bytes| {
        // The hook sees the packet from its IP header on.
        copy(ctx.as_ptr().cast(), ctx.len(), 0, bytes)
    });
}

/// The socket, and the port that it listens on or is bound to, if any bank knows that port.
#[inline(always)]
fn registered(ctx: &SkBuffContext) -> Option<(*mut bpf_sock, Protocol, u16)> {
    /// linux/net.h: a raw socket's "port" is its protocol number.
    const SOCK_RAW: u32 = 3;
    // SAFETY: the context is the hook's own, and the verifier knows the field.
    let field = unsafe { (*ctx.skb.skb).__bindgen_anon_2 };
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
    // Nearly every packet of the machine ends here, at one look-up.
    let [a, b] = PORTS.get(port_index(protocol, port))?;
    (a | b != 0).then_some((socket, protocol, port))
}

/// The interface that the packet came in on, as the stack sees it last: the bridge, not its
/// member; the VLAN device, not its parent; wg0, not eth0.
#[inline(always)]
fn ifindex(ctx: &SkBuffContext) -> u32 {
    // SAFETY: the context is the hook's own, and the verifier knows the field.
    match unsafe { (*ctx.skb.skb).ifindex } {
        // A packet without a device has still its first one.
        // SAFETY: as above.
        0 => unsafe { (*ctx.skb.skb).ingress_ifindex },
        ifindex => ifindex,
    }
}

struct AtSocket<'a> {
    ctx: &'a SkBuffContext,
    ifindex: u32,
}

impl Arrival for AtSocket<'_> {
    const ON_WIRE: bool = false;

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    #[inline(always)]
    fn source(&self, _: &Packet) -> Option<Address> {
        // From the packet, never from the socket: a dual-stack listener gets IPv4 too. The hook
        // sees the packet from its IP header on.
        source(&WholeSkb(self.ctx.as_ptr().cast()), 0)
    }

    #[inline(always)]
    fn is_forwarded(&self, _: &Packet) -> bool {
        // What reached a socket was not forwarded.
        false
    }
}
