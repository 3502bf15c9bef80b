//! The guards: the programs that the loader attaches, an entry point for each hook and link type.
//!
//! On the host the binary is an empty program, for cargo to build.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod guards;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
