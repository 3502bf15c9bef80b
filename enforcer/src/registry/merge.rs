//! Checks across files, and the final registry.

use std::collections::{BTreeSet, HashMap};

use super::diagnostic::{Diagnostic, Fault, Severity};
use super::draft::Draft;
use super::model::{
    Allow, Identity, MAX_INTERFACE_TABLES, MAX_PEERS, MAX_PREFIXES, Peer, Registry, Service,
};
use super::options::InterfaceTable;
use super::peer::PeerDraft;
use super::port_conflicts;
use super::report::Report;
use super::service::ServiceDraft;
use super::source::Span;
use super::suggest::{did_you_mean, grouped, listed, quoted};

/// Checks the files together. `complete` tells that every file could be parsed: an unreadable file
/// may define a missing peer.
pub(super) fn check(draft: &Draft, complete: bool, report: &mut Report) {
    duplicates(
        "service",
        draft
            .services
            .iter()
            .map(|service| (service.name.as_str(), &service.at)),
        report,
    );
    duplicates(
        "peer",
        draft
            .peers
            .iter()
            .map(|peer| (peer.name.as_str(), &peer.at)),
        report,
    );
    // Two definitions of a service are mostly copies: a second error for the ports is noise.
    let mut names = BTreeSet::new();
    let first_of_each = draft
        .services
        .iter()
        .filter(|service| names.insert(service.name.as_str()));
    port_conflicts::check(first_of_each, report);
    if complete {
        unknown_peers(draft, report);
    }
    limits(&draft.peers, &draft.interfaces, report);
    shared_keys(&draft.peers, report);
}

fn duplicates<'a>(
    what: &str,
    entries: impl Iterator<Item = (&'a str, &'a Span)>,
    report: &mut Report,
) {
    let mut first = HashMap::new();
    for (name, at) in entries {
        let earlier = *first.entry(name).or_insert(at);
        if !std::ptr::eq(earlier, at) {
            report.push_with(Severity::Error, || {
                Diagnostic::new(
                    Severity::Error,
                    at.clone(),
                    Fault::new(
                        format!("{what} {} is already defined at {earlier}", quoted(name)),
                        "rename one of them, or put both in one table",
                    ),
                )
                .related(earlier.clone(), "first defined here")
            });
        }
    }
}

/// The advice for `allow = ["any"]` in each kind of table.
const ANY_OF_SERVICE: &str =
    "write `public = true` instead of `allow` for a service that anyone may reach";
const ANY_OF_NETWORK: &str =
    "write `routed = true` instead of `allow` for a container network that anyone may reach";
const ANY_OF_UNREGISTERED: &str =
    "write \"pass\" for a protocol whose unregistered ports anyone may reach";

fn unknown_peers(draft: &Draft, report: &mut Report) {
    // Invalid peers count as defined: their own errors are enough.
    let known: BTreeSet<&str> = draft.peers.iter().map(|peer| peer.name.as_str()).collect();
    let services = draft.services.iter().map(|it| (&it.allow, ANY_OF_SERVICE));
    let interfaces = draft.interfaces.iter();
    let interfaces = interfaces.map(|it| (&it.allow, ANY_OF_NETWORK));
    let unregistered = (&draft.unregistered.allow, ANY_OF_UNREGISTERED);
    let all: Vec<(&Allow, &str)> = services.chain(interfaces).chain([unregistered]).collect();
    for (allow, any) in all {
        for (name, at) in &allow.peers {
            if !known.contains(name.as_str()) {
                report.error_with(at, || unknown_peer(name, any, &known));
            }
        }
    }
}

fn unknown_peer(name: &str, any: &str, known: &BTreeSet<&str>) -> Fault {
    let help = if name == "any" {
        any.to_owned()
    } else {
        did_you_mean(name, known.iter().copied(), || match known.len() {
            0 => "no peer is defined; a peer is a table such as `[peers.collector]`".to_owned(),
            1..=8 => format!("known peers: {}", listed(known.iter().copied(), "and")),
            _ => "define it in a table `[peers.…]`".to_owned(),
        })
    };
    Fault::new(format!("unknown peer {}", quoted(name)), help)
}

