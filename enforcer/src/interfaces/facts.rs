//! The kernel's facts about interfaces.

use std::collections::BTreeSet;

/// An interface, from one RTM_NEWLINK message (rtnetlink(7)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The ifindex, which survives a rename.
    pub index: u32,
    /// The name, with bytes outside UTF-8 replaced. Alternative names are ignored.
    pub name: String,
    /// IFLA_INFO_KIND: "veth", "bridge", "tun" (taps too) and so on. A NIC has none.
    pub kind: Option<String>,
    /// The link type, ARPHRD_* of linux/if_arp.h.
    pub link_type: u16,
    /// Whether the interface is administratively up (IFF_UP), with or without carrier.
    pub up: bool,
    /// Whether the interface is a loopback interface (IFF_LOOPBACK).
    pub loopback: bool,
    /// Whether the interface is a tunnel with one unicast remote: IFF_POINTOPOINT without
    /// IFF_BROADCAST, kept up to date for a GRE tunnel by `ip_tunnel_changelink`
    /// (net/ipv4/ip_tunnel.c).
    pub point_to_point: bool,
    /// The link-layer address, if six bytes long.
    pub mac: Option<[u8; 6]>,
    /// Whether the interface also receives unicast frames for other MACs: the kernel's `dev->uc`
    /// has another address. Macvlan and macvtap devices add their MACs (`macvlan_open`), also from
    /// a container's namespace, where this namespace cannot see them.
    pub other_macs: bool,
    /// The ifindex of the master (IFLA_MASTER): bridge, bond, VRF and so on.
    pub master: Option<u32>,
    /// The ifindex of the interface below (IFLA_LINK), if in this namespace: the parent of a VLAN
    /// or macvlan device, the other end of a veth.
    pub parent: Option<u32>,
    /// Whether a VLAN device leaves the tag in frames (`ip link … type vlan reorder_hdr off`).
    pub keeps_tag: bool,
    /// Whether the interface has a device on a bus (IFLA_PARENT_DEV_NAME), as real NICs and NICs of
    /// virtual machines have.
    pub has_device: bool,
    /// The attached XDP program, of enforcer or any other owner.
    pub xdp: Option<XdpAttached>,
}

impl Interface {
    /// Returns whether the interface is of this IFLA_INFO_KIND.
    pub fn is_kind(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpAttached {
    /// The program's id; `None` for several programs in different modes.
    pub prog_id: Option<u32>,
    /// The place where the program runs.
    pub mode: XdpMode,
}

/// XDP_ATTACHED_* of linux/if_link.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
    /// In the NIC.
    Hardware,
    /// In several of these places, or in an unknown place.
    Several,
}

/// The facts about the host, beside the interfaces, for a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Whether netfilter's IP hooks run on the members of bridges (br_netfilter):
    /// `net.bridge.bridge-nf-call-iptables` or `bridge-nf-call-ip6tables` is not 0.
    pub bridge_nf_call: bool,
    /// Whether the kernel has tcx: Linux 6.6 or newer.
    pub tcx: bool,
    /// The ids of enforcer's own XDP programs, beside which the XDP hooks stay available.
    pub own_programs: BTreeSet<u32>,
}
