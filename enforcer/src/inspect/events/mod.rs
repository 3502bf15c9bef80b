//! Drops as they happen: out of the ring buffer, into words, to whoever follows.
//!
//! ```text
//! stream    the one reader of the ring buffer: epochs, and what made no event
//! record    a drop in words: JSON and a line for people
//! server    `run`'s socket: one line of JSON for each drop, to every follower
//! ```

mod record;
mod server;
mod stream;

pub use record::{HEADER, Record};
pub use server::Server;
pub use stream::{Stream, StreamError};
