//! Features of the running kernel, found by trying.
//!
//! Versions are never compared: distributions take features back, and build without them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};

use super::bpf::{self, Hook};
use super::broute;
use super::netns::Netns;
use super::silent;
use super::switch::Datapath;
use super::transport::Transport;

/// linux/bpf.h: the number of the helper bpf_get_netns_cookie.
const NETNS_COOKIE: i32 = 122;

/// A feature that some kernel lines of `cargo xtask vm` lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// tc's ingress hook of Linux 6.6; wire guards of software devices are XDP generic without it.
    Tcx,
    /// UDP-Lite sockets, retired in Linux 7.1.
    UdpLite,
    /// Multipath TCP sockets.
    Mptcp,
    /// SCTP sockets (module sctp).
    Sctp,
    /// WireGuard devices (module wireguard).
    WireGuard,
    /// VLAN devices (module 8021q).
    Vlan,
    /// Bonds (module bonding).
    Bond,
    /// VRF devices (module vrf).
    Vrf,
    /// Macvlan devices (module macvlan).
    Macvlan,
    /// Netfilter on the members of bridges (module br_netfilter).
    BridgeNetfilter,
    /// GRE tunnels (module ip_gre).
    Gre,
    /// Rules that make a bridge route a frame (module nft_meta_bridge, Linux 6.4).
    Broute,
    /// GRE tunnels over IPv6 (module ip6_gre).
    Ip6Gre,
    /// Geneve tunnels without an Ethernet header (module geneve, Linux 5.18).
    Geneve,
    /// Teams of interfaces (module team).
    Team,
    /// Datapaths of Open vSwitch (module openvswitch).
    OpenVSwitch,
    /// Netkit devices (Linux 6.7), which legitimate traffic alone needs.
    Netkit,
    /// Dummy devices (module dummy), which legitimate traffic alone needs.
    Dummy,
    /// Routes for packets with MPLS labels (module mpls_router).
    Mpls,
    /// bpf_get_netns_cookie at cgroup_skb, of Linux 6.15: drops of the socket guard make no events
    /// without it.
    CookieAtSockets,
    /// File systems in user space (module fuse), and the device of their servers.
    Fuse,
}

impl Feature {
    /// Every feature that an attack may need; the helpers of the enforcer's programs are none of
    /// these.
    pub const ALL: [Self; 16] = [
        Self::Tcx,
        Self::UdpLite,
        Self::Mptcp,
        Self::Sctp,
        Self::WireGuard,
        Self::Vlan,
        Self::Bond,
        Self::Vrf,
        Self::Macvlan,
        Self::BridgeNetfilter,
        Self::Gre,
        Self::Broute,
        Self::Ip6Gre,
        Self::Geneve,
        Self::Team,
        Self::OpenVSwitch,
    ];

    /// The features that every guest's kernel must have, whatever its line; the modules are ours to
    /// load.
    pub const OF_EVERY_GUEST: [Self; 15] = [
        Self::Mptcp,
        Self::Sctp,
        Self::WireGuard,
        Self::Vlan,
        Self::Bond,
        Self::Vrf,
        Self::Macvlan,
        Self::BridgeNetfilter,
        Self::Dummy,
        Self::Gre,
        Self::Ip6Gre,
        Self::Geneve,
        Self::Team,
        Self::OpenVSwitch,
        Self::Mpls,
    ];

