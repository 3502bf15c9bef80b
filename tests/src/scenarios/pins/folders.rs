//! Folders that strangers and root's other programs put in the way.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::lab::command::Daemon;
use crate::lab::{Guards, Patience};
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};

use super::super::runner::{answered, unanswered};
use super::{expect_words, from_lan, service};

/// The user and the group `nobody`.
const NOBODY: u32 = 65534;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("pins::a_strangers_folder_is_moved_aside::by_up", |rig| {
            moved_aside(rig, By::Up)
        })
        .host_only(LOADER),
        Scenario::new("pins::a_strangers_folder_is_moved_aside::by_run", |rig| {
            moved_aside(rig, By::Run)
        })
        .host_only(LOADER),
        Scenario::new(
            "pins::a_strangers_folder_is_moved_aside::by_down",
            before_down,
        )
        .host_only(LOADER),
        Scenario::new("pins::a_race_for_the_folder_is_won", race)
            .host_only(LOADER)
            .takes_long(),
        Scenario::new("pins::a_file_of_roots_among_the_pins", among_pins).host_only(LOADER),
        Scenario::new("pins::an_open_parent_degrades", open_parent).host_only(LOADER),
    ]
}

/// The command that meets the folder.
#[derive(Clone, Copy)]
enum By {
    Up,
    Run,
}

/// The pin directory, and the names beside that the enforcer uses.
fn places(rig: &Rig<'_>) -> Vec<PathBuf> {
    let pins = rig.lab.pin_dir();
    let beside = |suffix: &str| {
        let name = pins.file_name().unwrap_or_default().to_string_lossy();
        pins.with_file_name(format!("{name}{suffix}"))
    };
    vec![
        beside(""),
        beside("_enforcer_tmp"),
        beside("_enforcer_scratch"),
        beside("_enforcer_rescue"),
    ]
}

fn parent(rig: &Rig<'_>) -> Result<PathBuf> {
    let pins = rig.lab.pin_dir();
    Ok(pins.parent().context("no parent")?.to_owned())
}

/// Lets every user make folders beside the pins.
fn open(rig: &Rig<'_>) -> Result<()> {
    Ok(fs::set_permissions(
        parent(rig)?,
        Permissions::from_mode(0o1777),
    )?)
}

fn give_away(path: &Path) -> Result<()> {
    Ok(std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY))?)
}

/// Ways to be in the way.
const OBSTACLES: [fn(&Path) -> Result<()>; 4] = [
    // A folder with the name of a pin, which has no pin in it.
    |path| {
        fs::create_dir_all(path.join("link_socket"))?;
        give_away(&path.join("link_socket"))?;
        give_away(path)
    },
    // A link to a folder that matters.
    |path| {
        symlink("/", path)?;
        give_away(path)
    },
    |path| {
        fs::create_dir(path)?;
        give_away(path)
    },
    // Root's own, with somebody's folder in it.
    |path| {
        fs::create_dir_all(path.join("theirs"))?;
        Ok(())
    },
];

