//! The plan over tables of hosts, the parser over bytes, and the list from a live kernel.

mod framing;
mod hooks;
mod live;
mod message;
mod sides;
mod sketch;
