//! Interfaces that come while the policy waits, and interfaces whose rows lie close in the map.

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::Guard;

use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::frames::Ends;
use crate::lab::topology::{CT, GHOST};
use crate::lab::wire::Wire;
use crate::lab::{Because, Outcome, Patience, Port, Server, Transport};
use crate::scenario::{Rig, Scenario};
use crate::scenarios::confirm::pending::{arm, candidate};
use crate::scenarios::raw_packet::{Probe, send_probe};
use crate::scenarios::runner::{answered, unanswered};

use super::plug::{NEAR, Plug};
use super::timing::within;

/// A port of the container without a registry entry.
const OF_CONTAINER: Port<'static> = Port("tcp", 7070);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live::a29_through_a_nic_that_comes_while_pending", pending),
        Scenario::new("live::interfaces_whose_indexes_collide", collide),
    ]
}

/// XDP compares MACs by itself: a NIC whose MAC no bank knows gives no frame away as another
/// machine's.
fn pending(rig: &Rig<'_>) -> Result<()> {
    let lab = rig.lab;
    let _server = Server::start(
        &lab.ct,
        Transport::Tcp,
        &format!("0.0.0.0:{}", OF_CONTAINER.1),
        "a container",
    )?;
    let attempt = |plug: &Plug<'_>, patience| -> Result<Outcome> {
        let answers = Wire::open(&lab.lan, "eth0")?;
        send_probe(&plug.far()?, &answers, patience, &|| {
            let probe = Probe::between(Ends::V4(GHOST, CT), OF_CONTAINER);
            (probe, vec![Plug::frame(probe)])
        })
    };
    let plug = Plug::new(lab)?;
    plug.up()?;
    answered(attempt(&plug, Patience::Long)?).context("before the enforcer was up")?;
    drop(plug);
    let rule = format!("\n[interfaces.{NEAR}]\nside = \"outside\"\nhook = \"xdp-generic\"\n");
    rig.enforcer.registry(&format!("{REGISTRY}{rule}"))?;
    let _run = rig.enforcer.run(&[])?;
    arm(rig, &format!("{}{rule}", candidate()), "60s")?;
    let plug = Plug::new(lab)?;
    plug.up()?;
    within(SETTLE, "a wire guard", || plug.is_guarded())?;
    unanswered(attempt(&plug, Patience::Brief)?)?;
    let counters = rig.enforcer.counters()?;
    ensure!(
        counters.count(Guard::Wire, Because::CONTAINER_NETWORK, OF_CONTAINER) > 0,
        "expected a drop by the wire guard, but the counters are\n{counters}"
    );
    Ok(())
}

/// Interfaces in a row with addresses of their own, and others with the same indexes modulo 1024.
fn collide(rig: &Rig<'_>) -> Result<()> {
    let indexes = || (1000..1010).chain(2024..2034);
    let batch: Vec<String> = indexes()
        .map(|index| {
            format!(
                "link add d{index} index {index} type veth peer name p{index} netns {}
                 addr add 10.66.{}.{}/32 dev d{index}
                 link set d{index} up",
                rig.lab.lan.path(),
                index / 256,
                index % 256
            )
        })
        .collect();
    rig.lab.host.ip(&batch.join("\n"))?;
    let _run = rig.enforcer.run(&[])?;
    let (code, status) = rig.enforcer.status()?;
    let is_guarded = |index: u32| {
        let mut guards = status.guards.iter();
        guards.any(|guard| guard.ifindex == Some(index))
    };
    ensure!(
        code == Some(0) && indexes().all(is_guarded),
        "expected a guard on each: {status:?}"
    );
    rig.enforcer.reload().map(drop)
}
