//! Expectations: the second implementation of the decision table, asked about every cell.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use enforcer_ebpf::{Guard, Mode, Protocol, Verdict};
use serde_json::Value;

use crate::lab::command::finish;
use crate::lab::frames::Mac;
use crate::lab::report;
use crate::lab::{Guards, Netns};
use crate::reference::{
    Answer, Arrival, ContainerNetwork, Counter, Fib, Forward, Interface, LocalRow, Peer, Reading,
    Registry, Service, Socket, SocketState, Unregistered,
};
use crate::test_run::view::is_within;

use super::addresses::{destination, ends, peer};
use super::cell::{Cell, Family, Port};
use super::forge::{self, FIRST_MARK};
use super::sinks::{Arrivals, Place};
use super::stage::{Hooks, last_device, way};

/// The registry of the cells, as the enforcer reads the registry. [`services`] says the same.
pub(super) const REGISTRY: &str = r#"
[unregistered]
tcp = "drop"
udp = "drop"
sctp = "drop"

[services.registered]
ports = [9200]
protocol = ["tcp", "udp", "sctp"]

[services.public]
ports = [8080]
protocol = ["tcp", "udp", "sctp"]
public = true

[services.for-peer]
ports = [9100]
protocol = ["tcp", "udp", "sctp"]
allow = ["peer"]

[services.audited]
ports = [9300]
protocol = ["tcp", "udp", "sctp"]
mode = "audit"

[peers.peer]
interface = "wg0"
addresses = ["10.10.0.77", "fd00:10::77"]

[interfaces.podman0]
allow = ["peer"]
"#;

const PEER: &str = "peer";

/// Counters: packets by guard, verdict, reason, audit, protocol and port.
pub(super) type Tally = BTreeMap<Row, u64>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    guard: String,
    verdict: String,
    reason: String,
    audited: bool,
    protocol: Option<String>,
    port: Option<u16>,
}

impl From<&report::Counter> for Row {
    fn from(row: &report::Counter) -> Self {
        Self {
            guard: row.guard.clone(),
            verdict: row.verdict.clone(),
            reason: row.reason.clone(),
            audited: row.audited,
            protocol: row.protocol.clone(),
            port: row.port,
        }
    }
}

impl Row {
    /// The counter of an answer, `None` for an uncounted packet.
    fn of(guard: Guard, answer: &Answer) -> Option<Self> {
        let (protocol, port) = match answer.counted? {
            Counter::NoPort | Counter::Networks => (None, None),
            Counter::Unregistered(protocol) => (Some(protocol), None),
            Counter::Port(_, protocol, port) => (Some(protocol), Some(port)),
        };
        Some(Self {
            guard: guard.name().to_owned(),
            verdict: answer.verdict.name().to_owned(),
            reason: answer.reason.name().to_owned(),
            audited: answer.audited,
            protocol: protocol.map(|protocol| protocol.name().to_owned()),
            port,
        })
    }
}

/// The expected outcome of all cells under a set of guards.
#[derive(Default)]
pub(super) struct Expected {
    pub(super) arrivals: Arrivals,
    pub(super) counters: Tally,
    /// The answers about each cell, for the message of a difference.
    pub(super) answers: BTreeMap<u16, Vec<String>>,
}

/// The second implementation, with the facts of the host.
pub(super) struct Oracle {
    registry: Registry,
    hooks: Hooks,
    indexes: BTreeMap<String, u32>,
    /// Routes of the main tables: prefix and index.
    routes: Vec<((IpAddr, u8), u32)>,
}

