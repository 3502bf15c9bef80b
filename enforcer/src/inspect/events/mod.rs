//! Drops as they happen: from the ring buffer to every follower.
//!
//! ```text
//! stream    the only reader of the ring buffer: epochs, and drops without an event
//! record    a drop as data, serialised to JSON
//! server    `run`'s socket: one line of JSON for each drop, to every follower
//! ring      the last lines, which the followers share
//! ```

mod record;
mod ring;
mod server;
mod stream;

pub use record::Record;
pub use server::{FOLLOWERS, Refused, Server};
pub use stream::{Stream, StreamError};
