//! The lab and the scenarios: forbidden and legitimate traffic on a live kernel.
//!
//! The lab, the scenarios and the demo treat the enforcer as a black box: a binary with the command
//! line, JSON and exit codes of the design. `test_run` and `bench` feed the real programs packets
//! by BPF_PROG_TEST_RUN.

pub mod attack_list;
pub mod bench;
pub mod demo;
pub mod evidence;
pub mod lab;
#[cfg(test)]
mod limits;
#[path = "../../enforcer-ebpf/tests/reference/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the property tests of enforcer-ebpf use the rest of the second implementation"
)]
mod reference;
pub mod scenario;
pub mod scenarios;
pub mod system;
pub mod test_run;
