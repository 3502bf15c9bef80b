//! Interfaces: RTM_GETLINK (rtnetlink(7)).

use anyhow::{Context as _, Result, ensure};

use super::{
    Request, Socket,
    framing::{any_message, each_attribute, index, number, push_attribute, text},
    link_info,
};

/// linux/rtnetlink.h.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;

/// linux/if.h.
const IFF_UP: u32 = 1;
const IFF_BROADCAST: u32 = 1 << 1;
const IFF_LOOPBACK: u32 = 1 << 3;
const IFF_POINTOPOINT: u32 = 1 << 4;

/// linux/if_link.h.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
/// Since Linux 5.5: alternative names, each an IFLA_ALT_IFNAME.
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
/// Since Linux 5.14.
const IFLA_PARENT_DEV_NAME: u16 = 56;
/// Within IFLA_XDP.
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;

/// linux/rtnetlink.h: RTEXT_FILTER_SKIP_STATS. Counters make up most of a reply.
const SKIP_STATS: u32 = 1 << 3;

/// An interface, as one RTM_NEWLINK message describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The ifindex, which a rename does not change.
    pub index: u32,
    /// The name, decoded without loss.
    pub name: String,
    /// The alternative names (`ip link property add dev … altname …`), decoded without loss.
    pub alternative_names: Vec<String>,
    /// IFLA_INFO_KIND: "veth", "bridge", "tun" (taps too) and so on. A NIC has none.
    pub kind: Option<String>,
    /// The link type, ARPHRD_* of linux/if_arp.h.
    pub link_type: u16,
    /// Administratively up (IFF_UP), with or without a carrier.
    pub up: bool,
    /// IFF_LOOPBACK.
    pub loopback: bool,
    /// A tunnel with one unicast remote: IFF_POINTOPOINT without IFF_BROADCAST, which
    /// `ip_tunnel_changelink` (net/ipv4/ip_tunnel.c) keeps true for the life of a GRE tunnel.
    pub point_to_point: bool,
    /// The link-layer address, where the length is six bytes.
    pub mac: Option<[u8; 6]>,
    /// The interface also receives unicast frames for other MACs: `dev->uc` in the kernel has a
    /// foreign address. Macvlan and macvtap devices enter theirs there (`macvlan_open`), even from
    /// a container's namespace, where this namespace cannot see them. No RTM_NEWLINK message has
    /// the answer; `fdb` has.
    pub other_macs: bool,
    /// The ifindex of the master (IFLA_MASTER): bridge, bond, VRF and so on.
    pub master: Option<u32>,
    /// The ifindex of the interface below (IFLA_LINK), if in this namespace: the parent of a VLAN
    /// or macvlan device, the other end of a veth.
    pub parent: Option<u32>,
    /// A bridge whose own option runs netfilter's IP hooks on its members, whatever the sysctls say:
    /// `nf_call_iptables` or `nf_call_ip6tables` (`br_nf_pre_routing` in
    /// net/bridge/br_netfilter_hooks.c). `nf_call_arptables` runs the hooks of ARP alone.
    pub nf_call: bool,
    /// The UDP port at which a tunnel of the kind vxlan, geneve or bareudp takes packets.
    pub udp_port: Option<u16>,
    /// MACs of a bridge's permanent local entries: frames for these are the host's
    /// (`br_handle_frame_finish`). No RTM_NEWLINK message has the answer; `fdb` has.
    pub local_macs: Vec<[u8; 6]>,
    /// The forwarding table of the bridge is too long to be read, so that `local_macs` may lack
    /// entries.
    pub macs_unknown: bool,
    /// Some user wants every frame (IFLA_PROMISCUITY counts the users): a packet capture, or a
    /// macvlan passthru device (`macvlan_open`), even in a namespace that this one cannot see.
    pub promiscuous: bool,
    /// The mode of a macvlan or macvtap device.
    pub macvlan_mode: Option<MacvlanMode>,
    /// The table of a VRF device.
    pub vrf_table: Option<u32>,
    /// A tun or tap device whose process writes the protocol in front of each packet: no
    /// IFF_NO_PI. True also where the kernel does not say.
    pub packet_info: bool,
    /// A VLAN device that leaves the tag in its frames (`ip link … type vlan reorder_hdr off`).
    pub keeps_tag: bool,
    /// A device on some bus is behind the interface (IFLA_PARENT_DEV_NAME): a real NIC, or a
    /// virtual machine's.
    pub has_device: bool,
    /// The attached XDP program, of any owner.
    pub xdp: Option<XdpAttached>,
}

impl Interface {
    /// Returns whether IFLA_INFO_KIND has this value.
    pub fn is_kind(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }

    /// Returns every name: the name, and then the alternative names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let others = self.alternative_names.iter().map(String::as_str);
        std::iter::once(self.name.as_str()).chain(others)
    }

    /// Returns whether the interface has this name, alternative names included. The kernel keeps
    /// both sorts of names unique together (`netdev_name_node_lookup` in net/core/dev.c).
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.alternative_names.iter().any(|other| other == name)
    }
}

