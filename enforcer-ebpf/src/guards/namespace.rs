//! Which network namespace a socket is in.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_get_netns_cookie, bpf_probe_read_kernel, bpf_skc_to_tcp_sock},
};
use core::ffi::c_void;

use super::maps::{NET_COOKIE_OFFSET, NETNS_COOKIE, SKC_NET_OFFSET};

/// Whether the context's socket is in the guarded namespace (Linux 6.15 and later: older kernels
/// refuse the helper to cgroup_skb, at load).
///
/// Of use at a socket only: for a packet without one the helper names the initial namespace, not
/// that of the device (`__bpf_get_netns_cookie` in net/core/filter.c), so tcx cannot ask it.
#[inline(always)]
pub(super) fn is_ours(context: *mut c_void) -> bool {
    // SAFETY: the context is the hook's own.
    let cookie = unsafe { bpf_get_netns_cookie(context) };
    cookie == NETNS_COOKIE.load()
}

/// Whether a TCP socket is in the guarded namespace, read through BTF: `sk->skc_net.net->net_cookie`.
///
/// `false` for what is not a TCP socket: it cannot be told whose it is.
#[inline(always)]
pub(super) fn is_our_tcp(socket: *mut bpf_sock) -> bool {
    // SAFETY: the pointer is the context's socket; the helper answers null for another kind.
    let tcp = unsafe { bpf_skc_to_tcp_sock(socket.cast()) };
    if tcp.is_null() {
        return false;
    }
    let Some(net) = read_kernel(tcp as u64 + SKC_NET_OFFSET.load()) else {
        return false;
    };
    read_kernel(net + NET_COOKIE_OFFSET.load()) == Some(NETNS_COOKIE.load())
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
