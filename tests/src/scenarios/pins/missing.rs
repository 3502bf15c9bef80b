//! Every pin removed, one at a time.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::lab::Guards;
use crate::lab::command::finish;
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};

use super::super::lifecycle::{Flood, flooded_service};
use super::super::runner::expect_state;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "pins::each_missing_pin_is_told_and_mended",
            each_missing_pin,
        )
        .host_only(LOADER)
        .takes_long(),
    ]
}

/// The effect of a missing pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A map that the guards and the commands share.
    Map,
    /// The only reference to a guard: the other layer holds.
    Link,
    /// Nothing that a guard needs.
    Spare,
}

fn kind_of(name: &str) -> Kind {
    match name {
        _ if name.starts_with("link_") => Kind::Link,
        "NAMESPACE" => Kind::Spare,
        _ if name.starts_with("prog_") => Kind::Spare,
        _ => Kind::Map,
    }
}

fn each_missing_pin(rig: &Rig<'_>) -> Result<()> {
    let server = flooded_service(rig)?;
    rig.enforcer.up(Guards::Both)?;
    let pins = rig.lab.pin_dir();
    let mut names: Vec<String> = fs::read_dir(&pins)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    let count = |kind| names.iter().filter(|name| kind_of(name) == kind).count();
    ensure!(
        count(Kind::Map) == 23 && count(Kind::Link) >= 3 && count(Kind::Spare) >= 3,
        "expected maps, links and programs, but saw {names:?}"
    );
    for name in &names {
        // A flood lasts for a minute at most, and all pins may take longer.
        Flood::during(rig.lab, |flood| {
            fs::remove_file(pins.join(name))?;
            without(rig, name)?;
            flood.go_on_for(10)?;
            rig.enforcer.expect(&["up"], 0)?;
            expect_state(rig, 0, "enforcing").context("after `up`")?;
            ensure!(pins.join(name).exists(), "`up` made no {name}");
            flood.go_on_for(10)
        })
        .with_context(|| format!("without {name}"))?;
    }
    ensure!(
        server.accepted() == 0,
        "{} connections were accepted",
        server.accepted()
    );
    rig.enforcer.down()
}

/// The words of the commands without a pin.
fn without(rig: &Rig<'_>, name: &str) -> Result<()> {
    match kind_of(name) {
        Kind::Spare => expect_state(rig, 0, "enforcing"),
        Kind::Link => expect_state(rig, 3, "degraded"),
        Kind::Map => {
            // The pins stay this namespace's, whatever map is missing.
            let elsewhere = rig.enforcer.command_in(&rig.lab.lan, &["up"])?;
            let elsewhere = finish(elsewhere, "")?;
            ensure!(
                elsewhere.code == Some(1) && elsewhere.stderr.contains("another network namespace"),
                "{elsewhere}"
            );
            super::expect_words(rig, 3, &["degraded", name, "enforcer up"])?;
            let reload = rig.enforcer.expect(&["reload"], 1)?;
            ensure!(
                reload.stderr.contains(name) && reload.stderr.contains("enforcer up"),
                "expected `reload` to name the map and the cure, but {reload}"
            );
            Ok(())
        }
    }
}
