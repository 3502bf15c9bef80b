//! The policy under which the programs are tried, and the host's own decision about a frame.

use std::io::Write as _;

use anyhow::{Context, Result, anyhow};
use enforcer::policy::{PolicyHost, PolicyInterface, PolicyTables, PortSet, Slots, compile};
use enforcer::registry::{self, Registry, Source};
use enforcer_ebpf::layout::Cell;
use enforcer_ebpf::{Arrival, Guard, Link, Reason, Verdict, VlanIds, decide, parse};

use super::network::{LOCAL, On};
use super::packet::{Frame, HOSTS_CHILD_MAC, OWN_MAC, PORTS_MAC};
use super::view::View;

/// Every kind of service, and peers with prefixes of many lengths, not as many of IPv4 as of IPv6.
///
/// eth0 carries no peer; wg1's ifindex takes wg0's place in the map; par0 is a VLAN parent of wg0;
/// mac0 has macvlan children; fwd0 is a router on a stick, and all0 judges what it forwards; podman0
/// is a container network; mem0 is a member of wg0, and looks through VLAN tags.
pub(super) const REGISTRY: &str = r#"
mode = "enforce"

[unregistered]
sctp = "drop"
allow = ["office"]

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

[services.minio]
ports = [9400]
on = ["192.0.2.1"]
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

[interfaces.all0]
forward = false

[interfaces.podman0]
allow = ["office"]
"#;

/// A registry on the interfaces of the rig.
pub(crate) struct World {
    pub(super) registry: Registry,
    /// The contents of the maps.
    pub(crate) tables: PolicyTables,
    pub(super) host: PolicyHost,
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
        let host = host()?;
        let tables = compile(&registry, &host, slots)?;
        Ok(Self {
            registry,
            tables,
            host,
            forwards: true,
        })
    }

    /// The slots of the policy's ports.
    pub(super) fn slots(&self) -> Slots {
        let ports = self.tables.ports.iter();
        ports
            .map(|((protocol, port), binding)| ((*protocol, *port, None), binding.slot))
            .collect()
    }

    /// The wire guard's expected verdict on a frame that arrives on an interface.
    pub(super) fn judge(&self, on: On, frame: &Frame) -> Expected {
        let ids = match on {
            On::Mem0 => VlanIds::LookThrough,
            _ => VlanIds::Stop,
        };
        let packet = parse(&frame.bytes[..], frame.link, ids);
        let arrival = match on {
            On::Lo => Arrival::Loopback,
            _ => Arrival::Received,
        };
        let decision = decide(&View::new(self, on, frame), Guard::Wire, arrival, &packet);
        let childs = decision.verdict() == Verdict::Drop && is_for_macvlan_child(on, frame);
        // The guard of a member leaves passes to the counters of the master's.
        let by_master = on == On::Mem0 && decision.verdict() == Verdict::Pass;
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
            counted: (decision.is_counted() && !childs && !by_master)
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

/// The facts about the rig, as `run` finds them on a host.
fn host() -> Result<PolicyHost> {
    let local = LOCAL.map(|(prefix, on)| Ok((prefix.parse()?, on.ifindex())));
    let interfaces: Result<Vec<PolicyInterface>> = On::ALL
        .into_iter()
        .filter(|on| *on != On::Lo)
        .map(attachment)
        .collect();
    Ok(PolicyHost {
        open_udp: PortSet::default(),
        interfaces: interfaces?,
        local: local.into_iter().collect::<Result<_>>()?,
        macs: [
            (OWN_MAC, false),
            (PORTS_MAC, false),
            (HOSTS_CHILD_MAC, true),
        ]
        .into(),
    })
}

fn attachment(on: On) -> Result<PolicyInterface> {
    let addresses: &[&str] = match on {
        On::Fwd0 => &["192.0.2.1/32", "2001:db8:1::1/128"],
        On::Pod0 => &["10.88.0.1/16", "fd00:88::1/64"],
        _ => &[],
    };
    let addresses = addresses.iter().map(|address| address.parse());
    Ok(PolicyInterface {
        ifindex: on.ifindex(),
        name: on.name().to_owned(),
        mac: Some(OWN_MAC),
        merged: match on {
            On::Par0 | On::Mem0 => vec![On::Wg0.ifindex()],
            _ => Vec::new(),
        },
        is_guarded: true,
        has_macvlan_children: on == On::Mac0,
        is_under_xdp: true,
        is_inside: on == On::Pod0,
        member_of: (on == On::Mem0).then_some(On::Wg0.ifindex()),
        looks_through_tags: on == On::Mem0,
        is_bridge: on == On::Pod0,
        bridge: (on == On::Pod0).then_some(On::Pod0.ifindex()),
        addresses: addresses.collect::<Result<_, _>>()?,
        ..PolicyInterface::default()
    })
}

/// Whether a frame is for a macvlan child: unicast, and for no other interface of the host.
fn is_for_macvlan_child(on: On, frame: &Frame) -> bool {
    let for_another = match frame.bytes.first_chunk::<6>() {
        Some(to) => to[0] & 1 == 0 && ![OWN_MAC, PORTS_MAC].contains(to),
        None => false,
    };
    on == On::Mac0 && frame.link == Link::Ethernet && for_another
}

/// The registry of the tests with another text in a single place.
pub(super) fn registry_with(from: &str, to: &str) -> Result<String> {
    REGISTRY
        .contains(from)
        .then(|| REGISTRY.replacen(from, to, 1))
        .with_context(|| format!("the registry of the tests does not say {from}"))
}
