//! `events`: drops as they happen.

mod words;

use std::{io, time::Duration};

use anyhow::{Context as _, anyhow};
use jiff::tz::TimeZone;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::UnixStream,
    time::MissedTickBehavior,
};

use super::{
    Globals, Outcome,
    failure::{Failure, NOT_ENFORCING},
    output::{self, BOLD, PLAIN},
};
use crate::{
    control::{self, Instance},
    inspect::events::{Record, Refused, Stream, StreamError},
    note::{Note, NoteKind},
    printable,
    watch::{Pins, Watch as _},
};
use words::{HEADER, line};

/// The interval of looks for a new `run`, whose socket nothing announces.
const LOOK: Duration = Duration::from_secs(1);

/// Follows drops, through the living `run` or without one, until interrupted.
pub(crate) async fn events(globals: &Globals, instance: &Instance) -> Outcome {
    control::check_privileges()?;
    tokio::select! {
        outcome = follow(globals, instance) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(0),
    }
}

async fn follow(globals: &Globals, instance: &Instance) -> Outcome {
    let mut begun = false;
    // A `run` was there, and may come back.
    let mut followed = false;
    while instance.is_pinned()? {
        // Refuses pins of another namespace before the first read.
        instance.generation()?;
        if !std::mem::replace(&mut begun, true) && !globals.json {
            output::print(&format!("{BOLD}{HEADER}{PLAIN}"))?;
        }
        match UnixStream::connect(instance.events_socket()?).await {
            Ok(run) => {
                followed = true;
                from_run(globals, run).await?;
                continue;
            }
            // The backlog of `run` is full.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                followed = true;
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Err(_) => {}
        }
        // The watch starts before the events are opened, so that no change of the pins is missed.
        let pins = Pins::watch(instance.pin_dir())?;
        match Stream::open(instance) {
            Ok(drops) => alone(globals, instance, pins, drops).await?,
            // Another follower of the ended `run` was faster.
            Err(StreamError::Busy) if followed => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(anyhow::Error::from(error).into()),
        }
    }
    output::note(&match begun {
        true => Note::new(NoteKind::GuardsOff, "the guards were taken off"),
        false => Note::new(
            NoteKind::NothingPinned,
            "nothing is pinned: there is nothing to drop (`enforcer up`)",
        ),
    });
    Ok(NOT_ENFORCING)
}

/// Follows `run` until it ends.
async fn from_run(globals: &Globals, run: UnixStream) -> Result<(), Failure> {
    let mut lines = BufReader::new(run).lines();
    // The end of a `run`, by a signal too, ends the connection, possibly with an error.
    while let Ok(Some(text)) = lines.next_line().await {
        if let Some(why) = refusal(&text) {
            return Err(anyhow!("{why}: end another `enforcer events`, and try again").into());
        }
        if globals.json {
            output::print(&printable::json(&text))?;
            continue;
        }
        let record: Record = serde_json::from_str(&text)
            .context("failed to understand `run`, which may be of another version")?;
        output::print(&line(&record, TimeZone::system()))?;
    }
    Ok(())
}

/// Returns the reason why `run` has no place for a further follower, if the line gives one.
fn refusal(line: &str) -> Option<String> {
    // No drop has the field: a line is parsed once.
    let is_refusal = line.starts_with(r#"{"refused":"#);
    let refused: Option<Refused> = is_refusal.then(|| serde_json::from_str(line).ok())?;
    Some(refused?.refused)
}

/// Reads the events without `run`, until the pins go or a `run` starts.
async fn alone(
    globals: &Globals,
    instance: &Instance,
    mut pins: Pins,
    mut drops: Stream,
) -> Result<(), Failure> {
    let generation = instance.generation()?;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let records = tokio::select! {
            records = drops.next() => records?,
            _ = look.tick() => {
                if instance.is_followed() {
                    return Ok(());
                }
                continue;
            }
            changed = pins.changed() => {
                changed?;
                // Another set of pins has other events.
                if !instance.is_pinned()? || instance.generation()? < generation {
                    return Ok(());
                }
                continue;
            }
        };
        for record in records {
            match globals.json {
                true => output::print_json_line(&record)?,
                false => output::print(&line(&record, TimeZone::system()))?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_a_drop() {
        let refused = Refused {
            refused: "32 followers are connected already".to_owned(),
        };
        let line = serde_json::to_string(&refused).unwrap();
        assert_eq!(refusal(&line), Some(refused.refused));
        let record = Record {
            interface: Some(r#"{"refused":"x"}"#.to_owned()),
            ..Record::default()
        };
        assert_eq!(refusal(&serde_json::to_string(&record).unwrap()), None);
    }
}