    /// The name in the message of a scenario that is left out.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::UdpLite => "UDP-Lite",
            Self::Mptcp => "MPTCP",
            Self::Sctp => "SCTP",
            Self::WireGuard => "WireGuard",
            Self::Vlan => "VLAN devices",
            Self::Bond => "bonds",
            Self::Vrf => "VRF devices",
            Self::Macvlan => "macvlan devices",
            Self::BridgeNetfilter => "br_netfilter",
            Self::Netkit => "netkit devices",
            Self::Dummy => "dummy devices",
            Self::Gre => "GRE tunnels",
            Self::Broute => "rules for brouters",
            Self::Ip6Gre => "GRE tunnels over IPv6",
            Self::Geneve => "geneve tunnels without an Ethernet header",
            Self::Team => "teams",
            Self::OpenVSwitch => "Open vSwitch",
            Self::Mpls => "MPLS routes",
            Self::CookieAtSockets => "bpf_get_netns_cookie at cgroup_skb",
            Self::Fuse => "fuse",
        }
    }

    /// Whether the running kernel has the feature; tried once, then remembered.
    pub fn is_here(self) -> bool {
        const COUNT: usize = Feature::Fuse as usize + 1;
        static TRIED: Mutex<[Option<bool>; COUNT]> = Mutex::new([None; COUNT]);
        // Discriminants count from 0 in the order of ALL.
        let mut tried = TRIED.lock().unwrap_or_else(PoisonError::into_inner);
        *tried[self as usize].get_or_insert_with(|| self.probe())
    }

    /// Insists on these features; a missing module was not loaded or not found by the guest.
    pub fn expect(wanted: &[Self]) -> Result<()> {
        let missing: Vec<_> = wanted
            .iter()
            .filter(|feature| !feature.is_here())
            .map(|feature| feature.name())
            .collect();
        ensure!(
            missing.is_empty(),
            "every kernel of ours has these, but this one lacks {}: its scenarios would be left out",
            missing.join(", ")
        );
        Ok(())
    }

    fn probe(self) -> bool {
        match self {
            // The loopback interface is there in every namespace, and a query changes nothing.
            Self::Tcx => bpf::programs_on(1, Hook::Tcx).is_ok(),
            Self::UdpLite => has_sockets(Transport::UdpLite),
            Self::Mptcp => has_sockets(Transport::Mptcp),
            Self::Sctp => has_sockets(Transport::Sctp),
            Self::WireGuard => takes("link add probe0 type wireguard"),
            Self::Vlan => takes(
                "link add probe0 type veth peer name probe1\n\
                 link add link probe0 name probe2 type vlan id 5",
            ),
            Self::Bond => takes("link add probe0 type bond"),
            Self::Vrf => takes("link add probe0 type vrf table 77"),
            Self::Macvlan => takes(
                "link add probe0 type veth peer name probe1\n\
                 link add link probe0 name probe2 type macvlan",
            ),
            Self::BridgeNetfilter => has("/proc/sys/net/bridge/bridge-nf-call-iptables"),
            Self::Netkit => takes("link add probe0 type netkit"),
            Self::Dummy => takes("link add probe0 type dummy"),
            Self::Gre => takes("link add probe0 type gre local 192.0.2.1 remote 192.0.2.2"),
            Self::Ip6Gre => takes("link add probe0 type ip6gre local ::1 remote ::2"),
            Self::Geneve => {
                takes("link add probe0 type geneve id 1 remote 192.0.2.2 innerprotoinherit")
            }
            Self::Team => takes("link add probe0 type team"),
            Self::OpenVSwitch => Netns::new("probe").is_ok_and(|it| Datapath::new(&it).is_ok()),
            Self::Mpls => has("/proc/sys/net/mpls/platform_labels"),
            Self::Broute => {
                Netns::new("probe").is_ok_and(|probe| broute::route_all(&probe, "lo").is_ok())
            }
            Self::CookieAtSockets => bpf::may_call(Hook::Cgroup, NETNS_COOKIE),
            Self::Fuse => silent::is_possible(),
        }
    }
}

impl Transport {
    /// The feature that such sockets need, if any.
    pub fn needs(self) -> Option<Feature> {
        match self {
            Self::Tcp | Self::Udp => None,
            Self::Mptcp => Some(Feature::Mptcp),
            Self::UdpLite => Some(Feature::UdpLite),
            Self::Sctp => Some(Feature::Sctp),
        }
    }
}

/// The hook that the wire guard of a software device gets here: tcx before XDP in the stack.
pub fn software_hook() -> &'static str {
    if Feature::Tcx.is_here() {
        "tcx"
    } else {
        "xdp-generic"
    }
}

fn has_sockets(transport: Transport) -> bool {
    transport
        .socket(SocketAddr::from(([0, 0, 0, 0], 0)))
        .is_ok()
}

/// Whether a fresh namespace has a setting.
fn has(setting: &str) -> bool {
    Netns::new("probe")
        .and_then(|probe| probe.run(|| Path::new(setting).exists()))
        .unwrap_or(false)
}

/// Whether a fresh namespace takes these links.
fn takes(batch: &str) -> bool {
    Netns::new("probe").is_ok_and(|probe| probe.ip(batch).is_ok())
}

#[cfg(test)]
mod tests {
    use super::Feature;

    #[test]
    fn every_feature_has_a_place_of_its_own() {
        for (place, feature) in Feature::ALL.into_iter().enumerate() {
            assert_eq!(feature as usize, place);
        }
    }
}
