//! A bridge of the host with an uplink to the LAN and a guest, as a host of virtual machines has.
//!
//! ```text
//!   lan up0 192.168.85.2 ────── up0 ┐
//!           fd00:85::2              ├ br0 192.168.85.1 (host)
//!   guest eth0 192.168.85.50 ─ vnet0 ┘     fd00:85::1
//!              fd00:85::50
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::frames::Mac;
use super::netns::Netns;
use super::switch::Datapath;
use super::topology::{CT, HOST_LAN, LAN, Lab};

/// The host's address on the bridge.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 85, 1);
/// The host's IPv6 address on the bridge.
pub const HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x85, 0, 0, 0, 0, 0, 1);
/// The neighbour behind the uplink.
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 168, 85, 2);
/// The neighbour's IPv6 address.
pub const NEIGHBOUR6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x85, 0, 0, 0, 0, 0, 2);
/// The guest.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(192, 168, 85, 50);
/// The guest's IPv6 address.
pub const GUEST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x85, 0, 0, 0, 0, 0, 0x50);
/// A source of raw frames behind the uplink, without a stack.
pub const GHOST: Ipv4Addr = Ipv4Addr::new(192, 168, 85, 66);
/// A container's IPv6 address, once [`containers_over_ipv6`] was called.
pub const CT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x88, 0, 0, 0, 0, 0, 2);

/// The bridge's own MAC address.
pub const BRIDGE_MAC: Mac = [2, 0, 0, 0, 0x85, 1];
/// The MAC address of the neighbour behind the uplink, and of the ghost.
pub const NEIGHBOUR_MAC: Mac = [2, 0, 0, 0, 0x85, 2];
/// The MAC address of the host's own end of the guest's wire.
pub const PORT_MAC: Mac = [2, 0, 0, 0, 0x85, 5];
/// The MAC address of the guest.
pub const GUEST_MAC: Mac = [2, 0, 0, 0, 0x85, 0x50];

/// The registry's line for a bridge whose members are all veths.
pub const OUTSIDE: &str = "[interfaces.br0]\nside = \"outside\"\n";

/// The device that connects the bridge with the LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uplink {
    /// A vxlan device, which is no guest's port: the bridge is outside by itself.
    Vxlan,
    /// A veth, which native XDP takes for a NIC: the registry has to say [`OUTSIDE`].
    Veth,
}

/// The bridge, with the guest's namespace.
#[derive(Debug)]
pub struct Bridge {
    /// The guest.
    pub guest: Netns,
}

impl Bridge {
    /// Makes br0 with both members, without netfilter on the members.
    pub fn new(lab: &Lab, uplink: Uplink) -> Result<Self> {
        Self::with(lab, uplink, "")
    }

    /// Makes br0 with these options of `ip link`.
    pub fn with(lab: &Lab, uplink: Uplink, options: &str) -> Result<Self> {
        let guest = wires(lab, uplink)?;
        lab.host.ip(&format!(
            "link add br0 address 02:00:00:00:85:01 type bridge forward_delay 0 {options}
             link set up0 master br0
             link set vnet0 master br0"
        ))?;
        Self::addressed(lab, guest)
    }

    /// Makes br0 the own port of an Open vSwitch datapath in place of a bridge.
    pub fn switched(lab: &Lab, uplink: Uplink) -> Result<Self> {
        let guest = wires(lab, uplink)?;
        let others = [("up0", NEIGHBOUR_MAC), ("vnet0", GUEST_MAC)];
        Datapath::new(&lab.host)?.connect(("br0", BRIDGE_MAC), others)?;
        lab.host.ip("link set br0 address 02:00:00:00:85:01")?;
        Self::addressed(lab, guest)
    }

