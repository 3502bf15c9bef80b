//! `counters`.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use super::{
    Globals, Outcome,
    failure::NOT_ENFORCING,
    output::{self, table},
    wrap::{Width, wrap},
};
use crate::{
    control::Instance,
    inspect::{self, CounterRow, Selection},
    note::{Note, NoteKind},
    printable::name,
};

/// Shows passed and dropped packets; again every `watch` seconds, if given.
pub(crate) async fn counters(
    globals: &Globals,
    instance: &Instance,
    selection: &Selection,
    watch: Option<u64>,
) -> Outcome {
    let Some(every) = watch else {
        return show(globals, instance, selection, false);
    };
    let mut ticks = tokio::time::interval(Duration::from_secs(every));
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(0),
        }
        let code = show(globals, instance, selection, true)?;
        if code != 0 {
            return Ok(code);
        }
    }
}

fn show(globals: &Globals, instance: &Instance, selection: &Selection, again: bool) -> Outcome {
    let Some(counters) = inspect::counters(instance, selection)? else {
        if globals.json && !again {
            output::print("[]")?;
        }
        output::note(&Note::new(
            NoteKind::NothingPinned,
            "nothing is pinned: there is nothing to count (`enforcer up`)",
        ));
        return Ok(NOT_ENFORCING);
    };
    if let (Some(service), Some(known)) = (&selection.service, &counters.known_services) {
        output::note(&unknown_service(service, known));
    }
    let rows = &counters.rows;
    match (globals.json, again) {
        // A stream is one object a line.
        (true, true) => {
            for row in rows {
                output::print_json_line(row)?;
            }
        }
        (true, false) => output::print_json(rows)?,
        (false, again) => {
            // Home and clear, on a terminal; elsewhere a blank line keeps the tables apart.
            let between = match (again, io::stdout().is_terminal()) {
                (true, true) => "\x1b[H\x1b[2J",
                (true, false) => "\n",
                (false, _) => "",
            };
            output::print(&format!("{between}{}", human(rows, output::width())))?;
        }
    }
    Ok(0)
}

fn unknown_service(service: &str, known: &[String]) -> Note {
    let text = format!(
        "there is no service {service}; there are: {}",
        known.join(", ")
    );
    Note::new(NoteKind::UnknownService, text)
}

/// Returns counters in words.
fn human(rows: &[CounterRow], width: Width) -> String {
    if rows.is_empty() {
        let text = "nothing has been counted yet (--all shows every counter)";
        return wrap(text, width, 2);
    }
    let dash = || "-".to_owned();
    let cells = rows.iter().map(|row| {
        let verdict = match row.audited {
            true => format!("{} (audit)", row.verdict),
            false => row.verdict.to_owned(),
        };
        let service = row.service.as_deref().map(|it| name(it).into_owned());
        vec![
            service.unwrap_or_else(dash),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::snapshots::assert_snapshot;

    #[test]
    fn empty() {
        assert_snapshot("counters-empty", |width| human(&[], width));
    }

    #[test]
    fn rows() {
        let redis = CounterRow {
            service: Some("redis".to_owned()),
            protocol: Some("tcp"),
            port: Some(6379),
            guard: "wire",
            verdict: "drop",
            reason: "untrusted-interface",
            audited: false,
            packets: 1_234_567,
            bytes: 98_765_432,
        };
        let audited = CounterRow {
            guard: "socket",
            audited: true,
            packets: 3,
            bytes: 180,
            ..redis.clone()
        };
        let portless = CounterRow {
            service: None,
            protocol: None,
            port: None,
            reason: "malformed",
            packets: 1,
            bytes: 40,
            ..redis.clone()
        };
        let rows = [redis, audited, portless];
        assert_snapshot("counters-rows", |width| human(&rows, width));
    }

    #[test]
    fn an_unknown_service() {
        let known = ["grafana".to_owned(), "redis".to_owned()];
        let note = unknown_service("reddis", &known);
        assert_snapshot("counters-unknown-service", |width| {
            output::note_text(&note, width)
        });
    }
}
