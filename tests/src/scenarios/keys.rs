//! Peers by WireGuard key: A21, and changes of AllowedIPs.

mod hostile;
mod hub;
mod kernel;
mod moves;
mod revoked;
mod userspace;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::enforcer::REGISTRY;
use crate::lab::{Ask, Patience, Transport};

pub(super) use hub::{Hub, Who, laptop, registry};
pub(super) use kernel::Kernel;
pub(super) use userspace::{Pretender, Userspace};

use hub::{METRICS, NOBODY, ended, metrics, says};

use super::runner::{answered, expect_nothing_pinned, expect_state, unanswered};
use crate::scenario::host_only::{COMMAND_LINE, TUNNELLED};
use crate::scenario::{Rig, Scenario, all_host_only};

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![
        Scenario::new("keys::up_wants_static_peers", refused).host_only(COMMAND_LINE),
        Scenario::new("keys::a_name_is_no_wireguard_device", name_alone).host_only(COMMAND_LINE),
    ];
    scenarios.extend(kernel::scenarios());
    scenarios.extend(all_host_only(userspace::scenarios(), TUNNELLED));
    scenarios.extend(hostile::scenarios());
    scenarios.extend(moves::scenarios());
    scenarios.extend(revoked::scenarios());
    scenarios
}

/// `up` leaves no process behind to follow keys, so the operator has to acknowledge static peers.
fn refused(rig: &Rig<'_>) -> Result<()> {
    let refuse = || -> Result<()> {
        let finished = rig.enforcer.expect(&["up"], 2)?;
        for word in ["laptop", "--static-peers", "enforcer run"] {
            ensure!(
                finished.stderr.contains(word),
                "expected `{word}` to be named, but {finished}"
            );
        }
        Ok(())
    };
    rig.enforcer.registry(&registry(NOBODY))?;
    refuse()?;
    expect_state(rig, 4, "off")?;
    expect_nothing_pinned(rig)?;
    // The refused `up` does not touch the pins either.
    rig.enforcer.registry(REGISTRY)?;
    ended(rig.enforcer.call(&["up"])?, 0)?;
    let (_, before) = rig.enforcer.status()?;
    rig.enforcer.registry(&registry(NOBODY))?;
    refuse()?;
    let (_, after) = rig.enforcer.status()?;
    ensure!(
        before.generation == after.generation && before.services == after.services,
        "a refused `up` changed the policy: {before:?} -> {after:?}"
    );
    Ok(())
}

/// A veth end called wg0 has no keys, whatever the registry expects there.
fn name_alone(rig: &Rig<'_>) -> Result<()> {
    let _server = metrics(rig)?;
    let ask = |patience| Ask::new(Transport::Tcp, "10.10.0.2:9100").ask(&rig.lab.peer, patience);
    answered(ask(Patience::Long)?).context("unguarded")?;
    rig.enforcer.registry(&registry(NOBODY))?;
    ended(rig.enforcer.call(&["up", "--static-peers"])?, 0)?;
    let status = ended(rig.enforcer.call(&["status"])?, 0)?;
    says(&status, "waiting: wg0 is no WireGuard device")?;
    unanswered(ask(Patience::Brief)?)?;
    rig.enforcer
        .expect_counted(Guard::Wire, Reason::UntrustedInterface, METRICS, 1)
}