/// The mode of a macvlan or macvtap device: who gets the parent's frames (MACVLAN_MODE_* of
/// linux/if_link.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MacvlanMode {
    /// The only child takes every unicast frame, and has the parent's MAC.
    Passthru,
    /// A child takes frames from listed MACs. The parent takes such a frame too, if the frame is for
    /// the parent's MAC.
    Source,
    /// A child takes frames for its own MAC: private, vepa and bridge.
    ByDestination,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpAttached {
    /// The program's id; `None` where several are attached in different modes.
    pub prog_id: Option<u32>,
    /// The mode of the attachment.
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
    /// In more than one of them, or in a mode unknown here.
    Several,
}

/// Returns every interface; `None` where the interfaces changed during every attempt. No
/// privileges are needed.
///
/// # Errors
/// The kernel's refusal, or a reply that cannot be read.
pub(crate) async fn dump(socket: &mut Socket) -> Result<Option<Vec<Interface>>> {
    // `struct ifinfomsg`: all interfaces.
    let mut body = vec![0; 16];
    push_attribute(&mut body, IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes())?;
    let request = Request {
        kind: RTM_GETLINK,
        body: &body,
        reply: RTM_NEWLINK,
    };
    let parse = |payload: &[u8]| parse(payload).map(Some);
    socket.consistent_dump(request, parse).await
}

/// Returns whether a notice of the group RTMGRP_LINK, a datagram, may tell of an interface that came
/// up: any but RTM_DELLINK and RTM_NEWLINK of an interface that is down.
pub(crate) fn may_be_up(notice: &[u8]) -> bool {
    any_message(notice, |kind, payload| match kind {
        RTM_DELLINK => false,
        // `struct ifinfomsg`: the flags follow family, type and ifindex.
        RTM_NEWLINK => {
            let flags = payload.get(8..).and_then(number);
            flags.is_none_or(|flags| flags & IFF_UP != 0)
        }
        _ => true,
    })
}

/// Parses the payload of an RTM_NEWLINK message: `struct ifinfomsg` and attributes. Absent
/// attributes are no error.
///
/// # Errors
/// The message is cut short, or has no ifindex or name.
pub(super) fn parse(payload: &[u8]) -> Result<Interface> {
    let (header, attributes) = payload
        .split_first_chunk::<16>()
        .context("a link message is shorter than its header")?;
    let [_, _, t0, t1, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *header;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let mut interface = Interface {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        link_type: u16::from_ne_bytes([t0, t1]),
        up: flags & IFF_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        point_to_point: flags & (IFF_POINTOPOINT | IFF_BROADCAST) == IFF_POINTOPOINT,
        ..Interface::default()
    };
    let mut parent_is_elsewhere = false;
    each_attribute(attributes, |kind, value| {
        match kind {
            IFLA_ADDRESS => interface.mac = value.try_into().ok(),
            IFLA_IFNAME => interface.name = text(value),
            IFLA_LINK => interface.parent = index(value),
            IFLA_MASTER => interface.master = index(value),
            IFLA_LINK_NETNSID => parent_is_elsewhere = true,
            IFLA_PROMISCUITY => interface.promiscuous = number(value) > Some(0),
            IFLA_LINKINFO => link_info::read(value, &mut interface)?,
            IFLA_XDP => interface.xdp = xdp(value)?,
            IFLA_PROP_LIST => interface.alternative_names = alternative_names(value)?,
            IFLA_PARENT_DEV_NAME => interface.has_device = true,
            _ => {}
        }
        Ok(())
    })?;
    if parent_is_elsewhere {
        interface.parent = None;
    }
    ensure!(
        interface.index != 0 && !interface.name.is_empty(),
        "a link message has no ifindex or no name"
    );
    Ok(interface)
}

fn alternative_names(nested: &[u8]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    each_attribute(nested, |kind, value| {
        if kind == IFLA_ALT_IFNAME {
            names.push(text(value));
        }
        Ok(())
    })?;
    Ok(names)
}

fn xdp(nested: &[u8]) -> Result<Option<XdpAttached>> {
    let mut mode = None;
    let mut prog_id = None;
    each_attribute(nested, |kind, value| {
        match (kind, value) {
            (IFLA_XDP_ATTACHED, &[code, ..]) => {
                mode = match code {
                    0 => None,
                    1 => Some(XdpMode::Native),
                    2 => Some(XdpMode::Generic),
                    3 => Some(XdpMode::Hardware),
                    _ => Some(XdpMode::Several),
                };
            }
            (IFLA_XDP_PROG_ID, value) => prog_id = index(value),
            _ => {}
        }
        Ok(())
    })?;
    Ok(mode.map(|mode| XdpAttached { prog_id, mode }))
}
