//! The kernel's facts about interfaces.

use std::collections::BTreeSet;

pub use crate::netlink::link::{Interface, MacvlanMode, XdpAttached, XdpMode};

/// The facts about the host, beside the interfaces, for a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Whether netfilter's IP hooks run on the members of bridges (br_netfilter):
    /// `net.bridge.bridge-nf-call-iptables` or `bridge-nf-call-ip6tables` is not 0.
    pub bridge_nf_call: bool,
    /// Whether these hooks run on frames with a VLAN tag too, as though there were no tag:
    /// `net.bridge.bridge-nf-filter-vlan-tagged` (`vlan_proto` in
    /// net/bridge/br_netfilter_hooks.c).
    pub bridge_filter_vlan_tagged: bool,
    /// Whether the kernel has tcx: Linux 6.6 or newer.
    pub tcx: bool,
    /// The ids of enforcer's own XDP programs, beside which the XDP hooks stay available.
    pub own_programs: BTreeSet<u32>,
}