impl Oracle {
    /// Reads the facts of the host from the kernel.
    pub(super) fn new(host: &Netns, hooks: Hooks) -> Result<Self> {
        let links = list(host, &["address"])?;
        let mut indexes = BTreeMap::new();
        let mut subnets = BTreeMap::<String, Vec<(IpAddr, u8)>>::new();
        let mut macs = Vec::new();
        for link in &links {
            let name = word(link, "ifname").context("a link without a name")?;
            let index = link["ifindex"]
                .as_u64()
                .context("a link without an index")?;
            indexes.insert(name.to_owned(), u32::try_from(index)?);
            macs.extend(word(link, "address").and_then(mac));
            for address in link["addr_info"].as_array().into_iter().flatten() {
                let local = word(address, "local").context("an address")?.parse()?;
                let length = u8::try_from(address["prefixlen"].as_u64().unwrap_or_default())?;
                let all = subnets.entry(name.to_owned()).or_default();
                all.push((local, length));
            }
        }
        let mut local = Vec::new();
        let mut routes = Vec::new();
        for family in ["-4", "-6"] {
            for route in list(host, &[family, "route", "show", "table", "local"])? {
                let kind = word(&route, "type").unwrap_or_default();
                if ["local", "broadcast", "anycast"].contains(&kind) {
                    let (prefix, interface) = destination_of(&route, family, &indexes)?;
                    local.push(LocalRow { prefix, interface });
                }
            }
            for route in list(host, &[family, "route", "show", "table", "main"])? {
                routes.push(destination_of(&route, family, &indexes)?);
            }
        }
        let interfaces = interfaces(&indexes, &subnets);
        let registry = registry(interfaces, &indexes, &subnets, local, macs)?;
        Ok(Self {
            registry,
            hooks,
            indexes,
            routes,
        })
    }

    fn index(&self, device: &str) -> u32 {
        self.indexes.get(device).copied().unwrap_or_default()
    }

    /// The interface of the longest route to an address; the host forwards on all interfaces.
    fn fib(&self, to: IpAddr) -> Fib {
        let is_within = |(network, length): &(IpAddr, u8)| is_within(to, *network, *length);
        let routes = self.routes.iter().filter(|(prefix, _)| is_within(prefix));
        match routes.max_by_key(|((_, length), _)| *length) {
            Some((_, index)) if !self.registry.is_local(to) => Fib::Through(*index),
            _ => Fib::NotForwarded,
        }
    }

    /// The expected outcome of all cells, of which `reached` arrived without guards.
    pub(super) fn expect(&self, cells: &[Cell], reached: &Arrivals, guards: Guards) -> Expected {
        let mut expected = Expected::default();
        for (number, cell) in (0_u16..).zip(cells) {
            let passes = !guards.include(Guard::Wire) || self.wire(number, cell, &mut expected);
            let places = [Place::Host, Place::Container, Place::Guest, Place::Foreign];
            for place in places {
                let Some(&count) = reached.get(&(number, place)) else {
                    continue;
                };
                let is_judged = place == Place::Host && guards.include(Guard::Socket);
                if passes && (!is_judged || self.socket(number, cell, count, &mut expected)) {
                    expected.arrivals.insert((number, place), count);
                }
            }
        }
        expected
    }

    /// Whether the wire guards pass all packets of a cell.
    fn wire(&self, number: u16, cell: &Cell, expected: &mut Expected) -> bool {
        let mut passes = true;
        let mark = FIRST_MARK + number;
        for packet in forge::packets(cell, ends(cell), mark, 0) {
            for step in way(cell, &packet, self.hooks) {
                let arrival = Arrival {
                    interface: self.index(step.device),
                    handed_back: false,
                    mac: step.mac,
                    fib: self.fib(destination(cell)),
                    // The sinks of datagrams are unconnected, listen at any address and send nothing.
                    unasked: !cell.transport.is_stream(),
                };
                let answer = self.registry.wire(&step.reading, &arrival);
                let is_drop = answer.verdict == Verdict::Drop;
                let exempt = is_drop && step.is_exempt;
                let by_master = !is_drop && step.is_member;
                expected.note(number, step.device, &answer);
                if !exempt && !by_master {
                    expected.count(Guard::Wire, &answer, 1);
                }
                if is_drop && !exempt && !answer.audited {
                    passes = false;
                    break;
                }
            }
        }
        passes
    }

    /// Whether the socket guard passes a cell that arrives `count` times at sockets of the host.
    fn socket(&self, number: u16, cell: &Cell, count: u64, expected: &mut Expected) -> bool {
        let reading = Reading::at_socket(&forge::whole(cell, ends(cell), FIRST_MARK + number));
        let state = match cell.transport.is_stream() {
            true => SocketState::Listening,
            false => SocketState::Unasked,
        };
        let socket = Socket {
            port: (cell.transport.protocol(), cell.port.number()),
            state,
        };
        let index = self.index(last_device(cell));
        let answer = self.registry.socket(&reading, index, false, &socket);
        expected.note(number, "socket", &answer);
        expected.count(Guard::Socket, &answer, count);
        answer.verdict == Verdict::Pass || answer.audited
    }
}

