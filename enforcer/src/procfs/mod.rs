//! Readers of /proc (proc(5)): no other module opens a file there, apart from watches.
//!
//! ```text
//! process          /proc/PID: status, comm, environ, ns/net   mounts    /proc/PID/mountinfo
//! tcp              /proc/self/net/tcp, tcp6                   sysctl    /proc/sys/net
//! udp              /proc/self/net/udp, udp6                   locks     /proc/locks
//! reserved_ports   net.ipv4.ip_local_reserved_ports: read and written
//! ```
//!
//! Parsers are pure functions over text, and over bytes where a file holds names of any user's
//! choice. The kernel resolves /proc/sys/net in the network namespace of the opening task
//! (`net_ctl_root` in net/sysctl_net.c), wherever /proc was mounted.

pub(crate) mod locks;
pub(crate) mod mounts;
mod process;
pub(crate) mod reserved_ports;
pub(crate) mod sysctl;
pub(crate) mod tcp;
pub(crate) mod udp;

pub(crate) use process::Process;
