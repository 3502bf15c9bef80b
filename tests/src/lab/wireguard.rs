//! Real WireGuard: the lab's wg0 as a hub, and its peers in namespaces of their own.
//!
//! ```text
//!   collector wg0 10.10.0.5 ┐             ┌────────────── wg0 10.10.0.2 ┐
//!   laptop    wg0 10.10.0.7 ├ UDP ── lan ─┤ eth0                        │ host
//!   stranger  wg0 10.10.0.99┘             └─ :51820 ────────────────────┘
//! ```
//!
//! A WireGuard device keeps the UDP socket of the namespace in which it was made (wireguard(8),
//! "routing and network namespaces"), so the peers' devices are made on the LAN and moved: their
//! encrypted packets leave by the neighbour's eth0, each from its own port, and their namespaces
//! hold nothing but wg0.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result};

use super::command::finish;
use super::netns::Netns;
use super::topology::{HOST_LAN, HOST_WG, HOST_WG6, LAN, Lab, PEER, PEER6, STRANGER, STRANGER6};

/// The hub's own UDP port.
pub const LISTEN_PORT: u16 = 51820;
/// An inner address that no service of the lab's registry allows, beside [`STRANGER`].
pub const LAPTOP: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 7);
/// The laptop's IPv6 address.
pub const LAPTOP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 7);

/// A port without a listener (RFC 863).
const DISCARD: u16 = 9;

/// A peer to be made.
#[derive(Clone, Debug)]
pub struct Member {
    /// The lab's name for the peer.
    pub name: &'static str,
    /// The inner addresses.
    pub addresses: Vec<std::net::IpAddr>,
    /// The peer's sources accepted by the hub; prefixes in the notation of `wg`.
    pub allowed_ips: Vec<String>,
}

impl Member {
    /// A peer with an address of each family, and AllowedIPs of just these.
    pub fn new(name: &'static str, v4: Ipv4Addr, v6: Ipv6Addr) -> Self {
        Self {
            name,
            addresses: vec![v4.into(), v6.into()],
            allowed_ips: vec![format!("{v4}/32"), format!("{v6}/128")],
        }
    }

    /// Replaces the AllowedIPs.
    pub fn allowed(mut self, prefixes: &[&str]) -> Self {
        self.allowed_ips = prefixes.iter().map(ToString::to_string).collect();
        self
    }

    /// The three of the picture: the collector, allowed by the lab's registry, and two others.
    pub fn usual() -> [Self; 3] {
        [
            Self::new("collector", PEER, PEER6),
            Self::new("laptop", LAPTOP, LAPTOP6),
            Self::new("stranger", STRANGER, STRANGER6),
        ]
    }
}

/// A peer of the hub.
#[derive(Debug)]
pub struct Peer {
    /// Namespace of the peer's applications; the only interfaces there are lo and wg0.
    pub namespace: Netns,
    member: Member,
    keys: Keys,
    port: u16,
}

impl Peer {
    /// The public key, as registries name it.
    pub fn public_key(&self) -> &str {
        &self.keys.public
    }

    /// The section of the hub's configuration for this peer.
    fn paragraph(&self) -> String {
        format!(
            "[Peer]\nPublicKey = {}\nAllowedIPs = {}\nEndpoint = {LAN}:{}\n",
            self.keys.public,
            self.member.allowed_ips.join(", "),
            self.port
        )
    }
}

/// A hub on the lab's host and its peers, in place of the veth pair of the same name.
#[derive(Debug)]
pub struct WireGuard<'lab> {
    /// The peers, in the order of the request.
    pub peers: Vec<Peer>,
    lab: &'lab Lab,
    keys: Keys,
}

impl<'lab> WireGuard<'lab> {
    /// Makes the lab's wg0 a real WireGuard device with these peers.
    pub fn hub(lab: &'lab Lab, members: impl IntoIterator<Item = Member>) -> Result<Self> {
        let mut hub = Self {
            peers: Vec::new(),
            lab,
            keys: Keys::make(lab)?,
        };
        for (port, member) in (LISTEN_PORT + 1..).zip(members) {
            let name = member.name;
            let peer = hub.peer(member, port);
            hub.peers
                .push(peer.with_context(|| format!("failed to make the WireGuard peer {name}"))?);
        }
        hub.lab.host.ip("link del wg0")?;
        hub.up()?;
        Ok(hub)
    }

