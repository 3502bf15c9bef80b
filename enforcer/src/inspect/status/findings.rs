//! The gaps that `status` reports, as pure functions over the facts.

use enforcer_ebpf::layout::State;

use super::{
    UncoveredRow,
    gather::{Around, Facts},
    has,
};
use crate::{
    decisions::{candidate::local_table, peers},
    host::HostSnapshot,
    inspect::host_changes::addresses_differ,
    interfaces::{Interface, Plan},
    kernel::links::Cgroup,
    policy::{PeerRow, PolicyTables, local_rows},
    registry::pattern_matches,
};

/// The cure for an interface that should have a guard.
const RELOAD: &str =
    "it has come up since, lost its guard, or refused the guard: run `enforcer reload`";

/// The reason for the absence of all wire guards.
const NOT_WANTED: &str = "`up` was told to do without wire guards";

/// A reason for a degraded state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An interface has no wire guard.
    NoWireGuard(UncoveredRow),
    /// `up --guards socket`, on a host without outside interfaces.
    WireNotWanted,
    /// `up --guards wire`.
    SocketNotWanted,
    /// The socket guard is missing.
    NoSocketGuard,
    /// Nothing notes what sockets send over UDP, and rule 6 takes answers for questions.
    SentUnknown,
    /// The registry is bad, and the embedded default holds.
    Fallback,
    /// Another tcx program sees the packets of this interface before the wire guard.
    Behind(String),
    /// WireGuard's AllowedIPs of this interface differ from the policy.
    KeysChanged(String),
    /// A grant stands on another interface than the registry's: an ifindex was used again, or a
    /// name moved.
    GrantAstray {
        /// The peer.
        peer: String,
        /// The peer's interface by the registry.
        registered: String,
        /// The interface that carries the grant.
        actual: String,
    },
    /// This parent of macvlan devices has another MAC address than at the last reload.
    MacChanged(String),
    /// The host's own addresses are other ones than at the last change of the policy.
    AddressesChanged,
    /// A command was interrupted, and guards of that command may hold.
    Interrupted,
    /// The pin of this map is missing.
    MissingMap(&'static str),
    /// No cgroup2 is mounted, for this reason, so that there can be no socket guard.
    NoCgroup(String),
    /// The socket guard stands at a cgroup below the root.
    SocketBelowRoot,
    /// Other users may write to the parent of the pin directory: the fact, and the cure.
    ParentWritable(String),
    /// These guards hold, and no pin reaches them.
    Strays(Vec<String>),
    /// The pins guarded a network namespace that is gone: nothing is guarded here.
    NamespaceGone,
}

/// Returns the interfaces that should have a wire guard and have none.
///
/// The flags of the policy do not matter: with `up --guards socket` every outside interface is
/// uncovered.
pub(super) fn uncovered(facts: &Facts) -> Vec<UncoveredRow> {
    let plan = plan(facts);
    let why = match has(facts.state, State::WANT_WIRE) {
        true => RELOAD,
        false => NOT_WANTED,
    };
    let attached = &facts.attached.guards;
    let missing = plan.guards.iter();
    let missing = missing.filter(|guard| !attached.contains_key(&guard.ifindex));
    let missing = missing.map(|guard| UncoveredRow {
        interface: guard.name.clone(),
        why: why.to_owned(),
    });
    let impossible = plan.uncovered.iter().map(|other| UncoveredRow {
        interface: other.name.clone(),
        why: other.why.clone(),
    });
    missing.chain(impossible).collect()
}

/// The wire guards that the host wants under the policy's options for interfaces.
fn plan(facts: &Facts) -> Plan {
    let options = |interface: &Interface| facts.tables.options_of(interface.names());
    facts
        .snapshot
        .plan(options, facts.attached.programs.clone())
}

/// Returns every reason for a degraded state.
pub(super) fn findings(facts: &Facts, uncovered: &[UncoveredRow]) -> Vec<Finding> {
    let missing = facts.missing.iter();
    let mut findings: Vec<Finding> = missing.map(|map| Finding::MissingMap(map)).collect();
    // Without all maps, the policy's wishes are unknown.
    if findings.is_empty() {
        findings = policy_findings(facts, uncovered);
    }
    findings.extend(guard_findings(facts));
    findings.extend(around_findings(&facts.around));
    findings
}

