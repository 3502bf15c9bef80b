//! A key that is taken away while a policy awaits confirmation: the grant ends at once, in the
//! pending policy and in the policy before it. New grants wait.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::hub::{Hub, Who, metrics, registry};
use super::kernel::Kernel;
use super::moves::{in_time, would_pass};
use super::userspace::Userspace;
use crate::lab::command::finish;
use crate::lab::topology::PEER;
use crate::lab::{Enforcer, Feature, Patience};
use crate::scenario::host_only::TUNNELLED;
use crate::scenario::{Rig, Scenario};
use crate::scenarios::runner::{answered, unanswered};

/// Longest time until a look at WireGuard would have brought a new grant.
const LOOKS: Duration = Duration::from_secs(3);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live::a_revoked_key_while_pending::kernel", |rig| {
            revoked(rig, &Kernel::hub(rig.lab)?)
        })
        .needs(Feature::WireGuard)
        .alone(),
        Scenario::new("live::a_revoked_key_while_pending::userspace", |rig| {
            revoked(rig, &Userspace::hub(rig.lab)?)
        })
        .host_only(TUNNELLED)
        .alone(),
    ]
}

fn revoked(rig: &Rig<'_>, hub: &dyn Hub) -> Result<()> {
    let _server = metrics(rig)?;
    let at_home = || hub.allow(&["10.10.0.5/32"], &["10.10.0.99/32"]);
    at_home()?;
    rig.enforcer.registry(&registry(hub.laptop()))?;
    let _run = rig.enforcer.run_guided(&[], |command| hub.guide(command))?;
    let candidate = rig.lab.scratch().join("pending.toml");
    let pending = Enforcer::at(rig.enforcer.binary(), rig.lab, candidate)?;
    pending.registry(&(registry(hub.laptop()) + "[services.added]\nports = [7777]\n"))?;
    let pend = |seconds: &str| {
        let mut reload = pending.command(&["reload", "--confirm", seconds])?;
        hub.guide(&mut reload);
        finish(reload, "")?.ok().map(drop)
    };
    // A hub may have a /run of its own, where `run` sees the lock of the command.
    let command = |word: &str| {
        let mut command = rig.enforcer.command(&[word])?;
        hub.guide(&mut command);
        finish(command, "")?.ok().map(drop)
    };
    let asks = |patience| hub.ask(Who::Laptop, PEER, patience);

    pend("60")?;
    is_pending(rig, true)?;
    // The control: the pending policy grants the key its address.
    in_time(rig, &[(PEER, true)])?;
    answered(asks(Patience::Long)?).context("the laptop, before its key goes")?;

    hub.forget_laptop()?;
    hub.allow_stranger(&["10.10.0.5/32", "10.10.0.99/32"])?;
    in_time(rig, &[(PEER, false)])?;
    unanswered(hub.ask(Who::Stranger, PEER, Patience::Brief)?)
        .context("the stranger at the laptop's address")?;
    is_pending(rig, true)?;

    // The key comes back, and waits for the next policy.
    hub.allow_stranger(&["10.10.0.99/32"])?;
    hub.come_back(&["10.10.0.5/32"])?;
    stays_out(rig, LOOKS).context("a new grant came before the confirmation")?;
    command("confirm")?;
    in_time(rig, &[(PEER, true)])?;
    answered(asks(Patience::Long)?).context("the laptop, after the confirmation")?;

    // A rollback brings no revoked grant back.
    command("reload")?;
    pend("5")?;
    hub.forget_laptop()?;
    in_time(rig, &[(PEER, false)])?;
    stays_out(rig, Duration::from_secs(8)).context("the rollback brought a revoked grant back")?;
    is_pending(rig, false)
}

/// The policy passes no packet of [`PEER`] for a time.
fn stays_out(rig: &Rig<'_>, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        ensure!(!would_pass(rig, PEER)?, "a packet of {PEER} would pass");
    }
    Ok(())
}

fn is_pending(rig: &Rig<'_>, expected: bool) -> Result<()> {
    let (_, status) = rig.enforcer.status()?;
    ensure!(
        status.confirm.is_some() == expected,
        "expected a pending policy: {expected}, but {status:?}"
    );
    Ok(())
}
