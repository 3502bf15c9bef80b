//! `explain`: what would become of a packet.

use anyhow::{Context as _, Result, anyhow};
use enforcer_ebpf::{Decision, Guard, Protocol, Reason};
use serde::Serialize;

use super::{
    Globals, Outcome,
    cli::Explain,
    failure::{Failure, note},
    output::{self, GREEN, PLAIN, RED, YELLOW},
    source,
};
use crate::{
    control::{self, Place, Survey},
    policy::{Description, Tables},
    registry::{Origin, load},
};

/// The fields are the JSON of the design.
#[derive(Serialize)]
struct Explanation {
    schema: u32,
    verdict: &'static str,
    reason: &'static str,
    service: Option<String>,
    peer: Option<String>,
    rule: Option<u8>,
}

/// Say what would become of a packet.
pub(super) async fn explain(globals: &Globals, place: &Place, packet: &Explain) -> Outcome {
    if let Some(destination) = packet.destination
        && destination.is_ipv4() != packet.source.is_ipv4()
    {
        return Err(Failure::usage(anyhow!(
            "{} and {destination} are of two families: no packet has both",
            packet.source
        )));
    }
    let survey = control::survey().await?;
    let tables = tables(globals, place).await?;
    let description = describe(packet, &tables, place, &survey).await?;
    let (description, decision) = both(&tables, description);
    let peer = match decision.reason {
        Reason::Peer => tables.granting_peer(&description),
        _ => None,
    };
    let explanation = Explanation {
        schema: 1,
        verdict: decision.verdict().name(),
        reason: decision.reason.name(),
        service: tables
            .service_of(description.protocol, description.port)
            .map(str::to_owned),
        peer: peer.map(|peer| peer.name.clone()),
        rule: decision.row(),
    };
    if globals.json {
        output::print_json(&explanation)?;
    } else {
        let guarded = !place.is_pinned()? || place.has_socket_guard()?;
        output::print(&human(
            &explanation,
            &decision,
            &description,
            packet,
            guarded,
        ))?;
    }
    Ok(0)
}

/// What becomes of a packet in the end: one that the wire guard lets through to this host's sockets
/// meets the socket guard, which may know the interface better (a bridge, a VLAN device).
fn both(tables: &Tables, wire: Description) -> (Description, Decision) {
    let first = tables.judge(&wire);
    let ends = first.drops() || first.reason == Reason::Forwarded || wire.guard == Guard::Socket;
    if !ends {
        let socket = Description {
            guard: Guard::Socket,
            ..wire
        };
        let second = tables.judge(&socket);
        if second.drops() {
            return (socket, second);
        }
    }
    (wire, first)
}

/// The policy in force, or the one that `up` would put in force.
async fn tables(globals: &Globals, place: &Place) -> Result<Tables, Failure> {
    if let Some(maps) = place.maps()? {
        return Ok(maps.tables()?);
    }
    let loaded = load(&source(globals, true))?;
    let what = match &loaded.origin {
        Origin::Embedded => "the embedded default".to_owned(),
        Origin::Files(files) => files
            .iter()
            .map(|file| file.display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
    };
    note(&format!(
        "nothing is pinned: this is what {what} would do if it were in force"
    ));
    let survey = control::survey_for(&loaded.registry).await?;
    Ok(control::would_be(&loaded, &survey)?)
}

async fn describe(
    packet: &Explain,
    tables: &Tables,
    place: &Place,
    survey: &Survey,
) -> Result<Description> {
    let interface = survey.by_name(&packet.interface).with_context(|| {
        let names: Vec<&str> = survey.iter().map(|i| i.name.as_str()).collect();
        format!(
            "there is no interface {} in this network namespace; there are: {}",
            packet.interface,
            names.join(", ")
        )
    })?;
    // What no wire guard looks at (podman0, a bridge's member) meets the socket guard alone.
    let guard = match control::has_wire_guard(place, tables, survey, interface.index)? {
        true => Guard::Wire,
        false => Guard::Socket,
    };
    let forwards = tables.rule(&packet.interface).forward && guard == Guard::Wire;
    let forwarded = match packet.destination {
        Some(destination) if forwards => {
            control::would_forward(interface.index, packet.source, destination).await?
        }
        _ => false,
    };
    Ok(Description {
        guard,
        ifindex: interface.index,
        loopback: interface.loopback,
        source: packet.source.into(),
        destination: packet.destination.map(Into::into),
        protocol: Protocol::from(packet.protocol),
        port: packet.port,
        forwarded,
    })
}

fn human(
    explanation: &Explanation,
    decision: &Decision,
    description: &Description,
    packet: &Explain,
    has_socket_guard: bool,
) -> String {
    let (style, verdict) = match (decision.drops(), decision.audited) {
        (true, _) => (RED, "drop"),
        (false, true) => (YELLOW, "pass, counted as a drop (audit)"),
        (false, false) => (GREEN, "pass"),
    };
    let port = format!("{}/{}", description.port, description.protocol);
    let what = match &explanation.service {
        Some(service) => format!("{service} ({port})"),
        None => format!("{port}, which is not registered"),
    };
    let why = match (&explanation.peer, decision.row()) {
        (Some(peer), Some(row)) => format!("{} {peer}, rule {row}", decision.reason),
        (_, Some(row)) => format!("{}, rule {row}", decision.reason),
        (_, None) => decision.reason.to_string(),
    };
    let guard = match (description.guard, has_socket_guard) {
        _ if description.loopback => "no guard stands in the way of lo",
        (Guard::Wire, _) if decision.drops() => "the wire guard ends it",
        (Guard::Wire, true) => "the wire guard lets it on, and so does the socket guard",
        (Guard::Wire, false) => "the wire guard lets it on, and there is no socket guard",
        (Guard::Socket, true) => "the socket guard judges it",
        (Guard::Socket, false) => {
            "no guard judges it: this interface has no wire guard, and there is no socket guard"
        }
    };
    format!(
        "{style}{verdict}{PLAIN}: {why}\n  from {} on {} to {what}\n  {guard}",
        packet.source, packet.interface
    )
}
