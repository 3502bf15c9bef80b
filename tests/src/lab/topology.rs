//! The lab: a guarded host and everything that may want to reach the host.
//!
//! ```text
//!   lan 192.168.77.2 ──────── eth0 192.168.77.1 ┐
//!       fd00:77::2                 fd00:77::1   │
//!       .50 ::50 (ghost)                        │ host ── podman0 10.88.0.1 ──┬── ct  10.88.0.2
//!   peer 10.10.0.5, .99 ────── wg0 10.10.0.2    │       (a bridge)            └── ct2 10.88.0.3
//!        fd00:10::5, ::99          fd00:10::2   ┘
//! ```
//!
//! The ghost is an address without a stack: the host has a permanent neighbour entry for the ghost,
//! so answers to raw frames arrive at the neighbour, whose kernel ignores them. wg0 is a veth end
//! with a familiar name; [`super::WireGuard`] puts a real device in its place.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::cleanup::{self, Directory};
use super::frames::Mac;
use super::netns::Netns;

/// The host's address on the LAN.
pub const HOST_LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The host's IPv6 address on the LAN.
pub const HOST_LAN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
/// The LAN neighbour.
pub const LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// The LAN neighbour's IPv6 address.
pub const LAN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 2);
/// The source of raw frames on the LAN.
pub const GHOST: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 50);
/// The IPv6 source of raw frames on the LAN.
pub const GHOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0x50);
/// The host's address on the trusted link.
pub const HOST_WG: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
/// The host's IPv6 address on the trusted link.
pub const HOST_WG6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 2);
/// The address on the trusted link that some services allow.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 5);
/// The peer's IPv6 address.
pub const PEER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 5);
/// An address on the trusted link that no service allows.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 99);
/// The stranger's IPv6 address.
pub const STRANGER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 0x99);
/// The host's address on the container bridge.
pub const HOST_BRIDGE: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
/// The container.
pub const CT: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
/// A second container on the same bridge.
pub const CT2: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 3);

/// The MAC address of the host's eth0.
pub const HOST_MAC: Mac = [2, 0, 0, 0, 0x77, 1];
/// The MAC address of the host's wg0, as long as wg0 is a veth end.
pub const HOST_WG_MAC: Mac = [2, 0, 0, 0, 0x10, 2];
/// The MAC address of the neighbour's eth0, and of the ghost.
pub const LAN_MAC: Mac = [2, 0, 0, 0, 0x77, 2];

/// Five namespaces, wired up, and a scenario's places outside them.
#[derive(Debug)]
pub struct Lab {
    /// The guarded host.
    pub host: Netns,
    /// A neighbour on the host's LAN.
    pub lan: Netns,
    /// The far end of the trusted link.
    pub peer: Netns,
    /// A container-like namespace on the host's bridge.
    pub ct: Netns,
    /// Another such container.
    pub ct2: Netns,
    number: u32,
    pins: Directory,
    scratch: Directory,
}

