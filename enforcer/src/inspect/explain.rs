//! What `explain` and `--bpf-log` ask of the host.

use std::{collections::BTreeMap, net::IpAddr, sync::Once};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use aya_log::EbpfLogger;
use futures_util::TryStreamExt as _;
use log::Log;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::route::{RouteAttribute, RouteType},
};

use crate::control::{
    HostSnapshot, Instance,
    attached::AttachedGuards,
    reconcile::{self, plan_in_force},
};
use crate::{
    interfaces::InterfaceOptions,
    kernel::load::{SOCKET_PROGRAM, wire_programs},
    policy::{PolicyTables, Slots, compile},
    registry::Loaded,
};

/// The policy that a registry would be on this host, if it were in force.
///
/// # Errors
/// A limit of the maps, named.
pub fn would_be(loaded: &Loaded, snapshot: &HostSnapshot) -> Result<PolicyTables> {
    let registry = &loaded.registry;
    let none = Slots::new();
    let options_of = |name: &str| InterfaceOptions::of(registry, name);
    let plan = plan_in_force(snapshot, u32::MAX, options_of, &AttachedGuards::default());
    let hooks = plan
        .guards
        .iter()
        .filter_map(|guard| Some((guard.ifindex, *guard.hooks.first()?)))
        .collect::<BTreeMap<_, _>>();
    Ok(PolicyTables {
        provenance: loaded.provenance.clone(),
        ..compile(
            registry,
            &reconcile::attachments(snapshot, &plan, &hooks),
            &none,
        )?
    })
}

/// Whether a wire guard judges an interface: one that is attached, or with nothing pinned, one
/// that would be.
///
/// # Errors
/// The pins cannot be read.
pub fn has_wire_guard(
    instance: &Instance,
    tables: &PolicyTables,
    snapshot: &HostSnapshot,
    ifindex: u32,
) -> Result<bool> {
    let alive = AttachedGuards::find(instance.pins(), snapshot)?;
    if instance.is_pinned()? {
        return Ok(alive.guards.contains_key(&ifindex));
    }
    let plan = plan_in_force(snapshot, u32::MAX, |name| tables.options_of(name), &alive);
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

/// The ring buffer in which the pinned programs log.
///
/// # Errors
/// They were loaded without `--bpf-log`.
pub fn bpf_log<T: Log>(instance: &Instance, sink: T) -> Result<EbpfLogger<T>> {
    static LEVEL: Once = Once::new();
    LEVEL.call_once(|| log::set_max_level(log::LevelFilter::Trace));
    let mut names = wire_programs().into_iter().chain([SOCKET_PROGRAM]);
    let id = names
        .find_map(|name| ProgramInfo::from_pin(instance.pins().program(name)).ok())
        .context("no program is pinned")?
        .id();
    EbpfLogger::init_from_id_with_logger(id, sink)
        .context("the pinned programs have no log: they were loaded without --bpf-log")
}
