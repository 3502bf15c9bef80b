//! Framing: the header at the first byte of a packet, by the type of the interface.
//!
//! Both hooks show a packet from the MAC header on: generic XDP by `skb_mac_header`
//! (`bpf_prog_run_generic_xdp`, net/core/dev.c), tcx by `mac_len`, the distance from the MAC header
//! to the network header (`__netif_receive_skb_core`, `tcx_run`). On an interface without a
//! link-layer header the driver decides whether a packet begins with the inner IP header, an outer
//! header, or a remnant of the carrier's header. A guard that starts at the wrong byte takes every
//! packet for something other than IP, and passes all. So an interface with unknown framing is
//! uncovered. The kernel functions named below were read in Linux 6.1 and 6.12.

use enforcer_ebpf::Link;

use super::facts::Interface;

/// The framing of an interface's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Every packet begins with this link layer.
    Readable(Link),
    /// The interface never delivers packets to IP.
    NeverIp,
    /// A guard could not parse the packets, for this reason.
    Unreadable(String),
}

/// Link types, linux/if_arp.h.
pub(super) const ARPHRD_ETHER: u16 = 1;
pub(super) const ARPHRD_CAN: u16 = 280;
pub(super) const ARPHRD_PPP: u16 = 512;
pub(super) const ARPHRD_RAWIP: u16 = 519;
pub(super) const ARPHRD_TUNNEL: u16 = 768;
pub(super) const ARPHRD_TUNNEL6: u16 = 769;
pub(super) const ARPHRD_SIT: u16 = 776;
pub(super) const ARPHRD_IPGRE: u16 = 778;
pub(super) const ARPHRD_IEEE80211: u16 = 801;
pub(super) const ARPHRD_IEEE80211_PRISM: u16 = 802;
pub(super) const ARPHRD_IEEE80211_RADIOTAP: u16 = 803;
pub(super) const ARPHRD_IP6GRE: u16 = 823;
pub(super) const ARPHRD_NETLINK: u16 = 824;
pub(super) const ARPHRD_VSOCKMON: u16 = 826;
pub(super) const ARPHRD_NONE: u16 = 0xfffe;

/// Returns the framing of an interface's packets.
pub(super) fn framing(interface: &Interface) -> Framing {
    match (interface.link_type, interface.kind.as_deref()) {
        (ARPHRD_ETHER, _) => ethernet_framing(interface),

        // These drivers call skb_reset_mac_header at the inner IP header: tun_get_user,
        // wg_reset_packet, vxlan_rcv (GPE), geneve_rx (inner_proto_inherit), __ipgre_rcv (GRE
        // with `external`), bareudp_udp_encap_recv, gtp_rx. Without a kind: USB modems in raw-ip
        // mode (qmi_wwan_rx_fixup, hso).
        (
            ARPHRD_NONE,
            None
            | Some("tun" | "wireguard" | "vxlan" | "geneve" | "gre" | "bareudp" | "gtp"),
        )
        // rmnet_deliver_skb, ppp_receive_nonmp_frame.
        | (ARPHRD_RAWIP, Some("rmnet"))
        | (ARPHRD_PPP, Some("ppp"))
        // ipip_tunnel_rcv, ipip6_rcv and sit_tunnel_rcv, __ip6_tnl_rcv: since Linux 5.14.
        | (ARPHRD_TUNNEL, Some("ipip"))
        | (ARPHRD_SIT, Some("sit"))
        | (ARPHRD_TUNNEL6, Some("ip6tnl"))
        | (ARPHRD_IP6GRE, Some("ip6gre")) => Framing::Readable(Link::Ip),

        // __ipgre_rcv: with ipgre_header_ops, set by ipgre_tunnel_init for tunnels without a
        // unicast remote, the MAC header is the outer IP header.
        (ARPHRD_IPGRE, Some("gre")) if interface.point_to_point => Framing::Readable(Link::Ip),
        (ARPHRD_IPGRE, Some("gre")) => Framing::Unreadable(
            "packets of a GRE tunnel without one remote address begin with their outer IP \
             header, which a guard would take for the packet: give the tunnel a `remote`, or \
             rely on the socket guard"
                .to_owned(),
        ),
        // xfrm4_remove_tunnel_encap and its like move the carrier's MAC header in front of the
        // inner packet (skb_mac_header_rebuild): Ethernet today, nothing tomorrow.
        (_, Some(kind @ ("xfrm" | "vti" | "vti6"))) => Framing::Unreadable(format!(
            "packets of an IPsec interface (kind {kind}) begin with whatever header their carrier \
             had: no guard can tell; rely on the socket guard"
        )),

        // can_create_echo_skb and the CAN drivers set ETH_P_CAN*; nlmon and vsockmon only ever
        // send, to taps; ieee80211_rx_monitor marks frames PACKET_OTHERHOST, ETH_P_802_2.
        (
            ARPHRD_CAN
            | ARPHRD_NETLINK
            | ARPHRD_VSOCKMON
            | ARPHRD_IEEE80211
            | ARPHRD_IEEE80211_PRISM
            | ARPHRD_IEEE80211_RADIOTAP,
            _,
        ) => Framing::NeverIp,

        (link_type, kind) => Framing::Unreadable(format!(
            "it is not known what packets of {}{} begin with: rely on the socket guard",
            describe(link_type),
            kind.map(|kind| format!(" and kind {kind}")).unwrap_or_default(),
        )),
    }
}

