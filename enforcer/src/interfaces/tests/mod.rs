//! The plan over tables of hosts, and the list over a live kernel.

mod hooks;
mod links;
mod live;
mod sides;
mod sketch;
