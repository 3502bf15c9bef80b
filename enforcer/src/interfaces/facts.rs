//! What the kernel says of its interfaces.

use std::collections::BTreeSet;

pub use crate::netlink::link::{Interface, XdpAttached, XdpMode};

/// What a plan has to know about the host beside its interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Netfilter's IP hooks run on the members of bridges (br_netfilter): one of
    /// `net.bridge.bridge-nf-call-iptables` and `bridge-nf-call-ip6tables` is not 0.
    pub bridge_nf_call: bool,
    /// tcx is to be had: Linux 6.6 or newer.
    pub tcx: bool,
    /// The ids of XDP programs that are ours, and no reason to keep away from their interface.
    pub own_programs: BTreeSet<u32>,
}
