//! The namespace of the rig: interfaces with fixed indices, and two routes.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use super::packet::OWN_MAC;
use crate::lab::Netns;

/// The interface on which a frame arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// The loopback interface.
    Lo,
    /// An interface that the policy does not mention.
    Eth0,
    /// An interface with peers.
    Wg0,
    /// An interface with a peer, whose ifindex leads to wg0's place in the map.
    Wg1,
    /// An interface on which every address is a peer.
    Any0,
    /// A forwarding interface.
    Fwd0,
    /// The VLAN parent of wg0.
    Par0,
    /// An interface with macvlan children.
    Mac0,
    /// The bridge of a container network.
    Pod0,
    /// A member of wg0, whose guard looks through VLAN tags.
    Mem0,
    /// An interface whose guard judges forwarded packets too.
    All0,
}

/// The subnet of forwarded packets, on a forwarding interface.
pub(super) const FORWARDED_V4: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 51, 100, 0), 24);
/// The IPv6 subnet of forwarded packets.
pub(super) const FORWARDED_V6: (Ipv6Addr, u8) =
    (Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0), 64);
/// An address of the rig itself.
pub(crate) const LOCAL_V4: &str = "192.0.2.1";
/// An IPv6 address of the rig itself.
pub(super) const LOCAL_V6: &str = "2001:db8:1::1";

/// The local table: the addresses of the rig, the bridge's own, and another interface's address
/// within the bridge's subnet.
pub(super) const LOCAL: [(&str, On); 6] = [
    ("192.0.2.1/32", On::Fwd0),
    ("2001:db8:1::1/128", On::Fwd0),
    ("10.88.0.1/32", On::Pod0),
    ("fd00:88::1/128", On::Pod0),
    ("10.88.0.7/32", On::Fwd0),
    ("fd00:88::7/128", On::Fwd0),
];

impl On {
    pub(super) const ALL: [Self; 11] = [
        Self::Lo,
        Self::Eth0,
        Self::Wg0,
        Self::Wg1,
        Self::Any0,
        Self::Fwd0,
        Self::Par0,
        Self::Mac0,
        Self::Pod0,
        Self::Mem0,
        Self::All0,
    ];

    /// The name in the rig.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Lo => "lo",
            Self::Eth0 => "eth0",
            Self::Wg0 => "wg0",
            Self::Wg1 => "wg1",
            Self::Any0 => "any0",
            Self::Fwd0 => "fwd0",
            Self::Par0 => "par0",
            Self::Mac0 => "mac0",
            Self::Pod0 => "podman0",
            Self::Mem0 => "mem0",
            Self::All0 => "all0",
        }
    }

    /// The ifindex in the rig.
    pub(crate) const fn ifindex(self) -> u32 {
        match self {
            Self::Lo => 1,
            Self::Eth0 => 10,
            Self::Wg0 => 11,
            // The map of interfaces has 1,024 places in each bank.
            Self::Wg1 => 11 + 1024,
            // The next place is taken by then.
            Self::Any0 => 12,
            Self::Fwd0 => 14,
            Self::Par0 => 16,
            Self::Mac0 => 17,
            Self::Pod0 => 18,
            Self::Mem0 => 19,
            Self::All0 => 20,
        }
    }
}

/// Makes the namespace.
pub(crate) fn build() -> Result<Netns> {
    let namespace = Netns::new("test-run")?;
    let mac = OWN_MAC.map(|byte| format!("{byte:02x}")).join(":");
    let mut batch = String::from("link set lo up\n");
    for on in On::ALL.into_iter().filter(|on| *on != On::Lo) {
        let (name, index) = (on.name(), on.ifindex());
        writeln!(
            batch,
            "link add {name} index {index} address {mac} type veth peer name {name}-far
             link set {name} up
             link set {name}-far up"
        )?;
    }
    let (v4, v6) = (FORWARDED_V4, FORWARDED_V6);
    writeln!(
        batch,
        "addr add {LOCAL_V4}/32 dev fwd0
         addr add {LOCAL_V6}/128 dev fwd0 nodad
         route add {}/{} dev eth0
         route add {}/{} dev eth0",
        v4.0, v4.1, v6.0, v6.1
    )?;
    namespace.ip(&batch).context("failed to wire up the rig")?;
    set_forwarding(&namespace, true)?;
    Ok(namespace)
}

/// Turns forwarding of the rig on or off.
pub(super) fn set_forwarding(namespace: &Netns, on: bool) -> Result<()> {
    let value = if on { "1" } else { "0" };
    namespace.sysctl("net/ipv4/ip_forward", value)?;
    namespace.sysctl("net/ipv6/conf/all/forwarding", value)
}
