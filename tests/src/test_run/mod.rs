//! The real wire guards, fed by BPF_PROG_TEST_RUN, against the host's build of the same decision.
//!
//! ```text
//! packet     what a frame is made of          named    a table of packets, with reasons by hand
//! network    interfaces and routes            random   as many as one likes
//! world      the policy, and the host's opinion of a frame
//! run        one run of one program           rig      both sides, compared
//! table, policies, buffers                    the trials
//! ```
//!
//! The socket guard is not here: a test run has no socket with a port. Live sockets prove it.

mod buffers;
mod named;
pub(crate) mod network;
pub(crate) mod packet;
mod policies;
mod random;
pub(crate) mod rig;
pub(crate) mod run;
mod table;
pub(crate) mod world;

use anyhow::Result;
use libtest_mimic::{Failed, Trial};

/// Every trial. Each loads the guards anew, in a network namespace of its own.
pub fn trials() -> Vec<Trial> {
    [table::trials(), policies::trials(), buffers::trials()]
        .into_iter()
        .flatten()
        .collect()
}

fn trial(name: &str, body: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(format!("test_run::{name}"), move || {
        // The innermost cause first: what was expected and seen, then of which packet.
        body().map_err(|error| {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            Failed::from(causes.into_iter().rev().collect::<Vec<_>>().join("\n"))
        })
    })
}
