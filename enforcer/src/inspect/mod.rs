//! The readers: what is in force, what guards what, and what becomes of a packet. No reader
//! changes anything but the events' ring buffer, which has one consumer.

mod dry_run;
pub mod events;
mod explain;
mod explain_live;
mod status;

pub use dry_run::{DryRun, dry_run};
pub use explain::{has_wire_guard, would_be, would_forward};
pub use explain_live::{Copies, Live, Seen, copies};
pub use status::{
    BypassRow, Condition, GuardRow, PeerState, PeerStatus, PendingView, Status, UncoveredRow,
    status,
};
