//! The changes between two policies, in words.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use enforcer_ebpf::{Address, Mode, Protocol, layout::WIRE_VIEW};
use ipnet::IpNet;
use serde::Serialize;

use super::tables::PolicyTables;
use crate::{
    interfaces::InterfaceOptions,
    registry::{Forward, HookChoice},
};

/// The longest list of prefixes; further prefixes are only counted.
const MAX_LISTED: usize = 8;

/// One change between two policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `+` for a new registration or access, `-` for a removed one, `!` for a change under
    /// `--force` alone, `~` for any other change.
    pub sign: char,
    /// The changed service, if any.
    pub service: Option<String>,
    /// The protocol of the changed port.
    pub protocol: Option<&'static str>,
    /// The changed port.
    pub port: Option<u16>,
    /// The change in words.
    pub what: String,
}

impl Change {
    /// Returns a change of no particular service.
    pub const fn global(sign: char, what: String) -> Self {
        Self {
            sign,
            service: None,
            protocol: None,
            port: None,
            what,
        }
    }

    /// Returns the change as a line for people.
    pub fn line(&self) -> String {
        let subject = match (&self.service, self.port, self.protocol) {
            (Some(service), Some(port), Some(protocol)) => format!("{service} {port}/{protocol}: "),
            (Some(service), ..) => format!("{service}: "),
            _ => String::new(),
        };
        format!("{} {subject}{}", self.sign, self.what)
    }
}

/// Returns the changes from a policy to the next.
pub fn changes(now: &PolicyTables, next: &PolicyTables) -> Vec<Change> {
    let mut changes = Vec::new();
    if now.mode != next.mode {
        let what = format!("the global mode is {} and becomes {}", now.mode, next.mode);
        changes.push(Change::global('~', what));
    }
    interface_options(now, next, &mut changes);
    peers(now, next, &mut changes);
    let renamed = renamed(now, next);
    for (was, is) in &renamed {
        changes.push(Change {
            service: Some((*is).to_owned()),
            ..Change::global('~', format!("was called {was}"))
        });
    }
    ports(now, next, &renamed, &mut changes);
    changes
}

/// Adds the changes of interface options.
fn interface_options(now: &PolicyTables, next: &PolicyTables, changes: &mut Vec<Change>) {
    let by_pattern = |tables: &PolicyTables| -> BTreeMap<String, InterfaceOptions> {
        let rows = tables.interface_options.iter();
        rows.map(|row| (row.pattern.clone(), row.options)).collect()
    };
    let (was, will) = (by_pattern(now), by_pattern(next));
    for pattern in was.keys().chain(will.keys()).collect::<BTreeSet<_>>() {
        let (sign, what) = match (was.get(pattern), will.get(pattern)) {
            (None, Some(will)) => ('+', toml_of(will)),
            (Some(was), None) => ('-', format!("no longer {}", toml_of(was))),
            (Some(was), Some(will)) if was != will => {
                ('~', format!("{} becomes {}", toml_of(was), toml_of(will)))
            }
            _ => continue,
        };
        changes.push(Change::global(
            sign,
            format!("interfaces.{pattern}: {what}"),
        ));
    }
}

/// Returns interface options in the registry's syntax.
fn toml_of(options: &InterfaceOptions) -> String {
    let side = options.side.map(|side| format!("side = \"{side}\""));
    let forward = match options.forward {
        Forward::Auto => None,
        Forward::True => Some("forward = true".to_owned()),
        Forward::False => Some("forward = false".to_owned()),
    };
    let hook = (options.hook != HookChoice::Auto).then(|| format!("hook = \"{}\"", options.hook));
    let lines: Vec<String> = [side, forward, hook].into_iter().flatten().collect();
    match lines.is_empty() {
        true => "no options".to_owned(),
        false => lines.join(", "),
    }
}

/// The source of a peer's packets, for comparison between policies.
#[derive(PartialEq, Eq)]
struct PeerSource<'a> {
    interface: &'a str,
    key: Option<[u8; 32]>,
    active: bool,
    prefixes: BTreeSet<IpNet>,
}