fn limits(peers: &[PeerDraft], interfaces: &[InterfaceTable], report: &mut Report) {
    if let Some(table) = interfaces.get(MAX_INTERFACE_TABLES) {
        report.error(
            &table.at,
            Fault::new(
                format!(
                    "{} `[interfaces]` tables are defined",
                    grouped(interfaces.len())
                ),
                format!(
                    "the limit is {} tables; a name that ends in `*` is for many interfaces",
                    grouped(MAX_INTERFACE_TABLES)
                ),
            ),
        );
    }
    if let Some(peer) = peers.get(MAX_PEERS) {
        report.error(
            &peer.at,
            Fault::new(
                format!("{} peers are defined", grouped(peers.len())),
                format!(
                    "the limit is {} peers; put the addresses of several into one",
                    grouped(MAX_PEERS)
                ),
            ),
        );
    }
    let mut prefixes = 0;
    for peer in peers {
        let Some(Identity::Addresses(nets)) = &peer.identity else {
            continue;
        };
        let within = prefixes <= MAX_PREFIXES;
        prefixes += nets.len();
        if within && prefixes > MAX_PREFIXES {
            let limit = grouped(MAX_PREFIXES);
            report.error(
                &peer.at,
                Fault::new(
                    format!("the peers have more than {limit} address prefixes"),
                    format!("the limit is {limit} in all; join them into wider prefixes"),
                ),
            );
        }
    }
}

/// Warns of one key under two names: no contradiction, but mostly an unfinished copy.
fn shared_keys(peers: &[PeerDraft], report: &mut Report) {
    let mut first = HashMap::new();
    for peer in peers {
        let (Some(Identity::Key(key)), Some(interface)) = (&peer.identity, &peer.interface) else {
            continue;
        };
        let earlier: &PeerDraft = first.entry((interface, key)).or_insert(peer);
        if !std::ptr::eq(earlier, peer) && earlier.name != peer.name {
            report.push_with(Severity::Warning, || {
                Diagnostic::new(
                    Severity::Warning,
                    peer.at.clone(),
                    Fault::new(
                        format!(
                            "peer {} has the same public key as peer {}, at {}",
                            quoted(&peer.name),
                            quoted(&earlier.name),
                            earlier.at
                        ),
                        "if they are one peer, keep one of the names; else correct the key",
                    ),
                )
                .related(earlier.at.clone(), "the same key here")
            });
        }
    }
}

/// Returns the registry of a draft without errors.
pub(super) fn finish(draft: Draft) -> Registry {
    let mut services: Vec<Service> = draft.services.into_iter().map(service).collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    let mut peers: Vec<Peer> = draft.peers.into_iter().filter_map(peer).collect();
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    let mut interfaces = draft.interfaces;
    interfaces.sort_by(|a, b| a.pattern.cmp(&b.pattern));
    Registry {
        mode: draft.mode.unwrap_or_default(),
        mode_at: draft.mode_at,
        services,
        unregistered: draft.unregistered,
        peers,
        interfaces,
        ignored: draft.ignored,
    }
}

fn service(draft: ServiceDraft) -> Service {
    let ports = draft
        .protocols
        .iter()
        .flat_map(|&protocol| {
            let ports = draft
                .ranges
                .iter()
                .flat_map(|range| range.first..=range.last);
            ports.map(move |port| (protocol, port))
        })
        .collect();
    Service {
        name: draft.name,
        ports,
        protocols: draft.protocols,
        ranges: draft.ranges,
        on: draft.on,
        on_at: draft.on_at,
        mode: draft.mode,
        mode_at: draft.mode_at,
        public: draft.public,
        public_at: draft.public_at,
        allow: draft.allow,
        at: draft.at,
    }
}

fn peer(draft: PeerDraft) -> Option<Peer> {
    // A draft without errors has both.
    Some(Peer {
        name: draft.name,
        interface: draft.interface?,
        identity: draft.identity?,
        at: draft.at,
    })
}