    /// Makes the hub's device again, with another ifindex, as `wg-quick down` and `up` would.
    ///
    /// The new device knows no session, and peers notice that only after seconds of silence
    /// (whitepaper, section 6.5), so the hub sends something to each peer, and shakes hands at
    /// once.
    pub fn remake(&self) -> Result<()> {
        self.lab.host.ip("link del wg0")?;
        self.up()?;
        self.greet()
    }

    /// Sends something to each peer, for a handshake at once.
    pub fn greet(&self) -> Result<()> {
        for peer in &self.peers {
            for address in &peer.member.addresses {
                let any = if address.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let to = SocketAddr::new(*address, DISCARD);
                self.lab
                    .host
                    .run(|| UdpSocket::bind(any)?.send_to(b"hello again", to))?
                    .with_context(|| format!("failed to greet {}", peer.member.name))?;
            }
        }
        Ok(())
    }

    /// The endpoint of a peer's device, for a peer forgotten by the hub.
    pub fn endpoint(&self, peer: usize) -> String {
        format!("{LAN}:{}", self.peers[peer].port)
    }

    /// Runs `wg set wg0 …` on the hub.
    pub fn set(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.lab.host.command("wg");
        command.args(["set", "wg0"]).args(arguments);
        finish(command, "")?.ok().map(drop)
    }

    fn up(&self) -> Result<()> {
        let host = &self.lab.host;
        host.ip("link add wg0 type wireguard")?;
        let paragraphs: String = self.peers.iter().map(Peer::paragraph).collect();
        configure(host, "wg0", &self.keys, LISTEN_PORT, &paragraphs)?;
        host.ip(&format!(
            "addr add {HOST_WG}/24 dev wg0
             addr add {HOST_WG6}/64 dev wg0 nodad
             link set wg0 up"
        ))?;
        // AllowedIPs beyond the hub's subnet need a route, as wg-quick makes it.
        let beyond = self.peers.iter().flat_map(|peer| &peer.member.allowed_ips);
        let routes: Vec<String> = beyond
            .map(|prefix| format!("route replace {prefix} dev wg0"))
            .collect();
        host.ip(&routes.join("\n"))
    }

    fn peer(&self, member: Member, port: u16) -> Result<Peer> {
        let (lan, keys) = (&self.lab.lan, Keys::make(self.lab)?);
        let namespace = Netns::new(member.name)?;
        namespace.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
        namespace.sysctl("net/ipv4/conf/default/rp_filter", "0")?;
        lan.ip("link add wgnew type wireguard")?;
        // Everything may come from the hub, so nothing but the hub's own guards is tested.
        let hub = format!(
            "[Peer]\nPublicKey = {}\nAllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = {HOST_LAN}:{LISTEN_PORT}\n",
            self.keys.public
        );
        configure(lan, "wgnew", &keys, port, &hub)?;
        lan.ip(&format!(
            "link set wgnew netns {} name wg0",
            namespace.path()
        ))?;
        let addresses: String = member
            .addresses
            .iter()
            .map(|address| {
                let (length, nodad) = if address.is_ipv4() {
                    (32, "")
                } else {
                    (128, "nodad")
                };
                format!("addr add {address}/{length} dev wg0 {nodad}\n")
            })
            .collect();
        namespace.ip(&format!(
            "link set lo up
             {addresses}
             link set wg0 up
             route add default dev wg0
             route add ::/0 dev wg0"
        ))?;
        Ok(Peer {
            namespace,
            member,
            keys,
            port,
        })
    }
}

#[derive(Debug)]
struct Keys {
    private: String,
    public: String,
}

impl Keys {
    fn make(lab: &Lab) -> Result<Self> {
        let wg = |argument: &str, input: &str| -> Result<String> {
            let mut command = lab.host.command("wg");
            command.arg(argument);
            Ok(finish(command, input)?.ok()?.trim().to_owned())
        };
        let private = wg("genkey", "")?;
        let public = wg("pubkey", &private)?;
        Ok(Self { private, public })
    }
}

/// Gives a device key, port and peers by standard input: keys are no arguments.
fn configure(
    namespace: &Netns,
    device: &str,
    keys: &Keys,
    port: u16,
    paragraphs: &str,
) -> Result<()> {
    let mut command = namespace.command("wg");
    command.args(["setconf", device, "/proc/self/fd/0"]);
    let interface = format!(
        "[Interface]\nPrivateKey = {}\nListenPort = {port}\n",
        keys.private
    );
    finish(command, &format!("{interface}{paragraphs}"))?
        .ok()
        .map(drop)
}