/// Returns whether the sender of a packet chooses the protocol of a link without Ethernet, such as
/// that of a VLAN tag: the header of GRE (`__ipgre_rcv`, `__ip6_tnl_rcv`), the inner
/// protocol of geneve (`geneve_rx`), and packet information of tun (`tun_get_user`). Other drivers
/// look at the first byte of the packet, or know IPv4, IPv6 and MPLS alone.
pub(super) fn sender_chooses_protocol(interface: &Interface) -> bool {
    if interface.link_type == ARPHRD_ETHER {
        return false;
    }
    match interface.kind.as_deref() {
        Some("gre" | "ip6gre" | "geneve") => true,
        Some("tun") => interface.packet_info,
        _ => false,
    }
}

/// Returns the framing of an interface with the link type of Ethernet.
fn ethernet_framing(interface: &Interface) -> Framing {
    let name = &interface.name;
    match interface.kind.as_deref() {
        // vrf_ip_rcv changes skb->dev within IP's receive path, behind both hooks. On the VRF
        // itself hooks see only packets from this host to this host (vrf_local_xmit).
        Some("vrf") => Framing::Unreadable(format!(
            "a VRF takes its members' packets over behind every hook: its members are guarded \
             instead; if that is enough, say so with `side = \"inside\"` in [interfaces.{name}]"
        )),
        // vlan_do_receive puts the tag back into the bytes before the VLAN device's hooks.
        Some("vlan") if interface.keeps_tag => Framing::Unreadable(format!(
            "with `reorder_hdr off` its frames show their VLAN tag, and a guard passes tagged \
             frames on: run `ip link set dev {name} type vlan reorder_hdr on`"
        )),
        _ => Framing::Readable(Link::Ethernet),
    }
}

/// Returns a link type in words if hosts are known to have the type.
fn describe(link_type: u16) -> String {
    let words = match link_type {
        24 => "IEEE 1394",
        32 => "InfiniBand",
        256..=259 => "SLIP",
        ARPHRD_PPP => "PPP",
        513 => "HDLC",
        ARPHRD_RAWIP => "raw IP",
        774 => "FDDI",
        779 => "PIM register",
        804 | 805 => "IEEE 802.15.4",
        825 => "6LoWPAN",
        ARPHRD_NONE => "none",
        _ => return format!("link type {link_type} (linux/if_arp.h)"),
    };
    format!("link type {link_type} ({words})")
}
