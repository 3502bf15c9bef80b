//! The gaps of `status`, in words.

use crate::{
    control::BELOW_ROOT,
    inspect::Finding,
    printable::{self, name},
};

/// The words of [`Finding::Interrupted`].
const INTERRUPTED: &str = "a command was interrupted, and guards that it made or should have taken \
     off may hold: run `enforcer up`, or `down`";

/// The words of [`Finding::SentUnknown`].
const SENT_UNKNOWN: &str = "nothing notes what sockets send over UDP, and `udp` of \
     `[unregistered]` takes answers for questions: run `enforcer reload`, which says why";

/// The words of [`Finding::AddressesChanged`].
const ADDRESSES_CHANGED: &str =
    "this host's own addresses have changed since the last reload: `enforcer reload`";

/// Returns a gap in words.
pub(super) fn finding(finding: &Finding) -> String {
    match finding {
        Finding::NoWireGuard(row) => {
            let why = printable::text(&row.why);
            format!("{} has no wire guard: {why}", name(&row.interface))
        }
        Finding::WireNotWanted => "`up` was told to do without wire guards".to_owned(),
        Finding::SocketNotWanted => {
            "there is no socket guard: `up` was told to do without".to_owned()
        }
        Finding::NoSocketGuard => {
            "there is no socket guard: `enforcer reload` adds it, or `up` says why not".to_owned()
        }
        Finding::SentUnknown => SENT_UNKNOWN.to_owned(),
        Finding::Fallback => {
            "the registry is bad, and the embedded default holds in its place: `enforcer check`"
                .to_owned()
        }
        Finding::Behind(interface) => format!(
            "another tcx program sees the packets of {} before the wire guard does: `enforcer up` \
             goes before it",
            name(interface)
        ),
        Finding::KeysChanged(interface) => format!(
            "the keys of {} have other AllowedIPs than at the last reload: run `enforcer reload`",
            name(interface)
        ),
        Finding::GrantAstray {
            peer,
            registered,
            actual,
        } => format!(
            "the grant to {} on {} stands on {} now: run `enforcer reload`",
            name(peer),
            name(registered),
            name(actual)
        ),
        Finding::AddressesChanged => ADDRESSES_CHANGED.to_owned(),
        Finding::MacChanged(interface) => format!(
            "{} has another MAC address than at the last reload: run `enforcer reload`",
            name(interface)
        ),
        Finding::Interrupted => INTERRUPTED.to_owned(),
        Finding::MissingMap(map) => {
            format!("the pin of the map {map} is missing: run `enforcer up`")
        }
        Finding::NoCgroup(why) => format!("there is no socket guard: {}", printable::text(why)),
        Finding::SocketBelowRoot => BELOW_ROOT.to_owned(),
        Finding::ParentWritable(text) => printable::text(text),
        Finding::Strays(guards) => format!(
            "guards hold that no pin reaches: {}: run `enforcer down --all` to take them off, and \
             `enforcer up` after that",
            guards.join(", ")
        ),
        Finding::NamespaceGone => {
            "the pins guarded a network namespace that is gone: run `enforcer up`".to_owned()
        }
    }
}
