//! The real wire guards, fed by BPF_PROG_TEST_RUN, against the host's build of the same decision.
//!
//! ```text
//! packet     what a frame is made of          named    a table of packets, with reasons by hand
//! network    interfaces and routes            random   as many as one likes
//! world      the policy, and the host's opinion of a frame
//! view       the lists that the opinion is read from
//! run        one run of one program           rig      both sides, compared
//! table, policies, buffers                    the scenarios
//! ```
//!
//! The socket guard is not here: a test run has no socket with a port. Live sockets prove the
//! socket guard.

mod buffers;
mod named;
pub(crate) mod network;
pub(crate) mod packet;
mod policies;
pub(crate) mod random;
pub(crate) mod rig;
pub(crate) mod run;
mod table;
pub(crate) mod view;
pub(crate) mod world;

use crate::scenario::Scenario;

/// Every scenario. Each loads the guards anew, in a separate network namespace.
pub fn scenarios() -> Vec<Scenario> {
    [
        table::scenarios(),
        policies::scenarios(),
        buffers::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
