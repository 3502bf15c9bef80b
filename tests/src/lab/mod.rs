//! A lab of network namespaces, real services and real clients, and a remote control for the
//! enforcer under test.

pub mod bpf;
pub mod bridge;
pub mod broute;
pub mod cleanup;
pub mod client;
pub mod command;
pub mod counters;
pub mod crowd;
pub mod enforcer;
pub mod entries;
pub mod frames;
pub mod hammer;
pub mod kernel;
pub mod leaks;
pub mod mounts;
pub mod multicast;
pub mod namespaces;
pub mod netlink;
pub mod netns;
pub mod private_run;
pub mod redis;
pub mod report;
pub mod server;
pub mod session;
pub mod silent;
pub mod sockopt;
pub mod switch;
pub mod syscalls;
pub mod team;
pub mod topology;
pub mod transport;
pub mod tun;
pub mod wire;
pub mod wireguard;

pub use client::{Ask, Conversation, Outcome, Patience};
pub use enforcer::{Because, Enforcer, Guards, Port};
pub use kernel::Feature;
pub use netns::Netns;
pub use private_run::PrivateRun;
pub use server::Server;
pub use topology::Lab;
pub use transport::Transport;
pub use wireguard::WireGuard;
