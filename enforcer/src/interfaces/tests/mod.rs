//! The plan over tables of hosts, and the list over a live kernel.

mod framing;
mod hooks;
mod live;
mod macs;
mod sides;
mod sketch;
