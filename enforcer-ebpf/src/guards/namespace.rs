//! The network namespace of a socket.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_get_netns_cookie, bpf_probe_read_kernel},
};
use core::ffi::c_void;

use super::{
    maps::{NET_COOKIE_OFFSET, NETNS_COOKIE, SKC_NET_OFFSET},
    skb::Skb,
};

/// Whether the packet's socket is in the guarded namespace (Linux 6.15 and later: older kernels
/// refuse the helper to cgroup_skb, at load).
///
/// For a packet without a socket the helper names the initial namespace, not that of the device
/// (`__bpf_get_netns_cookie` in net/core/filter.c), so tcx cannot use it.
#[inline(always)]
pub(super) fn is_ours(skb: Skb) -> bool {
    // SAFETY: the context is the hook's own.
    let cookie = unsafe { bpf_get_netns_cookie(skb.as_ptr()) };
    cookie == NETNS_COOKIE.load()
}

/// Whether a socket is in the guarded namespace, read from the kernel's own structures:
/// `sk->skc_net.net->net_cookie`. For kernels that refuse the helper; for any protocol, as every
/// socket begins with a `struct sock_common`.
///
/// The verifier refuses arithmetic on a socket's pointer. A loader with CAP_PERFMON may read kernel
/// memory, though, and the program's stack is kernel memory: read from there, the pointer is a
/// scalar (`ARG_ANYTHING` of bpf_probe_read_kernel takes any register, and `allow_ptr_leaks` in
/// kernel/bpf/verifier.c lets a register with a pointer pass).
#[inline(always)]
pub(super) fn is_ours_by_reading(socket: *mut bpf_sock) -> bool {
    let cookie = read_kernel((&raw const socket) as u64)
        .and_then(|socket| read_kernel(socket + SKC_NET_OFFSET.load()))
        .and_then(|net| read_kernel(net + NET_COOKIE_OFFSET.load()));
    cookie == Some(NETNS_COOKIE.load())
}

/// A 64-bit word of kernel memory.
#[inline(always)]
fn read_kernel(address: u64) -> Option<u64> {
    /// Bytes of the word.
    const SIZE: u32 = u64::BITS / 8;
    let mut word = 0u64;
    // SAFETY: the helper checks the address, and writes eight bytes or none that count.
    let code =
        unsafe { bpf_probe_read_kernel((&raw mut word).cast(), SIZE, address as *const c_void) };
    (code == 0).then_some(word)
}