impl Lab {
    /// Makes a lab that shares nothing with another lab.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        cleanup::ensure_bpffs()?;
        let lab = Self {
            host: Netns::new("host")?,
            lan: Netns::new("lan")?,
            peer: Netns::new("peer")?,
            ct: Netns::new("ct")?,
            ct2: Netns::new("ct2")?,
            number,
            pins: Directory::create(Path::new(cleanup::BPFFS), number)?,
            scratch: Directory::create(&std::env::temp_dir(), number)?,
        };
        lab.prepare_sysctls()?;
        lab.wire_up().context("failed to wire up the lab")?;
        Ok(lab)
    }

    /// The pin directory, made and removed by the enforcer itself.
    pub fn pin_dir(&self) -> PathBuf {
        self.pins.path().join("pins")
    }

    /// A scratch directory on an ordinary file system.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// A cgroup of this lab's own.
    pub fn cgroup(&self) -> Result<Directory> {
        let root = cleanup::cgroup2_root().context("no cgroup2 file system is mounted")?;
        Directory::create(&root, self.number)
    }

    /// A cgroup of this lab's own that limits the number of tasks.
    pub fn pids_cgroup(&self) -> Result<Directory> {
        let root = cleanup::pids_root().context("no cgroup limits tasks")?;
        // cgroup v1 has no such file, and its hierarchy has the controller.
        let control = root.join("cgroup.subtree_control");
        if control.exists() {
            std::fs::write(control, "+pids").context("no cgroup limits tasks")?;
        }
        Directory::create(&root, self.number)
    }

    /// Lets the neighbour send to an address by way of the host, as anyone on the segment can.
    pub fn route_from_lan(&self, destination: Ipv4Addr) -> Result<()> {
        self.lan
            .ip(&format!("route replace {destination}/32 via {HOST_LAN}"))
    }

    /// Does as netavark does for its bridges: answers of a container reach a client on 127.0.0.1.
    pub fn publish_like_netavark(&self, host_port: u16, container_port: u16) -> Result<()> {
        self.host
            .sysctl("net/ipv4/conf/podman0/route_localnet", "1")?;
        self.host.nft(&format!(
            "table inet netavark {{
               chain prerouting {{
                 type nat hook prerouting priority -100; policy accept;
                 fib daddr type local tcp dport {host_port} dnat ip to {CT}:{container_port}
               }}
               chain output {{
                 type nat hook output priority -100; policy accept;
                 fib daddr type local tcp dport {host_port} dnat ip to {CT}:{container_port}
               }}
               chain postrouting {{
                 type nat hook postrouting priority 100; policy accept;
                 ip saddr 127.0.0.0/8 oifname podman0 masquerade
                 ip saddr 10.88.0.0/24 ip daddr != 10.88.0.0/24 masquerade
               }}
             }}"
        ))
    }

    fn prepare_sysctls(&self) -> Result<()> {
        for namespace in [&self.host, &self.lan, &self.peer, &self.ct, &self.ct2] {
            // Addresses are of use at once; asymmetric paths are part of many attacks.
            namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
            namespace.sysctl("net/ipv4/conf/default/rp_filter", "0")?;
            namespace.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
        }
        self.host.sysctl("net/ipv4/ip_forward", "1")?;
        // Attempt after attempt from the same few addresses is no flood.
        self.host.sysctl("net/ipv4/icmp_ratelimit", "0")
    }

    /// Makes wg0 again at both ends, with another ifindex, as `wg-quick down` and `up` would.
    pub fn remake_wg0(&self) -> Result<()> {
        self.host.ip("link del wg0")?;
        self.trusted_link()
    }

    fn trusted_link(&self) -> Result<()> {
        let (peer, wg_mac) = (self.peer.path(), mac(HOST_WG_MAC));
        self.host.ip(&format!(
            "link add wg0 address {wg_mac} type veth peer name wg0 netns {peer}
             addr add {HOST_WG}/24 dev wg0
             addr add {HOST_WG6}/64 dev wg0 nodad
             link set wg0 up"
        ))?;
        self.peer.ip(&format!(
            "link set lo up
             addr add {PEER}/24 dev wg0
             addr add {STRANGER}/24 dev wg0
             addr add {PEER6}/64 dev wg0 nodad
             addr add {STRANGER6}/64 dev wg0 nodad
             link set wg0 up"
        ))
    }

    fn wire_up(&self) -> Result<()> {
        let (lan, ct, ct2) = (self.lan.path(), self.ct.path(), self.ct2.path());
        let (host_mac, lan_mac) = (mac(HOST_MAC), mac(LAN_MAC));
        self.host.ip(&format!(
            "link set lo up
             link add eth0 address {host_mac} type veth peer name eth0 address {lan_mac} netns {lan}
             link add podman0 type bridge
             link add veth-ct type veth peer name eth0 netns {ct}
             link add veth-ct2 type veth peer name eth0 netns {ct2}
             link set veth-ct master podman0
             link set veth-ct2 master podman0
             addr add {HOST_LAN}/24 broadcast + dev eth0
             addr add {HOST_LAN6}/64 dev eth0 nodad
             addr add {HOST_BRIDGE}/24 dev podman0
             link set eth0 up
             link set veth-ct up
             link set veth-ct2 up
             link set podman0 up
             neigh replace {GHOST} lladdr {lan_mac} dev eth0 nud permanent
             neigh replace {GHOST6} lladdr {lan_mac} dev eth0 nud permanent"
        ))?;
        self.lan.ip(&format!(
            "link set lo up
             addr add {LAN}/24 broadcast + dev eth0
             addr add {LAN6}/64 dev eth0 nodad
             link set eth0 up"
        ))?;
        self.trusted_link()?;
        for (container, address) in [(&self.ct, CT), (&self.ct2, CT2)] {
            container.ip(&format!(
                "link set lo up
                 addr add {address}/24 dev eth0
                 link set eth0 up
                 route add default via {HOST_BRIDGE}"
            ))?;
        }
        Ok(())
    }
}

fn mac(address: Mac) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