impl Expected {
    fn count(&mut self, guard: Guard, answer: &Answer, packets: u64) {
        if let Some(row) = Row::of(guard, answer) {
            *self.counters.entry(row).or_default() += packets;
        }
    }

    fn note(&mut self, number: u16, at: &str, answer: &Answer) {
        let note = format!("{at}: {} ({})", answer.verdict.name(), answer.reason.name());
        self.answers.entry(number).or_default().push(note);
    }
}

fn interfaces(
    indexes: &BTreeMap<String, u32>,
    subnets: &BTreeMap<String, Vec<(IpAddr, u8)>>,
) -> Vec<Interface> {
    let all = indexes.iter();
    all.map(|(name, &index)| Interface {
        index,
        forward: Forward::Auto,
        // A bridge whose ports are all veths.
        inside: ["gbr0", "podman0"].contains(&name.as_str()),
        has_ethernet: name != "tun0",
        is_vrf: false,
        master: (name == "up0").then(|| indexes["br0"]),
        network: None,
        looks_through: false,
        subnets: subnets.get(name).cloned().unwrap_or_default(),
    })
    .collect()
}

/// The registry of [`REGISTRY`] on this host.
fn registry(
    interfaces: Vec<Interface>,
    indexes: &BTreeMap<String, u32>,
    subnets: &BTreeMap<String, Vec<(IpAddr, u8)>>,
    local: Vec<LocalRow>,
    macs: Vec<Mac>,
) -> Result<Registry> {
    let index = |name: &str| indexes.get(name).copied().context("a device is missing");
    let mut of_containers = subnets.get("podman0").cloned().unwrap_or_default();
    of_containers.retain(|(address, _)| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    });
    Ok(Registry {
        mode: Mode::Enforce,
        services: services(),
        unregistered: Unregistered {
            tcp: Some(Mode::Enforce),
            udp: Some(Mode::Enforce),
            sctp: Some(Mode::Enforce),
            ..Unregistered::default()
        },
        peers: vec![Peer {
            name: PEER.to_owned(),
            interface: index("wg0")?,
            prefixes: vec![(peer(Family::V4), 32), (peer(Family::V6), 128)],
        }],
        interfaces,
        networks: vec![ContainerNetwork {
            bridge: index("podman0")?,
            subnets: of_containers,
            allow: vec![PEER.to_owned()],
            routed: false,
            mode: None,
        }],
        local,
        macs,
    })
}

fn services() -> Vec<Service> {
    let registered = Port::ALL.into_iter().filter(|it| *it != Port::Unregistered);
    registered
        .map(|port| Service {
            ports: Protocol::ALL.map(|it| (it, port.number())).to_vec(),
            on: Vec::new(),
            public: port == Port::Public,
            allow: match port {
                Port::ForPeer => vec![PEER.to_owned()],
                _ => Vec::new(),
            },
            mode: (port == Port::Audited).then_some(Mode::Audit),
        })
        .collect()
}

/// The objects that `ip -json` lists.
fn list(host: &Netns, arguments: &[&str]) -> Result<Vec<Value>> {
    let mut command = host.command("ip");
    command.arg("-json").args(arguments);
    let text = finish(command, "")?.ok()?;
    // Nothing is listed without any JSON.
    match text.trim() {
        "" => Ok(Vec::new()),
        text => serde_json::from_str(text).context("the output of `ip -json`"),
    }
}

fn word<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object[key].as_str()
}

fn mac(text: &str) -> Option<Mac> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

/// The prefix and the interface of a route.
fn destination_of(
    route: &Value,
    family: &str,
    indexes: &BTreeMap<String, u32>,
) -> Result<((IpAddr, u8), u32)> {
    let text = word(route, "dst").context("a route without a destination")?;
    let any = match family {
        "-4" => "0.0.0.0/0",
        _ => "::/0",
    };
    let text = if text == "default" { any } else { text };
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address.parse()?, length.parse()?),
        None => {
            let address: IpAddr = text.parse()?;
            (address, if address.is_ipv4() { 32 } else { 128 })
        }
    };
    let device = word(route, "dev").context("a route without a device")?;
    let index = indexes.get(device).context("a route's device is unknown")?;
    Ok(((address, length), *index))
}
