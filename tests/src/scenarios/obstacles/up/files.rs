//! The registry's files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Result;

use super::super::cell::Obstacle::{Fragments, Registry};
use super::super::cell::State;
use super::super::files::{GARBAGE, NOBODY, fifo, give, mode, remove};
use super::super::trial::GOOD;
use super::attempt::{Attempt, Placed};
use super::cell::{UpCell, guards, refusal};
use crate::lab::Feature;
use crate::lab::mounts::{Change, with_mounts};
use crate::lab::silent::SilentServer;

const NO_ANSWER: &[&str] = &["did not answer within 5 s"];

pub(super) const CELLS: &[UpCell] = &[
    UpCell {
        obstacle: Registry,
        state: State::Absent,
        name: "registry_absent",
        made: "no file",
        needs: None,
        place: |attempt| {
            remove(attempt.rig.enforcer.config_path()?)?;
            Ok(Placed::anywhere())
        },
        first: Ok(refusal(2, &["No such file"])),
        over_pins: Ok(refusal(2, &["No such file"])),
    },
    UpCell {
        obstacle: Registry,
        state: State::Hangs,
        name: "registry_pipe",
        made: "a FIFO without a writer",
        needs: None,
        place: |attempt| {
            fifo(attempt.rig.enforcer.config_path()?)?;
            Ok(Placed::anywhere())
        },
        first: Ok(refusal(2, NO_ANSWER)),
        over_pins: Ok(refusal(2, NO_ANSWER)),
    },
    UpCell {
        obstacle: Registry,
        state: State::Hangs,
        name: "registry_silent",
        made: "a file system without an answer",
        needs: Some(Feature::Fuse),
        place: |attempt| silent(attempt.rig.enforcer.config_path()?),
        first: Ok(refusal(2, NO_ANSWER)),
        over_pins: Ok(refusal(2, NO_ANSWER)),
    },
    UpCell {
        obstacle: Registry,
        state: State::Full,
        name: "registry_huge",
        made: "a file of 3 MiB",
        needs: None,
        place: |attempt| {
            let text = format!("{GOOD}{}", "# no end\n".repeat(350_000));
            attempt.rig.enforcer.registry(&text)?;
            Ok(Placed::anywhere())
        },
        first: Ok(refusal(2, &["2 MiB"])),
        over_pins: Ok(refusal(2, &["2 MiB"])),
    },
    UpCell {
        obstacle: Registry,
        state: State::Foreign,
        name: "registry_of_a_user",
        made: "a user's file at the default path",
        needs: None,
        place: of_a_user,
        first: Ok(refusal(2, &["chown", "belongs to user"])),
        over_pins: Ok(refusal(2, &["chown", "belongs to user"])),
    },
    UpCell {
        obstacle: Registry,
        state: State::Foreign,
        name: "registry_of_a_user_named",
        made: "a user's file that `--config` names",
        needs: None,
        place: |attempt| {
            give(attempt.rig.enforcer.config_path()?, NOBODY)?;
            Ok(Placed::anywhere())
        },
        first: Ok(guards(0, &["belongs to user"])),
        over_pins: Ok(guards(0, &["belongs to user"])),
    },
    UpCell {
        obstacle: Registry,
        state: State::Garbage,
        name: "registry_garbage",
        made: "binary bytes",
        needs: None,
        place: |attempt| {
            fs::write(attempt.rig.enforcer.config_path()?, GARBAGE)?;
            Ok(Placed::anywhere())
        },
        first: Ok(refusal(2, &["enforcer.toml:1:"])),
        over_pins: Ok(refusal(2, &["enforcer.toml:1:"])),
    },
    UpCell {
        obstacle: Fragments,
        state: State::Absent,
        name: "fragments_absent",
        made: "a link to nothing",
        needs: None,
        place: |attempt| {
            let folder = attempt.fragments()?;
            fs::remove_dir_all(&folder)?;
            symlink("nowhere", &folder)?;
            Ok(Placed::anywhere())
        },
        first: Ok(refusal(2, &["enforcer.d"])),
        over_pins: Ok(refusal(2, &["enforcer.d"])),
    },
    UpCell {
        obstacle: Fragments,
        state: State::Hangs,
        name: "fragments_pipe",
        made: "a FIFO among the fragments",
        needs: None,
        place: |attempt| {
            fifo(&attempt.fragments()?.join("pipe.toml"))?;
            Ok(Placed::anywhere())
        },
        first: Ok(refusal(2, &["this is a pipe"])),
        over_pins: Ok(refusal(2, &["this is a pipe"])),
    },
    UpCell {
        obstacle: Fragments,
        state: State::Hangs,
        name: "fragments_silent",
        made: "a file system without an answer",
        needs: Some(Feature::Fuse),
        place: |attempt| silent(&attempt.fragments()?),
        first: Ok(refusal(2, NO_ANSWER)),
        over_pins: Ok(refusal(2, NO_ANSWER)),
    },
    UpCell {
        obstacle: Fragments,
        state: State::Full,
        name: "fragments_huge",
        made: "a fragment of 3 MiB",
        needs: None,
        place: |attempt| {
            let text = "# no end\n".repeat(350_000);
            fs::write(attempt.fragments()?.join("huge.toml"), text)?;
            Ok(Placed::anywhere())
        },
        first: Ok(refusal(2, &["2 MiB"])),
        over_pins: Ok(refusal(2, &["2 MiB"])),
    },
    UpCell {
        obstacle: Fragments,
        state: State::Foreign,
        name: "fragments_open",
        made: "mode 0777, beside a file that `--config` names",
        needs: None,
        place: |attempt| {
            mode(&attempt.fragments()?, 0o777)?;
            Ok(Placed::anywhere())
        },
        first: Ok(guards(0, &["chmod go-w"])),
        over_pins: Ok(guards(0, &["chmod go-w"])),
    },
    UpCell {
        obstacle: Fragments,
        state: State::Garbage,
        name: "fragments_garbage",
        made: "a binary file",
        needs: None,
        place: |attempt| {
            fs::write(attempt.fragments()?.join("x.toml"), GARBAGE)?;
            Ok(Placed::anywhere())
        },
        first: Ok(refusal(2, &["x.toml:1:"])),
        over_pins: Ok(refusal(2, &["x.toml:1:"])),
    },
];

fn silent(place: &Path) -> Result<Placed> {
    let server = SilentServer::start()?;
    let change = server.over(place)?;
    let placed = Placed::for_command(move |command| {
        with_mounts(command, vec![change]);
        Ok(())
    });
    Ok(placed.keeping(server))
}

/// A registry of a user at the default path, in an /etc of the command's own.
fn of_a_user(attempt: &Attempt<'_>) -> Result<Placed> {
    let etc = attempt.rig.lab.scratch().join("etc");
    let file = etc.join("enforcer/enforcer.toml");
    fs::create_dir_all(etc.join("enforcer"))?;
    fs::write(&file, GOOD)?;
    mode(&etc, 0o755)?;
    mode(&etc.join("enforcer"), 0o755)?;
    give(&file, NOBODY)?;
    let change = Change::bind(&etc, Path::new("/etc"))?;
    Ok(Placed::at_default_path(move |command| {
        with_mounts(command, vec![change]);
        Ok(())
    }))
}
