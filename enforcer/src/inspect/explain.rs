//! The facts that `explain` needs of the host.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::route::{RouteAttribute, RouteType},
};

use crate::{
    control::{Instance, find_attached},
    decisions::{
        attached::AttachedGuards,
        candidate::{Candidate, EVERY_GUARD, Recipe, guard_plan},
    },
    host::HostSnapshot,
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
/// interface, rtnetlink(7). A refusal (no route, no forwarding) means that it would not.
///
/// # Errors
/// rtnetlink cannot be asked.
pub async fn would_forward(ifindex: u32, source: IpAddr, destination: IpAddr) -> Result<bool> {
    let (connection, handle, _) =
        rtnetlink::new_connection().context("failed to open an rtnetlink socket")?;
    tokio::spawn(connection);
    let bits = if destination.is_ipv4() { 32 } else { 128 };
    let mut question = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(destination, bits)
        .and_then(|builder| builder.source_prefix(source, bits))
        .context("source and destination must be of one family")?
        .build();
    question.attributes.push(RouteAttribute::Iif(ifindex));
    let mut answers = handle.route().get(question).execute();
    Ok(matches!(
        answers.try_next().await,
        Ok(Some(route)) if route.header.kind == RouteType::Unicast
    ))
}
