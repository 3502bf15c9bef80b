//! Signals to `run`, at random moments and one by one, with a neighbour who never rests.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::{Rng, seed, share_of};
use crate::lab::command::{Daemon, eventually};
use crate::lab::hammer::Hammer;
use crate::lab::{Server, Transport};
use crate::scenario::{Rig, Scenario, host_only};
use crate::scenarios::obstacles::refuse_inotify;

/// The longest time without enforcement.
pub(super) const HEALING: Duration = Duration::from_secs(30);
/// Signals of a whole run.
const SIGNALS: usize = 1000;
/// The registered port under attack.
pub(super) const PORT: u16 = 9200;

/// A registry with the port, and a public port.
pub(super) const REGISTRY: &str = "[services.elasticsearch]\nports = [9200]\n\
                                   [services.traefik]\nports = [8080]\npublic = true\n";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("kills::random_signals_open_nothing", random)
            .takes_long()
            .host_only(host_only::LOADER),
        Scenario::new("kills::usr1_and_usr2_do_nothing", harmless).host_only(host_only::LOADER),
        Scenario::new("kills::hup_reloads", hup).host_only(host_only::LOADER),
    ]
}

/// The fate that a signal means for `run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The process goes on.
    LivesOn,
    /// The process ends with 0.
    EndsWell,
    /// The process is killed.
    Dies,
}

const EACH: [(Signal, Fate); 9] = [
    (Signal::HUP, Fate::LivesOn),
    (Signal::USR1, Fate::LivesOn),
    (Signal::USR2, Fate::LivesOn),
    (Signal::INT, Fate::EndsWell),
    (Signal::TERM, Fate::EndsWell),
    (Signal::KILL, Fate::Dies),
    (Signal::ABORT, Fate::Dies),
    (Signal::QUIT, Fate::Dies),
    (Signal::STOP, Fate::LivesOn),
];

/// A service behind the port, the registry, and the neighbour.
pub(super) fn stage(rig: &Rig<'_>) -> Result<(Server, Hammer)> {
    rig.enforcer.registry(REGISTRY)?;
    let server = Server::start(
        &rig.lab.host,
        Transport::Tcp,
        &format!("0.0.0.0:{PORT}"),
        "token",
    )?;
    let hammer = Hammer::start(rig.lab, &[PORT])?;
    hammer.expect_open()?;
    Ok((server, hammer))
}

/// Insists that no attempt succeeded since a moment.
pub(super) fn expect_closed(hammer: &Hammer, since: Instant) -> Result<()> {
    let accepted = hammer.accepted_since(since);
    ensure!(
        accepted.is_empty(),
        "{} attempts were accepted, the first {:?} after the guards: {:?}",
        accepted.len(),
        accepted
            .first()
            .map(|one| one.at.saturating_duration_since(since)),
        accepted.first()
    );
    Ok(())
}

/// Waits until `status` says enforcing, and returns the time.
pub(super) fn enforcing(rig: &Rig<'_>) -> Result<Duration> {
    let start = Instant::now();
    let mut seen = String::new();
    eventually(HEALING, || match rig.enforcer.status() {
        Ok((Some(0), status)) if status.state == "enforcing" => Some(start.elapsed()),
        other => {
            seen = format!("{other:?}");
            std::thread::sleep(Duration::from_millis(50));
            None
        }
    })
    .with_context(|| format!("not enforcing again within {HEALING:?}: {seen}"))
}

