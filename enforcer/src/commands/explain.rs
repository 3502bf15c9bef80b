//! `explain`: what would become of a packet.

use anyhow::{Context as _, Result};
use enforcer_ebpf::{Decision, Guard, Protocol};
use serde::Serialize;

use super::{
    Globals, Outcome,
    cli::Explain,
    failure::note,
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
    let survey = control::survey().await?;
    let tables = tables(globals, place, &survey)?;
    let description = describe(packet, &tables, place, &survey).await?;
    let decision = tables.judge(&description);
    let peer = match decision.reason {
        enforcer_ebpf::Reason::Peer => tables.granting_peer(&description),
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
        output::print(&human(&explanation, &decision, &description, packet))?;
    }
    Ok(0)
}

/// The policy in force, or the one that `up` would put in force.
fn tables(globals: &Globals, place: &Place, survey: &Survey) -> Result<Tables, super::Failure> {
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
    Ok(control::would_be(&loaded.registry, survey)?)
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
    let guard = match description.guard {
        _ if description.loopback => "no guard stands in the way of lo",
        Guard::Wire => "the wire guard judges first, then the socket guard by the same rules",
        Guard::Socket => "no wire guard judges this interface: the socket guard does",
    };
    format!(
        "{style}{verdict}{PLAIN}: {why}\n  from {} on {} to {what}\n  {guard}",
        packet.source, packet.interface
    )
}
