//! The host as a whole: traffic for this host, whatever the way, and traffic for others.
//!
//! A bridge, a tunnel, a fragment, a container network or a rule of the host may bring a packet to
//! a service, or past the host to another machine. Each file holds the attacks of one such part,
//! and the traffic that must go on there.

mod addresses;
mod containers;
mod destinations;
mod followed;
mod forwarded;
mod fragments;
mod guests;
mod mac_addresses;
mod macvlan;
mod members;
mod over_ipv6;
mod proxies;
mod relayed;
mod routed;
mod switched;
mod tunnels;
mod unregistered;
mod vrf;
mod without_port;

use super::attack::{Attack, Legitimate};
use crate::scenario::Scenario;
pub(super) use unregistered::once_more_closed;

/// Scenarios of what changes while `run` lives, of keys, and of what no guard holds.
pub(super) fn scenarios() -> Vec<Scenario> {
    let parts = [
        followed::scenarios(),
        fragments::scenarios(),
        relayed::scenarios(),
        unregistered::scenarios(),
    ];
    parts.into_iter().flatten().collect()
}

/// The attacks, in no order.
pub(super) fn attacks() -> Vec<Attack> {
    let parts = [
        addresses::attacks(),
        containers::attacks(),
        destinations::attacks(),
        fragments::attacks(),
        mac_addresses::attacks(),
        members::attacks(),
        over_ipv6::attacks(),
        relayed::attacks(),
        switched::attacks(),
        tunnels::attacks(),
        unregistered::attacks(),
        vrf::attacks(),
    ];
    parts.into_iter().flatten().collect()
}

/// The traffic that must go on.
pub(super) fn traffic() -> Vec<Legitimate> {
    let parts = [
        addresses::traffic(),
        containers::traffic(),
        forwarded::traffic(),
        fragments::traffic(),
        guests::traffic(),
        macvlan::traffic(),
        over_ipv6::traffic(),
        proxies::traffic(),
        routed::traffic(),
        switched::traffic(),
        unregistered::traffic(),
        vrf::traffic(),
        without_port::traffic(),
    ];
    parts.into_iter().flatten().collect()
}
