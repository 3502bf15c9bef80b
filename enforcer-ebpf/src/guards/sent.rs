//! What sockets send over UDP, for rule 6: cgroup/sendmsg4 and sendmsg6.
//!
//! The hooks stand before routing and NAT, as the socket guard stands behind: both see the remote
//! address as the socket knows the address. The hooks run for datagrams of unconnected sockets
//! alone (udp_sendmsg in net/ipv4/udp.c), which are the ones that rule 6 judges; a datagram for a
//! v4-mapped address runs the hook of IPv4.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::generated::{bpf_get_netns_cookie, bpf_ktime_get_coarse_ns},
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use enforcer_ebpf::{
    Address, FIRST_PORT_SLOT, NO_SLOT, Protocol,
    layout::{Binding, SentKey, port_index},
};

use super::maps::{NETNS_COOKIE, PORTS, SENT};

/// The only return value: the datagram goes on, to the same address.
const GO_ON: i32 = 1;

/// Datagrams to IPv4 addresses.
#[cgroup_sock_addr(sendmsg4)]
fn udp_sent_v4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is the hook's own, and the verifier knows the field.
    let address = unsafe { (*ctx.sock_addr).user_ip4 };
    remember(ctx.sock_addr, &Address::v4(address.to_ne_bytes()));
    GO_ON
}

/// Datagrams to IPv6 addresses.
#[cgroup_sock_addr(sendmsg6)]
fn udp_sent_v6(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is the hook's own, and the verifier knows the field.
    let words = unsafe { (*ctx.sock_addr).user_ip6 };
    remember(ctx.sock_addr, &Address::from_words_v6(words));
    GO_ON
}

/// Notes the time of a datagram of the guarded namespace, from a port that rule 6 judges.
#[inline(always)]
fn remember(context: *mut bpf_sock_addr, remote: &Address) {
    // SAFETY: the context is the hook's own, and the verifier knows the field; so below.
    let socket = unsafe { (*context).__bindgen_anon_1 };
    // SAFETY: the union's one member.
    let socket = unsafe { socket.sk };
    if socket.is_null() {
        return;
    }
    // The socket is bound by now: inet_send_prepare (net/ipv4/af_inet.c) comes first.
    // SAFETY: a socket, not null, whose fields the verifier knows.
    let Ok(port) = u16::try_from(unsafe { (*socket).src_port }) else {
        return;
    };
    if !is_judged(port) {
        return;
    }
    // SAFETY: as above.
    if unsafe { bpf_get_netns_cookie(context.cast()) } != NETNS_COOKIE.load() {
        return;
    }
    // SAFETY: as above. The field holds the 16 bits of the port in network byte order.
    let remote_port = unsafe { (*context).user_port };
    #[expect(clippy::cast_possible_truncation, reason = "16 bits")]
    let remote_port = u16::from_be(remote_port as u16);
    // SAFETY: the helper has no conditions.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    // A full map gives up its oldest entry; a refusal leaves an answer without its entry.
    _ = SENT.insert(SentKey::new(port, remote, remote_port), now, 0);
}

/// Whether rule 6 judges a UDP port under either bank.
#[inline(always)]
fn is_judged(port: u16) -> bool {
    PORTS
        .get(port_index(Protocol::Udp, port))
        .is_some_and(|words| {
            words.iter().any(|word| {
                let slot = Binding::from_bits(*word).slot;
                slot != NO_SLOT && slot < FIRST_PORT_SLOT
            })
        })
}
