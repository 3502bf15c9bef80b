//! What the kernel says of its interfaces.

use std::collections::BTreeSet;

/// An interface, as one RTM_NEWLINK message describes it (rtnetlink(7)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its ifindex, which a rename does not change.
    pub index: u32,
    /// Its name; bytes that are not UTF-8 are replaced. Alternative names are not looked at.
    pub name: String,
    /// IFLA_INFO_KIND: "veth", "bridge", "tun" (taps too) and so on. A NIC has none.
    pub kind: Option<String>,
    /// The link type, ARPHRD_* of linux/if_arp.h.
    pub link_type: u16,
    /// Administratively up (IFF_UP), whether or not it has a carrier.
    pub up: bool,
    /// IFF_LOOPBACK.
    pub loopback: bool,
    /// A tunnel with one unicast remote: IFF_POINTOPOINT without IFF_BROADCAST, which is what
    /// `ip_tunnel_changelink` (net/ipv4/ip_tunnel.c) keeps true for the life of a GRE tunnel.
    pub point_to_point: bool,
    /// The link-layer address, where it is one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// It also receives unicast frames for other MACs: `dev->uc` in the kernel has an address that
    /// is not its own. Macvlan and macvtap devices enter theirs there (`macvlan_open`), and stay
    /// there when they are moved into a container's namespace, where this one cannot see them.
    pub other_macs: bool,
    /// The ifindex of its master (IFLA_MASTER): bridge, bond, VRF and so on.
    pub master: Option<u32>,
    /// The ifindex of the interface below (IFLA_LINK), if that is in this namespace: of a VLAN or
    /// macvlan device its parent, of a veth its other end.
    pub parent: Option<u32>,
    /// A VLAN device that leaves the tag in its frames (`ip link … type vlan reorder_hdr off`).
    pub keeps_tag: bool,
    /// A device on some bus is behind it (IFLA_PARENT_DEV_NAME): it is a real NIC, or a virtual
    /// machine's.
    pub has_device: bool,
    /// The XDP program that is attached, whoever attached it.
    pub xdp: Option<XdpAttached>,
}

impl Interface {
    /// Whether it is of this IFLA_INFO_KIND.
    pub fn is_kind(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpAttached {
    /// Its id; `None` where several are attached in different modes.
    pub prog_id: Option<u32>,
    /// Where it runs.
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
    /// In more than one of them, or in one that is not known here.
    Several,
}

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