/// A supervisor starts `run` again after each end, as systemd does.
fn random(rig: &Rig<'_>) -> Result<()> {
    let seed = seed()?;
    let mut rng = Rng(seed);
    let (_server, hammer) = stage(rig)?;
    let mut run = rig.enforcer.run(&[])?;
    let since = Instant::now();
    let mut worst = Duration::ZERO;
    let mut strike = |number: usize| -> Result<()> {
        let (signal, fate) = rng.pick(&EACH)?;
        // Half of the signals come while `run` starts or looks.
        if rng.roll() < 0.5 {
            std::thread::sleep(Duration::from_millis(300).mul_f64(rng.roll()));
        } else {
            worst = worst.max(enforcing(rig)?);
        }
        suffer(rig, &mut run, signal, fate, rng.roll())
            .and_then(|()| expect_closed(&hammer, since))
            .with_context(|| format!("signal {number}, {signal:?}"))
    };
    let count = share_of(SIGNALS)?;
    (0..count)
        .try_for_each(&mut strike)
        .with_context(|| format!("again with ENFORCER_SEED={seed}"))?;
    worst = worst.max(enforcing(rig)?);
    expect_closed(&hammer, since)?;
    println!("kills::random_signals: {count} signals, enforcing within {worst:.1?}, 0 accepted");
    drop(run);
    rig.enforcer.down()?;
    hammer.expect_open().context("after `down`")
}

/// Whether a process ignores a signal: a shell starts its jobs in the background so, for INT and QUIT.
fn ignores(process: u32, signal: Signal) -> Result<bool> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(mask.context("no SigIgn")?.trim(), 16)?;
    Ok(mask >> (signal.as_raw() - 1) & 1 == 1)
}

fn suffer(rig: &Rig<'_>, run: &mut Daemon, signal: Signal, fate: Fate, share: f64) -> Result<()> {
    let fate = match ignores(run.id(), signal)? {
        true => Fate::LivesOn,
        false => fate,
    };
    run.signal(signal)?;
    if signal == Signal::STOP {
        std::thread::sleep(Duration::from_millis(400).mul_f64(share));
        run.signal(Signal::CONT)?;
    }
    match fate {
        Fate::LivesOn => {
            let ended = run.wait(Duration::from_millis(50))?;
            ensure!(
                ended.is_none(),
                "`run` ended: {ended:?}\n{}",
                rig.enforcer.run_log()
            );
        }
        Fate::EndsWell | Fate::Dies => {
            // The kernel waits for its own calls on behalf of a thread before the process ends.
            let ended = run.expect_end(HEALING)?;
            ensure!(
                fate == Fate::Dies || ended.success(),
                "`run` ended badly: {ended}\n{}",
                rig.enforcer.run_log()
            );
            *run = rig.enforcer.run(&[])?;
        }
    }
    Ok(())
}

fn harmless(rig: &Rig<'_>) -> Result<()> {
    let (_server, hammer) = stage(rig)?;
    let mut run = rig.enforcer.run(&[])?;
    let since = Instant::now();
    for signal in [Signal::USR1, Signal::USR2] {
        run.signal(signal)?;
        let ended = run.wait(Duration::from_secs(1))?;
        ensure!(ended.is_none(), "{signal:?} ended `run`: {ended:?}");
    }
    enforcing(rig)?;
    expect_closed(&hammer, since)?;
    // The control: a signal does arrive.
    run.signal(Signal::TERM)?;
    ensure!(
        run.expect_end(Duration::from_secs(5))?.success(),
        "SIGTERM ends `run` well"
    );
    expect_closed(&hammer, since)
}

/// Without inotify an edit is found by a slow look: SIGHUP is faster.
fn hup(rig: &Rig<'_>) -> Result<()> {
    let (_server, hammer) = stage(rig)?;
    let mut run = rig.enforcer.run_guided(&[], refuse_inotify)?;
    enforcing(rig)?;
    let since = Instant::now();
    for services in [3, 2, 3, 2] {
        let more = "[services.mongo]\nports = [27017]\n";
        let text = format!("{REGISTRY}{}", if services == 3 { more } else { "" });
        rig.enforcer.registry(&text)?;
        run.signal(Signal::HUP)?;
        let applied = eventually(Duration::from_secs(3), || {
            let (_, status) = rig.enforcer.status().ok()?;
            (status.services == services).then_some(())
        });
        applied.with_context(|| format!("SIGHUP reloads nothing:\n{}", rig.enforcer.run_log()))?;
        let ended = run.wait(Duration::ZERO)?;
        ensure!(ended.is_none(), "SIGHUP ended `run`: {ended:?}");
    }
    expect_closed(&hammer, since)
}
