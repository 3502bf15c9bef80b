//! The policy under which the programs are tried, and the host's own decision about a frame.

use std::io::Write as _;
use std::net::IpAddr;

use anyhow::{Context, Result, anyhow};
use enforcer::policy::{PolicyInterface, PolicyTables, Slots, compile};
use enforcer::registry::{self, Identity, Peer, Registry, Source};
use enforcer_ebpf::layout::Cell;
use enforcer_ebpf::{
    Guard, Interface, Mode, Packet, PeerSet, Policy, Protocol, Reason, Service, Verdict, decide,
    destination, parse, source,
};

use super::network::{FORWARDED_V4, FORWARDED_V6, On};
use super::packet::{Frame, OWN_MAC};

/// Every kind of service, and peers with prefixes of many lengths, not as many of IPv4 as of IPv6.
///
/// eth0 carries no peer; wg1's ifindex takes wg0's place in the map; par0 is a VLAN parent of wg0;
/// mac0 has macvlan children; fwd0 forwards.
pub(super) const REGISTRY: &str = r#"
mode = "enforce"

[services.elasticsearch]
ports = [9200]
protocol = ["tcp", "udp", "sctp"]

[services.metrics]
ports = [9090, "9100-9102"]
protocol = ["tcp", "udp", "sctp"]
allow = ["collector", "office"]

[services.statsd]
ports = [8125]
protocol = "udp"
allow = ["office"]

[services.wide]
ports = [7200]
protocol = ["tcp", "udp"]
allow = ["wide"]

[services.audited]
ports = [9300]
protocol = ["tcp", "udp"]
mode = "audit"
allow = ["collector"]

[services.twin]
ports = [7000]
allow = ["twin"]

[services.all-of-any0]
ports = [7100]
protocol = ["tcp", "udp"]
allow = ["anyone"]

[services.forwarding]
ports = [7300]
allow = ["router"]

[services.traefik]
ports = [8080, 8443]
protocol = ["tcp", "udp"]
public = true

[peers.collector]
interface = "wg0"
addresses = ["10.10.0.5", "fd00:10::5"]

[peers.office]
interface = "wg0"
addresses = ["10.10.0.0/28", "10.16.0.0/12", "192.0.2.128/25", "fd00:10::/64", "fd00:20::/65", "fd00:30::/48", "fd00:31::4/126"]

[peers.wide]
interface = "wg0"
addresses = ["10.0.0.0/8", "fd00::/8"]

[peers.twin]
interface = "wg1"
addresses = ["10.10.0.5/32", "fd00:10::5/128"]

[peers.anyone]
interface = "any0"
addresses = ["any"]

[peers.router]
interface = "fwd0"
addresses = ["10.10.0.0/16"]

[interfaces.fwd0]
forward = true
"#;

/// A registry on the interfaces of the rig.
pub(crate) struct World {
    registry: Registry,
    /// The contents of the maps.
    pub(crate) tables: PolicyTables,
    interfaces: Vec<PolicyInterface>,
    /// Whether the host is a router at all.
    pub(super) forwards: bool,
}

/// The decision of the host's build about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) passes: bool,
    pub(super) reason: Reason,
    pub(super) audited: bool,
    /// The slot and the cell of the counter, for a counted frame.
    pub(super) counted: Option<(u16, usize)>,
}

impl World {
    /// Reads a registry, which must be good, and compiles the policy for the interfaces of the rig.
    /// Ports keep the slots of the policy before.
    pub(crate) fn new(text: &str, slots: &Slots) -> Result<Self> {
        let registry = read(text)?;
        let interfaces: Vec<PolicyInterface> = On::ALL.into_iter().filter_map(attachment).collect();
        let tables = compile(&registry, &interfaces, slots)?;
        Ok(Self {
            registry,
            tables,
            interfaces,
            forwards: true,
        })
    }

    /// The slots of the policy's ports.
    pub(super) fn slots(&self) -> Slots {
        let ports = self.tables.ports.iter();
        ports.map(|(port, binding)| (*port, binding.slot)).collect()
    }

    /// The wire guard's expected verdict on a frame that arrives on an interface.
    pub(super) fn judge(&self, on: On, frame: &Frame) -> Expected {
        let packet = parse(&frame.bytes[..], frame.link);
        let view = View {
            world: self,
            on,
            bytes: &frame.bytes,
        };
        let decision = decide(&view, Guard::Wire, on == On::Lo, &packet);
        let childs = decision.verdict() == Verdict::Drop && is_for_macvlan_child(on, frame);
        let cell = Cell {
            guard: Guard::Wire,
            reason: decision.reason,
            audited: decision.audited,
        };
        Expected {
            passes: childs || !decision.drops(),
            reason: if childs {
                Reason::Tagged
            } else {
                decision.reason
            },
            audited: decision.audited && !childs,
            counted: (decision.is_counted() && !childs)
                .then(|| cell.index())
                .flatten()
                .map(|cell| (decision.slot, cell)),
        }
    }
}

fn read(text: &str) -> Result<Registry> {
    let mut file = tempfile::Builder::new()
        .prefix("enforcer-test-run")
        .suffix(".toml")
        .tempfile()?;
    file.write_all(text.as_bytes())?;
    let loaded = registry::load(
        &Source::Named(file.path().to_owned()),
        &registry::Reader::NAMED,
    )
    .map_err(|rejected| {
        anyhow!(
            "the registry of the tests is rejected:\n{}",
            registry::render(&rejected.errors, false)
        )
    })?;
    Ok(loaded.registry)
}

