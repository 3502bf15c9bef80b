//! The plan over tables of hosts, the parser over bytes, and the list over a live kernel.

mod hooks;
mod links;
mod live;
mod message;
mod sides;
mod sketch;