fn sources(tables: &PolicyTables) -> BTreeMap<&str, PeerSource<'_>> {
    let mut prefixes: BTreeMap<u16, BTreeSet<IpNet>> = BTreeMap::new();
    for ((ifindex, network, length), peers) in &tables.prefixes {
        if ifindex & WIRE_VIEW != 0 {
            continue;
        }
        // A prefix also carries the peers of wider prefixes, which are not new here.
        let wider = match length.checked_sub(1) {
            Some(shorter) => tables.peers_within(*ifindex, network, shorter),
            None => enforcer_ebpf::PeerSet::EMPTY,
        };
        for peer in peers.iter().filter(|peer| !wider.contains(*peer)) {
            if let Some(prefix) = prefix(*network, *length) {
                prefixes.entry(peer).or_default().insert(prefix);
            }
        }
    }
    (0u16..)
        .zip(&tables.peers)
        .map(|(number, peer)| {
            let source = PeerSource {
                interface: &peer.interface,
                key: peer.key,
                active: peer.active,
                prefixes: prefixes.remove(&number).unwrap_or_default(),
            };
            (peer.name.as_str(), source)
        })
        .collect()
}

fn prefix(network: Address, length: u8) -> Option<IpNet> {
    IpNet::new(IpAddr::from(network), length).ok()
}

fn peers(now: &PolicyTables, next: &PolicyTables, changes: &mut Vec<Change>) {
    let (was, will) = (sources(now), sources(next));
    for name in was.keys().chain(will.keys()).collect::<BTreeSet<_>>() {
        let mut push = |sign, what: String| {
            changes.push(Change::global(sign, format!("peer {name}: {what}")));
        };
        match (was.get(name), will.get(name)) {
            (None, Some(will)) => push('+', format!("new, {}", described(will))),
            (Some(_), None) => push('-', "gone".to_owned()),
            (Some(was), Some(will)) => was.compare(will, &mut push),
            (None, None) => {}
        }
    }
}

/// Returns a new peer's interface and prefixes in words.
fn described(source: &PeerSource<'_>) -> String {
    let interface = source.interface;
    match (source.active, source.key) {
        (true, _) => format!("on {interface} from {}", list(&source.prefixes)),
        (false, Some(_)) => format!("on {interface}; its key grants nothing: it waits"),
        (false, None) => format!("on {interface}, which is not there: it waits"),
    }
}

impl PeerSource<'_> {
    fn compare(&self, will: &Self, push: &mut impl FnMut(char, String)) {
        if self.interface != will.interface {
            let (was, will) = (self.interface, will.interface);
            push('~', format!("on {will}, and was on {was}"));
        }
        match (self.key, will.key) {
            (None, Some(_)) => push('~', "known by its key, and was by addresses".to_owned()),
            (Some(_), None) => push('~', "known by addresses, and was by its key".to_owned()),
            (Some(was), Some(will)) if was != will => push('~', "another public key".to_owned()),
            _ => {}
        }
        match (self.active, will.active) {
            (false, true) => {
                let there = will.key.map_or("its interface", |_| "its key");
                let from = list(&will.prefixes);
                return push('+', format!("{there} is there, with {from}"));
            }
            (true, false) if will.key.is_some() => {
                return push('-', "its key grants nothing: it waits".to_owned());
            }
            (true, false) => {
                let interface = will.interface;
                return push('-', format!("there is no interface {interface}: it waits"));
            }
            _ => {}
        }
        let more: BTreeSet<IpNet> = will.prefixes.difference(&self.prefixes).copied().collect();
        let less: BTreeSet<IpNet> = self.prefixes.difference(&will.prefixes).copied().collect();
        if !more.is_empty() {
            push('+', format!("now also from {}", list(&more)));
        }
        if !less.is_empty() {
            push('-', format!("no longer from {}", list(&less)));
        }
    }
}

