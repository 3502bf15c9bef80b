//! The kernel side: entry points over one body, and the maps behind the policy.

mod count;
mod event;
mod fib;
mod frame;
mod maps;
mod namespace;
mod policy;
mod socket;
mod tcx;
mod wire;
mod xdp;

/// Some helpers, and aya-log's ring buffer, are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// A program that panics does not exist: the verifier would have refused the call.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
