//! The facts that `explain` needs of the host.

use std::net::IpAddr;

use anyhow::Result;

use crate::{
    control::{Instance, find_attached},
    decisions::{
        attached::AttachedGuards,
        candidate::{Candidate, EVERY_GUARD, Recipe, guard_plan},
    },
    host::HostSnapshot,
    netlink::route,
    policy::{PolicyTables, Slots},
    registry::Loaded,
};

/// The policy that a registry would be on this host with nothing pinned.
///
/// # Errors
/// A limit of the maps, named.
pub fn would_be(loaded: &Loaded, snapshot: &HostSnapshot) -> Result<PolicyTables> {
    let recipe = Recipe {
        loaded,
        snapshot,
        flags: EVERY_GUARD,
    };
    let candidate = Candidate::compile(&recipe, &AttachedGuards::default(), &Slots::new())?;
    Ok(candidate.tables)
}

/// Whether a wire guard judges an interface: an attached guard, or with nothing pinned, a guard
/// that `up` would attach.
///
/// # Errors
/// The pins cannot be read.
pub fn has_wire_guard(
    instance: &Instance,
    tables: &PolicyTables,
    snapshot: &HostSnapshot,
    ifindex: u32,
) -> Result<bool> {
    let attached = find_attached(instance.pins(), snapshot)?;
    if instance.is_pinned()? {
        return Ok(attached.guards.contains_key(&ifindex));
    }
    let options = |name: &str| tables.options_of(name);
    let plan = guard_plan(snapshot, EVERY_GUARD, options, &attached).wanted;
    Ok(plan.guards.iter().any(|guard| guard.ifindex == ifindex))
}

/// Whether the FIB would forward a packet that arrived on an interface: RTM_GETROUTE with an input
/// interface, rtnetlink(7). A refusal (no route, no forwarding) means that the packet stays.
///
/// # Errors
/// The kernel cannot be asked.
pub async fn would_forward(ifindex: u32, source: IpAddr, destination: IpAddr) -> Result<bool> {
    let route = route::get(destination, Some(source), Some(ifindex)).await?;
    Ok(route.is_some_and(|route| route.kind == route::Kind::Unicast))
}
