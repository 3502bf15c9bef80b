//! `reload --confirm`: a policy that is taken back unless somebody confirms it.
//!
//! Whoever notices first that its time is over takes it back: `run`, which waits for it; a timer of
//! systemd; and any command that writes, or asks for the status. The lock of writers makes one of
//! them do it.

use std::{fmt, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;

use super::{
    Place, ensure_ours,
    reserve::reserve_or_say,
    safety::Author,
    survey,
    wire::{self, Hooks},
};
use crate::{
    kernel::{
        maps::Maps,
        trial::{Peek, Standing},
    },
    procfs::Process,
    registry::Provenance,
};

/// How long systemd may take to start a timer.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(20);

/// A policy that is on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialState {
    /// Its generation, which is in force.
    pub generation: u32,
    /// When it is taken back, from now; zero once it should have been.
    pub left: Duration,
}

impl TrialState {
    fn of(standing: Standing) -> Option<Self> {
        match standing {
            Standing::Armed { generation, left } => Some(Self { generation, left }),
            _ => None,
        }
    }

    /// What is left, in seconds: 0 only when it is over.
    pub fn seconds_left(&self) -> u64 {
        self.left.as_secs() + u64::from(self.left.subsec_nanos() > 0)
    }
}

/// What is on trial, if anything is. Cheap: it opens two maps.
///
/// # Errors
/// The pins cannot be read, or are another namespace's.
pub fn trial(place: &Place) -> Result<Option<TrialState>> {
    Ok(TrialState::of(standing(place)?))
}

fn standing(place: &Place) -> Result<Standing> {
    if !place.is_pinned()? {
        return Ok(Standing::None);
    }
    let Some(peek) = Peek::open(&place.pins)? else {
        return Ok(Standing::None);
    };
    ensure_ours(peek.netns_cookie(), &place.pins)?;
    Ok(peek.standing())
}

/// Whether somebody has to take a policy back, or finish doing so.
fn is_due(standing: Standing) -> bool {
    match standing {
        Standing::Armed { left, .. } => left.is_zero(),
        Standing::Returning => true,
        Standing::None | Standing::RolledBack => false,
    }
}

/// A policy that was taken back.
#[derive(Clone, Debug)]
pub struct RolledBack {
    /// The generation of the policy before it, which is in force again.
    pub generation: u32,
    /// What the operator should know.
    pub notes: Vec<String>,
}

impl RolledBack {
    /// What happened, in words.
    pub fn words(&self) -> String {
        format!(
            "nobody confirmed the policy that was on trial: the one before it is in force again, \
             as generation {}; the registry's files are as they were edited",
            self.generation
        )
    }
}

/// Takes back what is on trial if its time is over. Cheap where it is not.
///
/// # Errors
/// The pins cannot be read or written; what is on trial may be in force still.
pub async fn roll_back_if_due(place: &Place) -> Result<Option<RolledBack>> {
    if !is_due(standing(place)?) {
        return Ok(None);
    }
    let _lock = place.lock()?;
    match place.maps()? {
        Some(mut maps) => settle(place, &mut maps).await,
        None => Ok(None),
    }
}

/// Waits for the time of what is on trial, and takes it back then; for a timer, which may be early.
///
/// # Errors
/// As for [`roll_back_if_due`].
pub async fn roll_back_when_due(place: &Place) -> Result<Option<RolledBack>> {
    while let Some(trial) = trial(place)?.filter(|trial| !trial.left.is_zero()) {
        // A host that slept has less time left than it thinks.
        tokio::time::sleep(trial.left.min(Duration::from_secs(1))).await;
    }
    roll_back_if_due(place).await
}

/// The same under the lock of writers, which every writer does first.
///
/// # Errors
/// As for [`roll_back_if_due`].
pub(super) async fn settle(place: &Place, maps: &mut Maps) -> Result<Option<RolledBack>> {
    let standing = maps.trial();
    if !is_due(standing) {
        return Ok(None);
    }
    if let Standing::Armed { .. } = standing {
        // The policy first: the rest may take its time, and fail.
        maps.roll_back()?;
    }
    maps.restore_flags();
    let notes = guards_as_in_force(place, maps)
        .await
        .unwrap_or_else(|error| vec![format!("guards are as they were on trial: {error:#}")]);
    maps.end_trial(true);
    Ok(Some(RolledBack {
        generation: maps.state().generation,
        notes,
    }))
}

/// Gives the policy in force the guards and the reserved ports that it wants, no more and no less.
///
/// Hooks stay as they are: the policy was compiled for them.
async fn guards_as_in_force(place: &Place, maps: &mut Maps) -> Result<Vec<String>> {
    let tables = maps.tables()?;
    let mut notes: Vec<String> = reserve_or_say(maps, &tables).into_iter().collect();
    let survey = &survey().await?;
    let rule = |name: &str| tables.rule(name);
    let (_, covered) =
        wire::reconcile_in_place(place, maps.state(), survey, rule, Hooks::AsTheyAre)?;
    maps.watch_bypasses(&covered.guards.keys().copied().collect())?;
    covered
        .detach_leaving()
        .context("a guard that the policy has no use for stays on")?;
    notes.extend(covered.notes);
    Ok(notes)
}

/// Refuses a change while a policy is on trial.
///
/// # Errors
/// One is.
pub(super) fn refuse_while_armed(maps: &Maps) -> Result<()> {
    let Some(trial) = armed(maps) else {
        return Ok(());
    };
    bail!(
        "generation {} is on trial, for {} s more: nothing was changed. `enforcer confirm` keeps \
         it; else wait until it is taken back, or run `enforcer up`, which ends the trial",
        trial.generation,
        trial.seconds_left()
    )
}

