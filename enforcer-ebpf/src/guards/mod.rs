//! The guards: BPF programs over two bodies, and the maps behind the policy.
//!
//! Floors, each of which uses only the ones below it:
//!
//! | floor | files |
//! | --- | --- |
//! | entry points | `xdp`, `tcx` (wire guards), `socket` (socket guard), `sent` (what sockets send) |
//! | body of the wire guards | `wire` |
//! | parts of a judgement | `policy`, `addresses`, `host`, `fib`, `udp`, `namespace`, `count`, `event` |
//! | access to a packet | `frame` (trait of the wire hooks), `skb` (tcx and cgroup_skb), `looped_back` |
//! | ground | `verifier` (scalars and bounds), `maps` |

mod addresses;
mod count;
mod event;
mod fib;
mod frame;
mod host;
mod maps;
mod namespace;
mod policy;
mod sent;
mod skb;
mod socket;
mod tcx;
mod udp;
mod verifier;
mod wire;
mod xdp;

/// Some helpers, and aya-log's ring buffer, are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never runs: the verifier refuses a program that could panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
