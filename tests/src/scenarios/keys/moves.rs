//! A key whose AllowedIPs change under a living `run`: nobody reloads.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use crate::lab::Feature;
use crate::lab::command::eventually;
use crate::lab::topology::{PEER, STRANGER};

use super::{
    Guard, Hub, Ipv4Addr, Kernel, METRICS, NOBODY, Patience, Reason, Rig, Userspace, Who, answered,
    laptop, metrics, registry, trial, unanswered,
};
use crate::scenarios::runner::trial_with;

/// How soon a change of a key is right (issue 4, item 2).
const PROMISED: Duration = Duration::from_secs(2);

pub(super) fn trials(binary: &Path) -> Vec<Trial> {
    vec![
        trial_with(
            "live::keys_move::kernel",
            &[Feature::WireGuard],
            binary,
            |rig| moves(rig, &Kernel::hub(rig.lab)?),
        ),
        trial("live::keys_move::userspace", binary, |rig| {
            moves(rig, &Userspace::hub(rig.lab)?)
        }),
    ]
}

/// The laptop's key moves to the stranger's address and the stranger to the laptop's, the key is
/// removed, and it comes back.
fn moves(rig: &Rig<'_>, hub: &dyn Hub) -> Result<()> {
    let _server = metrics(rig)?;
    let at_home = || hub.allow(&["10.10.0.5/32"], &["10.10.0.99/32"]);
    let asks = |from, patience| hub.ask(Who::Laptop, from, patience);
    let poses = |from, patience| hub.ask(Who::Stranger, from, patience);
    at_home()?;
    answered(asks(PEER, Patience::Long)?).context("the laptop, unguarded")?;
    answered(poses(STRANGER, Patience::Long)?).context("the stranger, unguarded")?;
    rig.enforcer.registry(&registry(hub.laptop()))?;
    let _run = rig.enforcer.run_guided(&[], |command| hub.guide(command))?;
    answered(asks(PEER, Patience::Long)?).context("the laptop at home")?;
    unanswered(poses(STRANGER, Patience::Brief)?).context("the stranger at home")?;

    for round in 1..=2 {
        let mut took = Vec::new();
        hub.allow(&["10.10.0.99/32"], &["10.10.0.5/32"])?;
        took.push(in_time(rig, &[(STRANGER, true), (PEER, false)])?);
        answered(asks(STRANGER, Patience::Long)?).context("the laptop at its new address")?;
        unanswered(poses(PEER, Patience::Brief)?)
            .context("the stranger at the laptop's old one")?;
        rig.enforcer
            .expect_counted(Guard::Wire, Reason::UnknownPeer, METRICS, 1)?;

        hub.forget_laptop()?;
        took.push(in_time(rig, &[(STRANGER, false), (PEER, false)])?);
        laptop(rig, hub, 0, "waiting: wg0 has no peer with its key")?;
        // Its addresses are free for others, who may do nothing with them.
        hub.allow_stranger(&["10.10.0.5/32", "10.10.0.99/32"])?;
        unanswered(poses(STRANGER, Patience::Brief)?).context("the stranger at a free address")?;
        unanswered(poses(PEER, Patience::Brief)?).context("the stranger at another")?;

        hub.come_back(&["10.10.0.5/32"])?;
        hub.allow_stranger(&["10.10.0.99/32"])?;
        took.push(in_time(rig, &[(PEER, true), (STRANGER, false)])?);
        laptop(rig, hub, 0, "active")?;
        answered(asks(PEER, Patience::Long)?).context("the laptop, back at home")?;
        unanswered(poses(STRANGER, Patience::Brief)?).context("the stranger, back at home")?;
        println!("live::keys_move: round {round}: right after {took:.0?} (moved, removed, back)");
    }

    // Another key in the registry, which no device has: it waits, and grants nothing.
    rig.enforcer.registry(&registry(NOBODY))?;
    in_time(rig, &[(PEER, false)])?;
    laptop(rig, hub, 0, "waiting: wg0 has no peer with its key")?;
    unanswered(asks(PEER, Patience::Brief)?).context("the laptop, whose key is not asked for")
}

/// Waits until the policy in force judges these sources so, in the time that is promised for all
/// of them.
fn in_time(rig: &Rig<'_>, wanted: &[(Ipv4Addr, bool)]) -> Result<Duration> {
    let start = Instant::now();
    for (source, passes) in wanted {
        let text = source.to_string();
        let packet = ["--interface", "wg0", "--port", "9100", "--source", &text];
        let left = PROMISED.saturating_sub(start.elapsed());
        let mut last = None;
        let right = eventually(left, || {
            let said = rig.enforcer.explain(&packet);
            let right = matches!(&said, Ok(said) if (said.verdict == "pass") == *passes);
            last = Some(said);
            right.then_some(())
        });
        ensure!(
            right.is_some(),
            "{source} is not judged right after {:?}: {last:?}\n`run` said\n{}",
            start.elapsed(),
            rig.enforcer.run_log()
        );
    }
    Ok(start.elapsed())
}
