//! The pinned state, the bpf(2) plumbing, and the few OS calls.
//!
//! The floors, from the top down; no import runs up:
//!
//! ```text
//! test_run                      one run of a program by BPF_PROG_TEST_RUN
//! sandbox                       the object with maps of its own, nothing attached
//! links                         the guards as links: attach, pin, examine
//! load         events           the object and its programs; the ring buffer's reader
//! switch       copy   grants    whole policies: put in force, copied; grants replaced in place
//! strays                        guards that no pin reaches
//! pending      bank   counters  the pending policy's record; a bank as tables; the counts
//! maps                          the open maps, as a struct of typed handles
//! reserved_ports                the map of the ports that the loader reserved
//! pinned_map   entries          one map by its pin; map entries from and to rows
//! namespace                     the map that tells whether the guarded namespace lives
//! held                          descriptors of everything pinned, to put lost pins back
//! runtime                       /run/enforcer: locks, and the word of `down`
//! pins         array  batch     the pin directory; reads and writes of maps
//! introspect                    the kernel's maps, programs and links by id, and their facts
//! bpf  btf  interface_names  mounts  object  parallel  plain  privileges  sys
//! ```
//!
//! All `unsafe` code of the loader is in here, behind types; `async_fd.rs` has the one exception.

mod array;
mod bank;
mod batch;
pub(crate) mod bpf;
mod btf;
mod copy;
mod counters;
mod entries;
pub(crate) mod events;
pub(crate) mod grants;
pub(crate) mod held;
pub(crate) mod interface_names;
mod introspect;
pub(crate) mod links;
pub mod load;
pub(crate) mod maps;
pub(crate) mod mounts;
pub(crate) mod namespace;
mod object;
mod parallel;
pub(crate) mod pending;
mod pinned_map;
pub(crate) mod pins;
mod plain;
pub(crate) mod privileges;
mod reserved_ports;
pub(crate) mod runtime;
pub mod sandbox;
pub(crate) mod strays;
mod switch;
pub(crate) mod sys;
pub mod test_run;