/// Refuses to let `run` put in force by itself what was tried and taken back.
///
/// # Errors
/// That is what it wants.
pub(super) fn refuse_again(maps: &Maps, registry: &Provenance, author: Author) -> Result<()> {
    if author == Author::Run && maps.was_taken_back(registry) {
        bail!(TakenBack);
    }
    Ok(())
}

/// A registry that `run` may not put in force by itself.
#[derive(Clone, Copy, Debug)]
pub struct TakenBack;

impl fmt::Display for TakenBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this registry was on trial and was taken back, as nobody confirmed it: `enforcer \
             reload` puts it in force",
        )
    }
}

impl std::error::Error for TakenBack {}

/// What is on trial by the maps, if anything is.
pub(super) fn armed(maps: &Maps) -> Option<TrialState> {
    TrialState::of(maps.trial())
}

/// What `confirm` found.
#[derive(Clone, Debug)]
pub enum Confirmed {
    /// This generation stays; and what the operator should know.
    Kept(u32, Vec<String>),
    /// It came too late: the policy before is in force again.
    TooLate(Option<RolledBack>),
    /// Nothing was on trial.
    NothingArmed,
    /// Nothing is pinned.
    NothingPinned,
}

/// Keeps what is on trial.
///
/// # Errors
/// The pins cannot be read or written; unless the message says otherwise, it is on trial still.
pub async fn confirm(place: &Place) -> Result<Confirmed> {
    if !place.is_pinned()? {
        return Ok(Confirmed::NothingPinned);
    }
    let _lock = place.lock()?;
    let Some(mut maps) = place.maps()? else {
        return Ok(Confirmed::NothingPinned);
    };
    if let Some(back) = settle(place, &mut maps).await? {
        return Ok(Confirmed::TooLate(Some(back)));
    }
    Ok(match maps.trial() {
        Standing::Armed { generation, .. } => {
            maps.end_trial(false);
            let notes = guards_as_in_force(place, &mut maps).await;
            let notes = notes.context("it is confirmed, but its guards are not all in place")?;
            Confirmed::Kept(generation, notes)
        }
        Standing::RolledBack => Confirmed::TooLate(None),
        Standing::None | Standing::Returning => Confirmed::NothingArmed,
    })
}

/// Sees to it that somebody takes back what is about to be tried for `time`; says who.
///
/// # Errors
/// Nobody would.
pub(super) async fn arrange(place: &Place, time: Duration) -> Result<String> {
    let is_followed = place.is_followed();
    let timer = match has_systemd() {
        true => start_timer(place, time).await,
        false => Err(anyhow::anyhow!("systemd does not run here")),
    };
    match (is_followed, timer) {
        (true, Ok(())) => Ok("by `run` or a timer of systemd".to_owned()),
        (true, Err(_)) => Ok("by `run`".to_owned()),
        (false, Ok(())) => Ok("by a timer of systemd".to_owned()),
        (false, Err(why)) => bail!(
            "nobody would take the new policy back: no `enforcer run` follows these pins, and \
             {why:#}: nothing was changed. Start `enforcer run`, or reload without --confirm"
        ),
    }
}

/// Whether systemd's manager runs (sd_booted(3)) in the network namespace that we are in: its
/// timers start commands in no other.
fn has_systemd() -> bool {
    let namespace = |process: Process| process.network_namespace().ok();
    let is_ours = || Some(namespace(Process::This)? == namespace(Process::INIT)?);
    Path::new("/run/systemd/system").is_dir() && is_ours().unwrap_or(false)
}

/// Starts a timer that comes back for what is on trial, whatever becomes of this process.
async fn start_timer(place: &Place, time: Duration) -> Result<()> {
    let output = tokio::time::timeout(SYSTEMD_LIMIT, timer(place, time)?.output())
        .await
        .context("systemd-run does not answer")?
        .context("systemd-run cannot be started")?;
    ensure!(
        output.status.success(),
        "systemd-run failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// The command that starts it. The timer's own is run in another folder, so its paths are whole.
fn timer(place: &Place, time: Duration) -> Result<Command> {
    let own = std::env::current_exe().context("failed to find this program's own file")?;
    let mut command = Command::new("systemd-run");
    command
        .args(["--quiet", "--collect"])
        .arg("--description=Take an unconfirmed enforcer policy back")
        .arg(format!("--on-active={}s", time.as_secs()))
        .arg("--timer-property=AccuracySec=100ms")
        .arg("--")
        .arg(own)
        .arg("--pin-dir")
        .arg(place.pin_dir());
    if let Some(cgroup) = &place.cgroup {
        // To take a policy back may be to attach the socket guard again.
        let cgroup = std::path::absolute(cgroup).context("failed to find the current folder")?;
        command.arg("--cgroup").arg(cgroup);
    }
    command
        .args(["confirm", "--roll-back"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_acts_where_the_reload_did() {
        let words = |cgroup: Option<&str>| {
            let place = Place::new(Path::new("/sys/fs/bpf/x"), cgroup.map(Into::into)).unwrap();
            let command = timer(&place, Duration::from_secs(60)).unwrap();
            let words = command.as_std().get_args().map(|it| it.to_string_lossy());
            words.collect::<Vec<_>>().join(" ")
        };
        let named = words(Some("somewhere"));
        let here = std::env::current_dir().unwrap().join("somewhere");
        let end = format!(
            " --pin-dir /sys/fs/bpf/x --cgroup {} confirm --roll-back",
            here.display()
        );
        assert!(named.ends_with(&end), "{named}");
        assert!(words(None).ends_with(" --pin-dir /sys/fs/bpf/x confirm --roll-back"));
    }
}
