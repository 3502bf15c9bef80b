//! The changes between two policies, in words.

mod reach;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use enforcer_ebpf::{Address, PeerSet, Protocol, layout::WIRE_VIEW};
use ipnet::IpNet;
use serde::Serialize;

use super::tables::{OptionsRow, PolicyTables};
use crate::{
    interfaces::InterfaceOptions,
    registry::{Forward, HookChoice, UnregisteredAction},
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
    unregistered(now, next, &mut changes);
    peers(now, next, &mut changes);
    let renamed = reach::renamed(now, next);
    for (was, is) in &renamed {
        changes.push(Change {
            service: Some((*is).to_owned()),
            ..Change::global('~', format!("was called {was}"))
        });
    }
    reach::ports(now, next, &renamed, &mut changes);
    changes
}

/// Returns the names of peers.
fn names(tables: &PolicyTables, peers: &PeerSet) -> BTreeSet<String> {
    let name = |number: u16| Some(tables.peers.get(usize::from(number))?.name.clone());
    peers.iter().filter_map(name).collect()
}

/// The options of an `[interfaces]` table, for comparison between policies.
type Options = (InterfaceOptions, BTreeSet<String>);

/// Adds the changes of interface options.
fn interface_options(now: &PolicyTables, next: &PolicyTables, changes: &mut Vec<Change>) {
    let by_pattern = |tables: &PolicyTables| -> BTreeMap<String, Options> {
        let rows = tables.interface_options.iter();
        let options = |row: &OptionsRow| (row.options, names(tables, &row.allow));
        rows.map(|row| (row.pattern.clone(), options(row)))
            .collect()
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
fn toml_of((options, allow): &Options) -> String {
    let side = options.side.map(|side| format!("side = \"{side}\""));
    let forward = options.forward;
    let forward = (forward != Forward::Auto).then(|| format!("forward = {}", forward.toml()));
    let hook = (options.hook != HookChoice::Auto).then(|| format!("hook = \"{}\"", options.hook));
    let containers = options.containers;
    let containers = containers.map(|containers| format!("containers = {containers}"));
    let routed = options.routed.then(|| "routed = true".to_owned());
    let allowed: Vec<String> = allow.iter().map(|peer| format!("\"{peer}\"")).collect();
    let allow = (!allow.is_empty()).then(|| format!("allow = [{}]", allowed.join(", ")));
    let mode = options.mode.map(|mode| format!("mode = \"{mode}\""));
    let lines = [side, forward, hook, containers, routed, allow, mode];
    let lines: Vec<String> = lines.into_iter().flatten().collect();
    match lines.is_empty() {
        true => "no options".to_owned(),
        false => lines.join(", "),
    }
}

/// Adds the changes of `[unregistered]`.
fn unregistered(now: &PolicyTables, next: &PolicyTables, changes: &mut Vec<Change>) {
    for protocol in Protocol::ALL {
        let action = |tables: &PolicyTables| {
            let mode = tables.unregistered.modes[protocol as usize];
            UnregisteredAction::from(mode).name()
        };
        let (was, will) = (action(now), action(next));
        if was != will {
            let what = format!("unregistered.{protocol}: \"{was}\" becomes \"{will}\"");
            changes.push(Change::global('~', what));
        }
    }
    let was = names(now, &now.unregistered.allow);
    let will = names(next, &next.unregistered.allow);
    for peer in will.difference(&was) {
        let what = format!("unregistered ports: now reachable for {peer}");
        changes.push(Change::global('+', what));
    }
    for peer in was.difference(&will) {
        let what = format!("unregistered ports: no longer reachable for {peer}");
        changes.push(Change::global('-', what));
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
            None => PeerSet::EMPTY,
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
