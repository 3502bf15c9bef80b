//! What `explain` and `--bpf-log` ask of the host.

use std::{collections::BTreeMap, net::IpAddr, sync::Once};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use aya_log::EbpfLogger;
use log::Log;

use super::{
    Place, Survey,
    wire::{self, Alive, plan_in_force},
};
use crate::{
    interfaces::Rule,
    kernel::load::{SOCKET_PROGRAM, wire_programs},
    netlink::route,
    policy::{Slots, Tables, compile},
    registry::Loaded,
};

/// The policy that a registry would be on this host, if it were in force.
///
/// # Errors
/// A limit of the maps, named.
pub fn would_be(loaded: &Loaded, survey: &Survey) -> Result<Tables> {
    let registry = &loaded.registry;
    let none = Slots::new();
    let rule = |name: &str| Rule::of(registry, name);
    let plan = plan_in_force(survey, u32::MAX, rule, &Alive::default());
    let hooks = plan
        .guards
        .iter()
        .filter_map(|guard| Some((guard.ifindex, *guard.hooks.first()?)))
        .collect::<BTreeMap<_, _>>();
    Ok(Tables {
        provenance: loaded.provenance.clone(),
        ..compile(registry, &wire::attachments(survey, &plan, &hooks), &none)?
    })
}

/// Whether a wire guard judges an interface: one that is attached, or with nothing pinned, one
/// that would be.
///
/// # Errors
/// The pins cannot be read.
pub fn has_wire_guard(
    place: &Place,
    tables: &Tables,
    survey: &Survey,
    ifindex: u32,
) -> Result<bool> {
    let alive = Alive::find(&place.pins, survey)?;
    if place.is_pinned()? {
        return Ok(alive.guards.contains_key(&ifindex));
    }
    let plan = plan_in_force(survey, u32::MAX, |name| tables.rule(name), &alive);
    Ok(plan.guards.iter().any(|guard| guard.ifindex == ifindex))
}

/// Whether the FIB would forward a packet that arrived on an interface: RTM_GETROUTE with an input
/// interface, rtnetlink(7). A refusal (no route, no forwarding) means that it would not.
///
/// # Errors
/// The kernel cannot be asked.
pub async fn would_forward(ifindex: u32, source: IpAddr, destination: IpAddr) -> Result<bool> {
    let route = route::get(destination, Some(source), Some(ifindex)).await?;
    Ok(route.is_some_and(|route| route.kind == route::Kind::Unicast))
}

/// The ring buffer in which the pinned programs log.
///
/// # Errors
/// They were loaded without `--bpf-log`.
pub fn bpf_log<T: Log>(place: &Place, sink: T) -> Result<EbpfLogger<T>> {
    static LEVEL: Once = Once::new();
    LEVEL.call_once(|| log::set_max_level(log::LevelFilter::Trace));
    let mut names = wire_programs().into_iter().chain([SOCKET_PROGRAM]);
    let id = names
        .find_map(|name| ProgramInfo::from_pin(place.pins.program(name)).ok())
        .context("no program is pinned")?
        .id();
    EbpfLogger::init_from_id_with_logger(id, sink)
        .context("the pinned programs have no log: they were loaded without --bpf-log")
}
