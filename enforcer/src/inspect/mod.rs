//! The readers: the policy in force, the guards, the counters, and the verdict on a packet. Readers
//! change nothing but the events' ring buffer, which has one consumer.
//!
//! ```text
//! status     the state as a whole, the guards, the peers, every gap
//! counters   the policy's counters as rows
//! explain    the verdict on a described packet, and the reasons
//! dry_run    the changes by another registry
//! events     drops as a stream, and the socket of `run`
//! ```
//!
//! A reader returns a model: the model's fields are the JSON of the design, and `commands` turns
//! models into words.

mod counters;
mod dry_run;
pub mod events;
mod explain;
mod explain_error;
mod explain_fib;
mod explain_live;
mod explain_packet;
mod explain_policy;
mod host_changes;
mod status;

pub use crate::decisions::networks::NetworkWarning;
pub(crate) use crate::decisions::networks::toml_key;
pub use counters::{CounterRow, Counters, Selection, counters};
pub use dry_run::dry_run;
pub use explain::{Explanation, LiveAnswer, explain};
pub use explain_error::ExplainError;
pub use explain_live::{Live, Run};
pub use explain_packet::Question;
pub(crate) use status::status_after_change;
pub use status::{
    BypassRow, Condition, Finding, GuardRow, NetworkView, PeerState, PeerStatus, PendingView,
    Status, UncoveredRow, UnregisteredView, status,
};
