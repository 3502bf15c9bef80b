//! `events`: drops as they happen.

mod words;

use std::time::Duration;

use anyhow::Context as _;
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
    inspect::events::{Record, Stream, StreamError},
    note::{Note, NoteKind},
    watch::Pins,
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
        if let Ok(run) = UnixStream::connect(instance.events_socket()?).await {
            followed = true;
            from_run(globals, run).await?;
            continue;
        }
        // The watch starts before the events are opened, so that no change of the pins is missed.
        let (pins, _) = Pins::open(instance.pin_dir());
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
        if globals.json {
            output::print(&text)?;
            continue;
        }
        let record: Record = serde_json::from_str(&text)
            .context("failed to understand `run`, which may be of another version")?;
        output::print(&line(&record, TimeZone::system()))?;
    }
    Ok(())
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
            () = pins.changed() => {
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