fn list(prefixes: &BTreeSet<IpNet>) -> String {
    if prefixes.is_empty() {
        return "no address of its own".to_owned();
    }
    let first: Vec<String> = prefixes
        .iter()
        .take(MAX_LISTED)
        .map(IpNet::to_string)
        .collect();
    match prefixes.len() - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

type Ports = BTreeSet<(Protocol, u16)>;

fn ports_by_service(tables: &PolicyTables) -> BTreeMap<&str, Ports> {
    let mut services: BTreeMap<&str, Ports> = BTreeMap::new();
    for &(protocol, port) in tables.ports.keys() {
        if let Some(name) = tables.service_of(protocol, port) {
            services.entry(name).or_default().insert((protocol, port));
        }
    }
    services
}

/// Returns the old and the new name of each renamed service: another name with the same ports.
fn renamed<'a>(now: &'a PolicyTables, next: &'a PolicyTables) -> Vec<(&'a str, &'a str)> {
    let (was, will) = (ports_by_service(now), ports_by_service(next));
    let gone = was.iter().filter(|(name, _)| !will.contains_key(*name));
    gone.filter_map(|(old, ports)| {
        let mut new = will.iter().filter(|(name, _)| !was.contains_key(*name));
        let (name, _) = new.find(|(_, others)| *others == ports)?;
        Some((*old, *name))
    })
    .collect()
}

fn ports(
    now: &PolicyTables,
    next: &PolicyTables,
    renamed: &[(&str, &str)],
    changes: &mut Vec<Change>,
) {
    let all: Ports = now.ports.keys().chain(next.ports.keys()).copied().collect();
    for (protocol, port) in all {
        let (was, will) = (
            Reach::of(now, protocol, port),
            Reach::of(next, protocol, port),
        );
        let name = next
            .service_of(protocol, port)
            .or_else(|| now.service_of(protocol, port));
        let mut push = |sign, what| {
            changes.push(Change {
                sign,
                service: name.map(str::to_owned),
                protocol: Some(protocol.name()),
                port: Some(port),
                what,
            });
        };
        match (was, will) {
            (None, Some(will)) => push('+', format!("now registered, {}", will.words())),
            (Some(_), None) => push('-', "no longer registered: open to all".to_owned()),
            (Some(was), Some(will)) => {
                let is_rename = renamed.contains(&(&was.service, &will.service));
                if was.service != will.service && !is_rename {
                    push('~', format!("was {}'s", was.service));
                }
                was.compare(&will, &mut push);
            }
            (None, None) => {}
        }
    }
}

/// The sources that may reach a port.
#[derive(PartialEq, Eq)]
struct Reach {
    service: String,
    public: bool,
    mode: Mode,
    peers: BTreeSet<String>,
}

impl Reach {
    fn of(tables: &PolicyTables, protocol: Protocol, port: u16) -> Option<Self> {
        let binding = tables.ports.get(&(protocol, port))?;
        let row = tables.services.get(usize::from(binding.service))?;
        let peer = |number: u16| Some(tables.peers.get(usize::from(number))?.name.clone());
        Some(Self {
            service: row.name.clone(),
            public: binding.public,
            mode: if binding.audit {
                Mode::Audit
            } else {
                Mode::Enforce
            },
            peers: row.allow.iter().filter_map(peer).collect(),
        })
    }

    fn words(&self) -> String {
        let peers: Vec<&str> = self.peers.iter().map(String::as_str).collect();
        let audit = match self.mode {
            Mode::Audit => "; drops are only counted (audit)",
            Mode::Enforce => "",
        };
        let who = match (self.public, peers.is_empty()) {
            (true, _) => "reachable for anyone".to_owned(),
            (false, true) => "localhost only".to_owned(),
            (false, false) => format!("reachable for {}", peers.join(", ")),
        };
        who + audit
    }

    fn compare(&self, will: &Self, push: &mut impl FnMut(char, String)) {
        if self.public != will.public {
            let sign = if will.public { '+' } else { '-' };
            push(sign, format!("was {}, now {}", self.words(), will.words()));
        } else {
            for peer in will.peers.difference(&self.peers) {
                push('+', format!("now reachable for {peer}"));
            }
            for peer in self.peers.difference(&will.peers) {
                push('-', format!("no longer reachable for {peer}"));
            }
        }
        if self.mode != will.mode {
            push(
                '~',
                format!("the mode is {} and becomes {}", self.mode, will.mode),
            );
        }
    }
}
