//! The UDP ports that rule 6 leaves alone: client ports, and the ports of tunnels.

use std::{collections::BTreeSet, ops::RangeInclusive};

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

/// Returns the ports of this host's tunnels: WireGuard, vxlan, geneve, bareudp, fou, l2tp. The
/// kernel's socket of a tunnel is unconnected, and takes datagrams before the socket guard.
///
/// Ports that the kernel does not tell are left out.
pub(super) async fn tunnel_ports(interfaces: impl Iterator<Item = &Interface>) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for interface in interfaces {
        ports.extend(interface.udp_port);
        if interface.is_kind("wireguard") {
            ports.extend(listen_port(interface.index).await.ok().flatten());
        }
    }
    for family in [FOU, L2TP] {
        ports.extend(listed(&family).await.unwrap_or_default());
    }
    ports
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
    fn root_tunnels_are_found() {
        use crate::netlink::tests::namespace::{in_new_namespace, run};
        in_new_namespace(|| {
            run("ip", "link add name v0 type vxlan id 7 dstport 4790");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let ports = runtime.unwrap().block_on(async {
                let interfaces = crate::interfaces::list().await.unwrap();
                tunnel_ports(interfaces.iter()).await
            });
            assert_eq!(ports, BTreeSet::from([4790]));
        });
    }
}