fn moved_aside(rig: &Rig<'_>, by: By) -> Result<()> {
    let _server = service(rig)?;
    open(rig)?;
    for obstacle in OBSTACLES {
        for place in places(rig) {
            obstacle(&place)?;
        }
        // A stranger's folder is no set of pins, and no leftover of a command.
        expect_words(rig, 4, &["off", "nothing is pinned"])?;
        match by {
            By::Up => {
                rig.enforcer.expect(&["up"], 3)?;
            }
            By::Run => drop(rig.enforcer.run(&[])?),
        }
        unanswered(from_lan(rig, Patience::Brief)?)?;
        rig.enforcer.down()?;
        answered(from_lan(rig, Patience::Long)?).context("after `down`")?;
    }
    let names = names(&parent(rig)?)?;
    let aside = names
        .iter()
        .filter(|name| name.contains("_enforcer_aside_"));
    ensure!(
        aside.count() == 3 * 4 && names.len() == 3 * 4,
        "expected all but the empty folders, moved aside, but saw {names:?}"
    );
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn before_down(rig: &Rig<'_>) -> Result<()> {
    open(rig)?;
    for obstacle in &OBSTACLES[..3] {
        for place in places(rig) {
            obstacle(&place)?;
        }
        rig.enforcer.down()?;
        for place in places(rig) {
            ensure!(
                fs::symlink_metadata(&place).is_err(),
                "`down` left {}",
                place.display()
            );
        }
    }
    // The guards come off, whatever stands beside the pins.
    let _server = service(rig)?;
    rig.enforcer.expect(&["up"], 3)?;
    for place in &places(rig)[1..] {
        OBSTACLES[0](place)?;
    }
    rig.enforcer.down()?;
    answered(from_lan(rig, Patience::Long)?).context("after `down`")
}

/// A user makes folders as fast as the user can, while `up` and `down` take turns.
fn race(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    open(rig)?;
    let list: Vec<String> = places(rig)
        .iter()
        .filter_map(|place| Some(format!("{}/link_x", place.file_name()?.to_str()?)))
        .collect();
    let list = list.join(" ");
    let mut racers = Vec::new();
    for _ in 0..2 {
        let mut racer = rig.lab.host.command("setpriv");
        // The folder is the working directory: the way there is root's.
        racer.current_dir(parent(rig)?);
        racer.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "sh",
            "-c",
        ]);
        racer.arg(format!("while :; do mkdir -p {list} 2>/dev/null; done"));
        racers.push(Daemon::spawn(racer)?);
    }
    for round in 0..50 {
        rig.enforcer
            .expect(&["up"], 3)
            .with_context(|| format!("round {round}"))?;
        if round % 10 == 0 {
            unanswered(from_lan(rig, Patience::Brief)?)?;
        }
        if round % 2 == 1 {
            rig.enforcer
                .down()
                .with_context(|| format!("round {round}"))?;
        }
    }
    drop(racers);
    let moved = names(&parent(rig)?)?;
    let aside = moved
        .iter()
        .filter(|name| name.contains("_enforcer_aside_"));
    ensure!(
        aside.count() > 20,
        "the racer never got in the way: {moved:?}"
    );
    rig.enforcer.down()
}

/// `up` replaces the set with all its guards; `down` says what is in the way.
fn among_pins(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    rig.enforcer.up(Guards::Both)?;
    let stray = rig.lab.pin_dir().join("theirs");
    fs::create_dir(&stray)?;
    let down = rig.enforcer.expect(&["down"], 1)?;
    ensure!(
        down.stderr.contains("it holds theirs") && stray.exists(),
        "expected `down` to name the folder, but {down}"
    );
    unanswered(from_lan(rig, Patience::Brief)?)?;
    let up = rig.enforcer.expect(&["up"], 0)?;
    ensure!(
        up.stderr.contains("was in the way") && !stray.exists(),
        "expected `up` to move the old folder aside, but {up}"
    );
    unanswered(from_lan(rig, Patience::Brief)?)?;
    let names = names(&parent(rig)?)?;
    let old = names.iter().find(|name| name.contains("_enforcer_aside_"));
    let old = parent(rig)?.join(old.context("the old folder")?);
    ensure!(
        self::names(&old)? == ["theirs"],
        "expected the folder of root's alone in {}",
        old.display()
    );
    rig.enforcer.down()?;
    answered(from_lan(rig, Patience::Long)?).context("after `down`")
}

fn open_parent(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    expect_words(rig, 0, &["enforcing"])?;
    open(rig)?;
    expect_words(rig, 3, &["degraded", "chmod 700"])?;
    let up = rig.enforcer.expect(&["up"], 3)?;
    ensure!(up.stderr.contains("chmod 700"), "{up}");
    fs::set_permissions(parent(rig)?, Permissions::from_mode(0o700))?;
    expect_words(rig, 0, &["enforcing"])?;
    rig.enforcer.down()
}
