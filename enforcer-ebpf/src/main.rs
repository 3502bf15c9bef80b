//! The guards: the programs that the loader attaches, one entry point for each hook and link type.
//!
//! On the host this is an empty program: cargo wants the binary to build there too.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod guards;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
