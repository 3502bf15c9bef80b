//! The UDP ports that rule 6 leaves alone: client ports, and the ports of tunnels.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use anyhow::Result;

use crate::{
    interfaces::Interface,
    netlink::{Protocol, Request, Socket, each_attribute, generic},
    procfs::sysctl,
    wireguard::listen_port,
};

/// Linux's default for `net.ipv4.ip_local_port_range` (Documentation/networking/ip-sysctl.rst).
const DEFAULT_RANGE: RangeInclusive<u16> = 32_768..=60_999;
/// Dynamic ports (RFC 6335, 6): resolvers such as hickory bind to a random one, whatever the
/// kernel's range.
const DYNAMIC: RangeInclusive<u16> = 49_152..=65_535;
/// The ports at which clients and peers of well-known protocols wait, unconnected: DHCP, NTP, IKE,
/// DHCPv6, IKE behind NAT, mDNS, LLMNR.
const CLIENTS: [u16; 7] = [68, 123, 500, 546, 4500, 5353, 5355];

/// linux/fou.h.
const FOU: Family = Family {
    name: "fou",
    version: 1,
    get: 3,
    port: 1,
    order: u16::from_be_bytes,
};
/// linux/l2tp.h.
const L2TP: Family = Family {
    name: "l2tp",
    version: 1,
    get: 4,
    port: 26,
    order: u16::from_ne_bytes,
};

/// A family of generic netlink that lists tunnels.
struct Family {
    name: &'static str,
    version: u8,
    /// The command that lists all tunnels.
    get: u8,
    /// The attribute with the port of this host.
    port: u16,
    /// The byte order of the attribute.
    order: fn([u8; 2]) -> u16,
}

/// Returns the ports of clients on this host.
pub(super) fn client_ports() -> impl Iterator<Item = u16> {
    let range = sysctl::local_port_range().unwrap_or(DEFAULT_RANGE);
    CLIENTS.into_iter().chain(DYNAMIC).chain(range)
}

/// The UDP ports of this host's tunnels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tunnels {
    /// The ports of tunnels whose changes rtnetlink tells, and of fou and l2tp.
    ports: BTreeSet<u16>,
    /// The ports of WireGuard.
    pub(super) wireguard: ListenPorts,
}

impl Tunnels {
    /// Returns the ports of this host's tunnels: WireGuard, vxlan, geneve, bareudp, fou, l2tp. The
    /// kernel's socket of a tunnel is unconnected, and takes datagrams before the socket guard.
    ///
    /// Ports that the kernel does not tell are left out.
    pub(super) async fn of(interfaces: impl Iterator<Item = &Interface>) -> Self {
        let mut ports = BTreeSet::new();
        let mut wireguard = ListenPorts::default();
        for interface in interfaces {
            ports.extend(interface.udp_port);
            if interface.is_kind("wireguard") {
                wireguard.0.insert(interface.index, None);
            }
        }
        for family in [FOU, L2TP] {
            ports.extend(listed(&family).await.unwrap_or_default());
        }
        Self {
            ports,
            wireguard: wireguard.asked().await,
        }
    }

    /// Returns every port.
    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        let wireguard = self.wireguard.0.values().copied().flatten();
        self.ports.iter().copied().chain(wireguard)
    }
}

/// The listen ports of the kernel's WireGuard devices by ifindex, `None` for a device without a
/// port.
///
/// A change of the port comes without a notice of rtnetlink (`wg_set_device` in
/// drivers/net/wireguard/netlink.c).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListenPorts(BTreeMap<u32, Option<u16>>);

impl ListenPorts {
    /// Returns whether there is no device.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks the same devices again. A device that gives no answer, such as one that has gone, keeps
    /// its port: rtnetlink tells of that.
    pub(super) async fn asked(&self) -> Self {
        let mut next = self.clone();
        for (ifindex, port) in &mut next.0 {
            if let Ok(answer) = listen_port(*ifindex).await {
                *port = answer;
            }
        }
        next
    }

    /// The port of one device, for tests.
    #[cfg(test)]
    pub(super) fn of(ifindex: u32, port: Option<u16>) -> Self {
        Self(BTreeMap::from([(ifindex, port)]))
    }
}

/// Returns the ports of a family's tunnels; none where the kernel lacks the family.
async fn listed(family: &Family) -> Result<Vec<u16>> {
    let mut socket = Socket::open(Protocol::Generic)?;
    let Some(kind) = generic::family(&mut socket, family.name).await? else {
        return Ok(Vec::new());
    };
    let request = Request {
        kind,
        body: &generic::header(family.get, family.version),
        reply: kind,
    };
    let dump = socket
        .dump(request, |payload| port(payload, family))
        .await?;
    Ok(dump.entries)
}

/// Returns the port in a message about a tunnel.
fn port(payload: &[u8], family: &Family) -> Result<Option<u16>> {
    let mut port = None;
    each_attribute(generic::split(payload)?.1, |kind, value| {
        if kind == family.port {
            port = value.first_chunk().copied().map(family.order);
        }
        Ok(())
    })?;
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attribute: u16, value: [u8; 2]) -> Vec<u8> {
        let mut message = generic::header(3, 1).to_vec();
        message.extend(6u16.to_ne_bytes());
        message.extend(attribute.to_ne_bytes());
        message.extend(value);
        message.extend([0; 2]);
        message
    }

    #[test]
    fn a_port_is_read_in_the_order_of_its_family() {
        let fou = message(1, 5555u16.to_be_bytes());
        assert_eq!(port(&fou, &FOU).unwrap(), Some(5555));
        let l2tp = message(26, 1701u16.to_ne_bytes());
        assert_eq!(port(&l2tp, &L2TP).unwrap(), Some(1701));
        assert_eq!(port(&l2tp, &FOU).unwrap(), None);
        assert!(port(&[0], &FOU).is_err());
    }

    #[test]
    fn clients_have_the_kernels_range_and_the_dynamic_ports() {
        let ports: BTreeSet<u16> = client_ports().collect();
        for port in [68, 123, 500, 546, 4500, 5353, 5355, 49_152, 65_535] {
            assert!(ports.contains(&port), "{port}");
        }
        assert!(!ports.contains(&53) && !ports.contains(&1900));
    }

    #[test]
    fn the_ports_of_wireguard_are_among_those_of_tunnels() {
        let tunnels = |port| Tunnels {
            ports: BTreeSet::from([4789]),
            wireguard: ListenPorts::of(5, port),
        };
        assert!(tunnels(Some(51_820)).iter().eq([4789, 51_820]));
        assert!(tunnels(None).iter().eq([4789]), "a device that is down");
        assert!(!tunnels(None).wireguard.is_empty(), "it may come up");
    }

    #[test]
    fn root_tunnels_are_found() {
        use crate::netlink::tests::namespace::{in_new_namespace, run};
        in_new_namespace(|| {
            run("ip", "link add name v0 type vxlan id 7 dstport 4790");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let tunnels = runtime.unwrap().block_on(async {
                let interfaces = crate::interfaces::list().await.unwrap();
                Tunnels::of(interfaces.iter()).await
            });
            assert!(tunnels.iter().eq([4790]), "{tunnels:?}");
            assert!(tunnels.wireguard.is_empty());
        });
    }
}
