//! `counters`.

use std::time::Duration;

use enforcer_ebpf::{
    NO_SLOT, Protocol,
    layout::{Cell, Count},
};
use serde::Serialize;

use super::{
    Globals, Outcome,
    failure::NOT_ENFORCING,
    output::{self, table},
};
use crate::{
    control::{self, Instance},
    note::{Note, NoteKind},
};

/// Which counters to show.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) service: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) all: bool,
}

/// One counter; the fields are the JSON of the design.
#[derive(Clone, Debug, Serialize)]
struct Row {
    service: Option<String>,
    protocol: Option<&'static str>,
    port: Option<u16>,
    guard: &'static str,
    verdict: &'static str,
    reason: &'static str,
    audited: bool,
    packets: u64,
    bytes: u64,
}

/// Show what passed and what was dropped.
pub(crate) async fn counters(
    globals: &Globals,
    instance: &Instance,
    wanted: &Wanted,
    watch: Option<u64>,
) -> Outcome {
    let Some(every) = watch else {
        return show(globals, instance, wanted, false);
    };
    let mut ticks = tokio::time::interval(Duration::from_secs(every));
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(0),
        }
        let code = show(globals, instance, wanted, true)?;
        if code != 0 {
            return Ok(code);
        }
    }
}

fn show(globals: &Globals, instance: &Instance, wanted: &Wanted, again: bool) -> Outcome {
    let Some(rows) = rows(instance, wanted)? else {
        if globals.json && !again {
            output::print("[]")?;
        }
        output::note(&Note::new(
            NoteKind::NothingPinned,
            "nothing is pinned: there is nothing to count (`enforcer up`)",
        ));
        return Ok(NOT_ENFORCING);
    };
    match (globals.json, again) {
        // A stream is one object a line.
        (true, true) => {
            for row in &rows {
                output::print_json_line(row)?;
            }
        }
        (true, false) => output::print_json(&rows)?,
        (false, again) => {
            // Home and clear, on a terminal; elsewhere a blank line keeps the tables apart.
            let between = match (again, is_terminal()) {
                (true, true) => "\x1b[H\x1b[2J",
                (true, false) => "\n",
                (false, _) => "",
            };
            output::print(&format!("{between}{}", human(&rows)))?;
        }
    }
    Ok(0)
}

fn is_terminal() -> bool {
    use std::io::IsTerminal as _;
    std::io::stdout().is_terminal()
}

/// The rows that are wanted, `None` where nothing is pinned.
fn rows(instance: &Instance, wanted: &Wanted) -> Result<Option<Vec<Row>>, control::Error> {
    let Some(maps) = instance.maps()? else {
        return Ok(None);
    };
    let tables = maps.tables()?;
    if let Some(name) = &wanted.service
        && !tables.services.iter().any(|service| service.name == *name)
    {
        let names = tables.services.iter().map(|service| service.name.as_str());
        let text = format!("there is no service {name}; there are: {}", join(names));
        output::note(&Note::new(NoteKind::UnknownService, text));
    }
    let mut rows = Vec::new();
    for (&(protocol, port), binding) in &tables.ports {
        let service = tables.service_of(protocol, port);
        let named = wanted
            .service
            .as_deref()
            .is_none_or(|name| service == Some(name));
        if named && wanted.port.is_none_or(|only| only == port) {
            let counts = maps.counts(binding.slot)?;
            let of = (service.map(str::to_owned), Some((protocol, port)));
            rows.extend(
                counts
                    .into_iter()
                    .map(|(cell, count)| row(&of, cell, count)),
            );
        }
    }
    if wanted.service.is_none() && wanted.port.is_none() {
        let counts = maps.counts(NO_SLOT)?;
        rows.extend(
            counts
                .into_iter()
                .map(|(cell, count)| row(&(None, None), cell, count)),
        );
    }
    rows.retain(|row| wanted.all || row.packets > 0);
    rows.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    Ok(Some(rows))
}

/// By service; what has none comes last.
fn sort_key(row: &Row) -> (bool, &Option<String>, Option<u16>, Option<&str>) {
    (row.service.is_none(), &row.service, row.port, row.protocol)
}

fn row(of: &(Option<String>, Option<(Protocol, u16)>), cell: Cell, count: Count) -> Row {
    Row {
        service: of.0.clone(),
        protocol: of.1.map(|(protocol, _)| protocol.name()),
        port: of.1.map(|(_, port)| port),
        guard: cell.guard.name(),
        verdict: cell.reason.verdict().name(),
        reason: cell.reason.name(),
        audited: cell.audited,
        packets: count.packets,
        bytes: count.bytes,
    }
}

fn human(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "nothing has been counted yet (--all shows every counter)".to_owned();
    }
    let dash = || "-".to_owned();
    let cells = rows.iter().map(|row| {
        let verdict = match row.audited {
            true => format!("{} (audit)", row.verdict),
            false => row.verdict.to_owned(),
        };
        vec![
            row.service.clone().unwrap_or_else(dash),
            match (row.port, row.protocol) {
                (Some(port), Some(protocol)) => format!("{port}/{protocol}"),
                _ => dash(),
            },
            row.guard.to_owned(),
            verdict,
            row.reason.to_owned(),
            row.packets.to_string(),
            row.bytes.to_string(),
        ]
    });
    table(
        &[
            "service", "port", "guard", "verdict", "reason", "packets", "bytes",
        ],
        &[5, 6],
        cells.collect(),
    )
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