fn attachment(on: On) -> Option<PolicyInterface> {
    (on != On::Lo).then(|| PolicyInterface {
        ifindex: on.ifindex(),
        name: on.name().to_owned(),
        mac: Some(OWN_MAC),
        merged: match on {
            On::Par0 => vec![On::Wg0.ifindex()],
            _ => Vec::new(),
        },
        has_macvlan_children: on == On::Mac0,
        allowed_ips: None,
    })
}

/// Whether a frame is for a macvlan child: unicast, and not for the interface itself. XDP reads the
/// frame; the kernel tells tcx, after comparing the same addresses.
fn is_for_macvlan_child(on: On, frame: &Frame) -> bool {
    let for_another = match frame.bytes.first_chunk::<6>() {
        Some(to) => to[0] & 1 == 0 && *to != OWN_MAC,
        None => false,
    };
    on == On::Mac0 && for_another
}

/// The registry as a frame meets it: lists that are searched from front to back.
struct View<'a> {
    world: &'a World,
    on: On,
    bytes: &'a [u8],
}

impl View<'_> {
    /// The interfaces through which the frame may have come: a VLAN parent cannot tell.
    fn names(&self) -> Vec<&str> {
        let all = &self.world.interfaces;
        let own = all.iter().find(|i| i.ifindex == self.on.ifindex());
        let merged = own.map(|own| own.merged.as_slice()).unwrap_or_default();
        let merged = all.iter().filter(|i| merged.contains(&i.ifindex));
        own.into_iter()
            .chain(merged)
            .map(|interface| interface.name.as_str())
            .collect()
    }

    fn peers(&self, wanted: impl Fn(&Peer) -> bool) -> PeerSet {
        let mut set = PeerSet::EMPTY;
        for (number, peer) in (0..).zip(self.world.registry.peers()) {
            if wanted(peer) {
                set.insert(number);
            }
        }
        set
    }
}

impl Policy for View<'_> {
    fn mode(&self) -> Mode {
        self.world.registry.mode()
    }

    fn service(&self, protocol: Protocol, port: u16) -> Option<Service> {
        let registry = &self.world.registry;
        let mut services = (0..).zip(registry.services());
        let (number, service) =
            services.find(|(_, service)| service.ports.contains(&(protocol, port)))?;
        Some(Service {
            slot: self.world.tables.ports.get(&(protocol, port))?.slot,
            number,
            public: service.public,
            has_peers: !service.allow.is_empty(),
            mode: registry.mode_of(service),
        })
    }

    fn interface(&self) -> Interface {
        let names = self.names();
        let rules = self.world.registry.interfaces();
        Interface {
            forward: rules
                .iter()
                .any(|rule| rule.forward && names.contains(&rule.pattern.as_str())),
            has_peers: !self.carried().is_empty(),
        }
    }

    fn carried(&self) -> PeerSet {
        let names = self.names();
        self.peers(|peer| names.contains(&peer.interface.as_str()))
    }

    fn allowed(&self, service: Service) -> PeerSet {
        let services = self.world.registry.services();
        let allow = &services[usize::from(service.number)].allow;
        self.peers(|peer| allow.contains(&peer.name))
    }

    fn peers_of(&self, packet: &Packet) -> PeerSet {
        let Some(source) = source(self.bytes, packet.ip_offset).map(IpAddr::from) else {
            return PeerSet::EMPTY;
        };
        let names = self.names();
        self.peers(|peer| match &peer.identity {
            Identity::Addresses(prefixes) => {
                names.contains(&peer.interface.as_str())
                    && prefixes
                        .iter()
                        .any(|prefix| is_within(source, prefix.addr(), prefix.prefix_len()))
            }
            Identity::Key(_) => false,
        })
    }

    fn is_forwarded(&self, packet: &Packet) -> bool {
        let (Some(source), Some(destination)) = (
            source(self.bytes, packet.ip_offset).map(IpAddr::from),
            destination(self.bytes, packet.ip_offset).map(IpAddr::from),
        ) else {
            return false;
        };
        let is_routed = match destination {
            IpAddr::V4(_) => is_within(destination, FORWARDED_V4.0.into(), FORWARDED_V4.1),
            IpAddr::V6(_) => is_within(destination, FORWARDED_V6.0.into(), FORWARDED_V6.1),
        };
        // RFC 4291, 2.5.6: routers forward nothing from a link-local address. Nor does the kernel's
        // FIB from a group (rt6_need_strict in include/net/ip6_route.h).
        let stays = match source {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast(),
        };
        self.world.forwards && is_routed && !stays
    }
}

/// Whether the first bits of two addresses of a family are the same.
fn is_within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let differing = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    differing >= u32::from(length)
}

/// The registry of the tests with another text in a single place.
pub(super) fn registry_with(from: &str, to: &str) -> Result<String> {
    REGISTRY
        .contains(from)
        .then(|| REGISTRY.replacen(from, to, 1))
        .with_context(|| format!("the registry of the tests does not say {from}"))
}