    fn addressed(lab: &Lab, guest: Netns) -> Result<Self> {
        // A link-local address that comes after `up` would make `status` say degraded.
        lab.host.ip(&format!(
            "link set br0 addrgenmode none
             link set up0 addrgenmode none
             link set vnet0 addrgenmode none
             addr add {HOST}/24 dev br0
             addr add {HOST6}/64 dev br0 nodad
             link set up0 up
             link set vnet0 up
             link set br0 up
             neigh replace {GHOST} lladdr 02:00:00:00:85:02 dev br0 nud permanent"
        ))?;
        for (namespace, device, v4, v6) in [
            (&lab.lan, "up0", NEIGHBOUR, NEIGHBOUR6),
            (&guest, "eth0", GUEST, GUEST6),
        ] {
            namespace.ip(&format!(
                "link set lo up
                 addr add {v4}/24 dev {device}
                 addr add {v6}/64 dev {device} nodad
                 link set {device} up"
            ))?;
        }
        netfilter_on_members(lab, false)?;
        Ok(Self { guest })
    }
}

/// Makes both wires of the bridge, and the guest.
fn wires(lab: &Lab, uplink: Uplink) -> Result<Netns> {
    let guest = Netns::new("guest")?;
    guest.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
    let lan = lab.lan.path();
    match uplink {
        Uplink::Vxlan => {
            let device = "type vxlan id 85 dstport 4789";
            let ends = [(&lab.host, HOST_LAN, LAN), (&lab.lan, LAN, HOST_LAN)];
            for (namespace, local, remote) in ends {
                namespace.ip(&format!(
                    "link add up0 {device} local {local} remote {remote}"
                ))?;
            }
            lab.lan
                .ip("link set up0 address 02:00:00:00:85:02 mtu 1400")?;
        }
        Uplink::Veth => lab.host.ip(&format!(
            "link add up0 type veth peer name up0 address 02:00:00:00:85:02 netns {lan}"
        ))?,
    }
    lab.host.ip(&format!(
        "link add vnet0 address 02:00:00:00:85:05 type veth peer name eth0 address \
         02:00:00:00:85:50 netns {}",
        guest.path()
    ))?;
    Ok(guest)
}

/// Switches netfilter on or off for the members of all bridges of the host, as Docker does; a
/// kernel without br_netfilter has nothing to switch off.
pub fn netfilter_on_members(lab: &Lab, on: bool) -> Result<()> {
    let here = || std::path::Path::new("/proc/sys/net/bridge").exists();
    if !on && !lab.host.run(here)? {
        return Ok(());
    }
    for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
        let value = if on { "1" } else { "0" };
        lab.host.sysctl(&format!("net/bridge/{setting}"), value)?;
    }
    Ok(())
}

/// Publishes a port of the host's address on the bridge: DNAT to port 80 of the lab's container.
pub fn publish(lab: &Lab, port: u16) -> Result<()> {
    publish_where(lab, &format!("ip daddr {HOST} tcp dport {port}"))
}

/// Redirects packets that match to port 80 of the lab's container.
pub fn publish_where(lab: &Lab, matching: &str) -> Result<()> {
    lab.host.nft(&format!(
        "table ip published {{
           chain prerouting {{
             type nat hook prerouting priority -100; policy accept;
             {matching} dnat to {CT}:80
           }}
         }}"
    ))
}

/// Gives the first container an IPv6 address behind the host, and publishes a port there.
pub fn publish_over_ipv6(lab: &Lab, port: u16) -> Result<()> {
    containers_over_ipv6(lab)?;
    lab.host.nft(&format!(
        "table ip6 published {{
           chain prerouting {{
             type nat hook prerouting priority -100; policy accept;
             ip6 daddr {HOST6} tcp dport {port} dnat to [{CT6}]:80
           }}
         }}"
    ))
}

/// Gives the container network a prefix of IPv6, and forwards IPv6.
pub fn containers_over_ipv6(lab: &Lab) -> Result<()> {
    lab.host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    lab.host.ip("addr add fd00:88::1/64 dev podman0 nodad")?;
    lab.ct.ip(&format!(
        "addr add {CT6}/64 dev eth0 nodad
         route add ::/0 via fd00:88::1"
    ))
}
