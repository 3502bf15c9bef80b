//! Which network namespace a socket is in.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_get_netns_cookie, bpf_probe_read_kernel},
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

/// Whether a socket is in the guarded namespace, read from the kernel's own structures:
/// `sk->skc_net.net->net_cookie`. For kernels that refuse the helper; any protocol, as every
/// socket begins with a `struct sock_common`.
///
/// The verifier lets nobody calculate with a socket's pointer, yet a loader with CAP_PERFMON may
/// read kernel memory, to which this program's stack belongs: read from there, the pointer is a
/// number (`ARG_ANYTHING` of bpf_probe_read_kernel takes any register, and `allow_ptr_leaks` in
/// kernel/bpf/verifier.c lets a pointer be one).
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