/// Returns the gaps around the pins.
pub(super) fn around_findings(around: &Around) -> Vec<Finding> {
    let strays = Some(&around.strays).filter(|strays| !strays.is_empty());
    let found = [
        around.interrupted.then_some(Finding::Interrupted),
        strays.map(|strays| Finding::Strays(strays.clone())),
        around.open_parent.clone().map(Finding::ParentWritable),
    ];
    found.into_iter().flatten().collect()
}

/// Returns the gaps of the guards as they stand, whatever the policy is.
fn guard_findings(facts: &Facts) -> Vec<Finding> {
    let is_below = |cgroup: &Cgroup| !cgroup.is_root();
    let below = facts.socket_cgroup.filter(is_below);
    let mut findings: Vec<Finding> = below
        .map(|_| Finding::SocketBelowRoot)
        .into_iter()
        .collect();
    let behind = facts.attached.behind.iter();
    let behind = behind.filter_map(|ifindex| facts.snapshot.by_index(*ifindex));
    findings.extend(behind.map(|interface| Finding::Behind(interface.name.clone())));
    findings
}

/// Returns the differences between the policy and the host.
fn policy_findings(facts: &Facts, uncovered: &[UncoveredRow]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = uncovered
        .iter()
        .cloned()
        .map(Finding::NoWireGuard)
        .collect();
    let is_bare = facts.attached.guards.is_empty() && plan(facts).guards.is_empty();
    if is_bare && !has(facts.state, State::WANT_WIRE) {
        findings.push(Finding::WireNotWanted);
    }
    let wants_socket = has(facts.state, State::WANT_SOCKET);
    match (wants_socket, facts.socket_cgroup, &facts.no_cgroup) {
        (false, _, _) => findings.push(Finding::SocketNotWanted),
        (true, None, Some(why)) => findings.push(Finding::NoCgroup(why.clone())),
        (true, None, None) => findings.push(Finding::NoSocketGuard),
        (true, Some(_), _) => {}
    }
    if !facts.notes_sent {
        findings.push(Finding::SentUnknown);
    }
    if has(facts.state, State::FALLBACK) {
        findings.push(Finding::Fallback);
    }
    findings.extend(astray(&facts.tables, &facts.snapshot));
    findings
}

/// Returns the parts of a policy that do not fit the interfaces of now: an ifindex may be used
/// again, and a name may move to another interface.
fn astray(tables: &PolicyTables, snapshot: &HostSnapshot) -> Vec<Finding> {
    let stale = peers::stale(tables, snapshot).into_iter();
    let mut found: Vec<Finding> = stale
        .map(|name| Finding::KeysChanged(name.to_owned()))
        .collect();
    for (ifindex, row) in &tables.interfaces {
        let Some(interface) = snapshot.by_index(*ifindex) else {
            continue;
        };
        let carried = row.carries.iter();
        let carried = carried.filter_map(|number| tables.peers.get(usize::from(number)));
        let strangers = carried.filter(|peer| {
            let mut names = interface.names();
            !names.any(|name| pattern_matches(&peer.interface, name))
        });
        found.extend(strangers.map(|peer| Finding::GrantAstray {
            peer: peer.name.clone(),
            registered: peer.interface.clone(),
            actual: interface.name.clone(),
        }));
        if row.mac.is_some() && row.mac != interface.mac {
            found.push(Finding::MacChanged(interface.name.clone()));
        }
    }
    let now = local_rows(&local_table(snapshot));
    if addresses_differ(&tables.local, &now) {
        found.push(Finding::AddressesChanged);
    }
    found
}

/// Returns the reason why a peer cannot get in, if any; `number` is the peer's.
pub(super) fn why_waiting(
    tables: &PolicyTables,
    snapshot: &HostSnapshot,
    number: u16,
    peer: &PeerRow,
) -> Option<String> {
    if let Some(key) = peer.key {
        return peers::why_waiting(tables, snapshot, number, peer, key);
    }
    let mut matching = snapshot.matching(&peer.interface).peekable();
    if matching.peek().is_none() {
        return Some(format!("there is no interface {}", peer.interface));
    }
    let is_carried = matching.any(|interface| {
        let row = tables.interfaces.get(&interface.index);
        row.is_some_and(|row| row.carries.contains(number))
    });
    (!is_carried).then(|| {
        format!(
            "{} is another one than at the last reload: `enforcer reload`",
            peer.interface
        )
    })
}
