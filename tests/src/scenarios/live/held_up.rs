//! Others who try to hold `run` up: a new interface has its guard within the usual time all the
//! same.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context, Result, ensure};

use crate::lab::command::{Daemon, finish};
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};

use super::plug::Plug;
use super::timing::{figure, service_of, spread, within};

/// Interfaces, one after the other.
const TRIES: usize = 5;
/// Addresses that a bridge has learned.
const LEARNED: u32 = 70_000;
/// Users at work.
const USERS: usize = 3;
/// A port that no service of the registry has.
const NEW_PORT: u16 = 15_000;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "live::a_users_folders_beside_the_pins_hold_nothing_up",
            folders_of_a_user,
        )
        .host_only(LOADER),
        Scenario::new(
            "live::a_bridge_with_a_long_table_holds_nothing_up",
            long_table,
        )
        .host_only(LOADER),
    ]
}

/// New interfaces have their guards, and an edit is applied.
fn goes_on(rig: &Rig<'_>, scenario: &str) -> Result<()> {
    let mut took = Vec::new();
    for number in 1..=TRIES {
        let plug = Plug::new(rig.lab)?;
        let start = plug.up()?;
        within(SETTLE, "a wire guard", || plug.is_guarded())
            .with_context(|| format!("try {number}"))?;
        took.push(start.elapsed());
    }
    let edit = format!("{REGISTRY}\n[services.new]\nports = [{NEW_PORT}]\n");
    rig.enforcer.registry(&edit)?;
    let edited = within(SETTLE, "the edit in force", || {
        Ok(service_of(rig, NEW_PORT)?.is_some())
    })?;
    let guarded = spread(took);
    figure(
        scenario,
        &format!("guarded after {guarded}; an edit applied after {edited:.1?}"),
    );
    Ok(())
}

/// The parent of the pins is a bpffs with the mode of `mount -t bpf`. A user makes and removes
/// folders there without end.
fn folders_of_a_user(rig: &Rig<'_>) -> Result<()> {
    let pins = rig.lab.pin_dir();
    let parent = pins.parent().context("no parent")?;
    fs::set_permissions(parent, Permissions::from_mode(0o1777))?;
    let run = rig.enforcer.run(&[])?;
    let mut users = Vec::new();
    for user in 0..USERS {
        let mut command = rig.lab.host.command("setpriv");
        // The folder is the working directory: the way there is root's.
        command.current_dir(parent);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        let names: Vec<String> = (0..100).map(|number| format!("x{user}_{number}")).collect();
        let names = names.join(" ");
        command.args(["sh", "-c"]);
        command.arg(format!("while :; do mkdir {names}; rmdir {names}; done"));
        users.push(Daemon::spawn(command)?);
    }
    within(SETTLE, "a folder of a user's", || {
        let entries = fs::read_dir(parent)?.flatten();
        Ok(entries
            .into_iter()
            .any(|entry| entry.file_name().as_encoded_bytes().starts_with(b"x")))
    })?;
    goes_on(rig, "a_users_folders_beside_the_pins_hold_nothing_up")
        .with_context(|| format!("`run` said\n{}", rig.enforcer.run_log()))?;
    drop(users);
    drop(run);
    ensure!(pins.exists(), "the pins are gone");
    rig.enforcer.down()
}

/// A machine behind a bridge has the bridge learn addresses without end.
fn long_table(rig: &Rig<'_>) -> Result<()> {
    let host = &rig.lab.host;
    host.ip("link add flooded type bridge
         link add flooder type veth peer name flooder1
         link set flooder master flooded
         link set flooded up
         link set flooder up")?;
    // A bridge of veth ends alone is a container's.
    rig.enforcer.registry(&format!(
        "{REGISTRY}\n[interfaces.flooded]\nside = \"outside\"\n"
    ))?;
    let run = rig.enforcer.run(&[])?;
    let judged = || rig.enforcer.run_log().contains("forwarding table");
    ensure!(!judged(), "the control: the table is short");
    let learned = (0..LEARNED).map(|number: u32| {
        let [_, high, middle, low] = number.to_be_bytes();
        format!("fdb add 06:00:00:{high:02x}:{middle:02x}:{low:02x} dev flooder master static\n")
    });
    let mut bridge = host.command("bridge");
    bridge.args(["-batch", "-"]);
    let batch = finish(bridge, &learned.collect::<String>())?;
    ensure!(batch.code == Some(0), "{batch}");
    goes_on(rig, "a_bridge_with_a_long_table_holds_nothing_up")
        .with_context(|| format!("`run` said\n{}", rig.enforcer.run_log()))?;
    ensure!(judged(), "nobody was told: {}", rig.enforcer.run_log());
    drop(run);
    rig.enforcer.down()
}
