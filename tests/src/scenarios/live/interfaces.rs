//! Interfaces that come, leave, and come again.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason, Verdict};

use crate::lab::bpf::{Hook, programs_on};
use crate::lab::command::finish;
use crate::lab::enforcer::SETTLE;
use crate::lab::session::is_guest;
use crate::lab::topology::{HOST_WG, PEER, STRANGER};
use crate::lab::wire::Wire;
use crate::lab::wireguard::Member;
use crate::lab::{Ask, Feature, Lab, Netns, Patience, Port, Server, Transport, WireGuard};
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};
use crate::scenarios::keys::{Hub as _, Pretender, laptop, registry};
use crate::scenarios::lifecycle::{PORT, flooded_service};
use crate::scenarios::raw_packet::Probe;
use crate::scenarios::runner::{answered, unanswered};

use super::plug::{FAR, NEAR, Plug, expect_answer_unguarded, is_guarded, wire_pins};
use super::timing::{figure, spread, within};
use super::traffic::{Barrage, PORTS, SynAckWatch};

/// Longest time until an interface that comes up has its wire guard.
pub(super) const PROMISED: Duration = Duration::from_millis(200);

/// Interfaces that come while a WireGuard daemon stays silent.
const BESIDE_SILENCE: usize = 9;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live::a_new_interface_under_attack", under_attack),
        Scenario::new(
            "live::an_interface_that_moves_away_takes_no_guard",
            moves_away,
        ),
        Scenario::new("live::a_remade_wg0", remade),
        Scenario::new("live::a_remade_wireguard_device", remade_wireguard)
            .needs(Feature::WireGuard),
        Scenario::new(
            "live::a_silent_wireguard_socket_holds_no_interface_up",
            beside_silence,
        )
        .host_only(LOADER),
    ]
}

fn under_attack(rig: &Rig<'_>) -> Result<()> {
    let server = flooded_service(rig)?;
    expect_answer_unguarded(rig.lab)?;
    let _run = rig.enforcer.run(&[])?;
    let eye = SynAckWatch::on(Wire::open(&rig.lab.lan, "eth0")?, &[PORT.1]);
    let tries = if is_guest() { 10 } else { 100 };
    let (mut took, mut sent) = (Vec::new(), 0);
    for number in 1..=tries {
        let plug = Plug::new(rig.lab)?;
        let attack = syns(&plug)?;
        let start = plug.up()?;
        within(SETTLE, "a wire guard", || plug.is_guarded())
            .with_context(|| format!("try {number}"))?;
        took.push(start.elapsed());
        attack.go_on_for(20)?;
        sent += attack.stop()?;
        ensure!(eye.seen() == 0, "a SYN was accepted in try {number}");
    }
    let accepted = eye.close()?;
    ensure!(accepted == 0, "{accepted} SYNs were accepted");
    ensure!(server.accepted() == 0, "a connection was accepted");
    let counters = rig.enforcer.counters()?;
    let drops = |guard| counters.total(guard, Verdict::Drop);
    let (wire, socket) = (drops(Guard::Wire), drops(Guard::Socket));
    figure(
        "a_new_interface_under_attack",
        &format!(
            "{tries} interfaces, guarded after {}; of {sent} SYNs the wire guard dropped {wire}, \
             and the socket guard {socket} that came before it",
            spread(took.clone())
        ),
    );
    ensure!(
        wire + socket >= u64::try_from(tries)? * 20,
        "too few of the SYNs came to any guard:\n{counters}"
    );
    let late = took.iter().filter(|took| **took > PROMISED).count();
    // A guest's processor may be emulated, at a tenth of the speed, and this machine has other work
    // as well.
    ensure!(
        late * 20 <= tries || is_guest(),
        "{late} of {tries} interfaces had their guard later than {PROMISED:?}: {}",
        spread(took)
    );
    let gone = || {
        let pins = wire_pins(rig.lab)?;
        Ok(pins.iter().all(|(index, _)| exists(rig.lab, *index)))
    };
    within(SETTLE, "no pin of an interface that left", gone).map(drop)
}

/// SYNs from the far end, as fast as the near end takes them.
fn syns(plug: &Plug<'_>) -> Result<Barrage> {
    let mut ports = PORTS.cycle();
    Ok(Barrage::start(
        plug.far()?,
        5,
        Duration::from_micros(500),
        move || {
            let source = ports.next().unwrap_or(PORTS.start);
            Plug::frame(Probe {
                source,
                ..Probe::between(Plug::ENDS, PORT)
            })
        },
    ))
}

/// A daemon that is asked for its keys, again and again, and never answers.
fn beside_silence(rig: &Rig<'_>) -> Result<()> {
    let hub = Pretender::silent(rig.lab)?;
    rig.enforcer.registry(&registry(hub.laptop()))?;
    let _run = rig.enforcer.run_guided(&[], |command| hub.guide(command))?;
    let mut took = Vec::new();
    for number in 1..=BESIDE_SILENCE {
        let plug = Plug::new(rig.lab)?;
        let start = plug.up()?;
        within(SETTLE, "a wire guard", || plug.is_guarded())
            .with_context(|| format!("try {number}"))?;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    let median = took[BESIDE_SILENCE / 2];
    let spread = spread(took);
    figure(
        "a_silent_wireguard_socket_holds_no_interface_up",
        &format!("{BESIDE_SILENCE} interfaces, guarded after {spread}"),
    );
    ensure!(
        median <= PROMISED,
        "{PROMISED:?} are promised, but interfaces had their guards after {spread}"
    );
    // The control: the daemon is silent, and the peer waits.
    laptop(rig, &hub, 0, "waiting: wg0 cannot be asked for its keys")
}

fn exists(lab: &Lab, index: u32) -> bool {
    ["eth0", "wg0", "podman0", "veth-ct", "veth-ct2", NEAR]
        .iter()
        .any(|name| lab.host.ifindex(name).is_ok_and(|known| known == index))
}

/// A container engine may take an interface from the host: the old guard must not judge packets
/// there.
fn moves_away(rig: &Rig<'_>) -> Result<()> {
    const NEW_HOME: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 1);
    let (lab, elsewhere) = (rig.lab, &rig.lab.ct2);
    let _server = Server::start(elsewhere, Transport::Tcp, "0.0.0.0:9200", "elsewhere")?;
    let _run = rig.enforcer.run(&[])?;
    let plug = Plug::new(lab)?;
    lab.lan.ip(&format!("addr add 192.168.99.2/24 dev {FAR}"))?;
    for round in ["the first time", "the second time"] {
        plug.up()?;
        within(SETTLE, "a wire guard", || plug.is_guarded()).context(round)?;
        // The control of the same question over there. The guard of an interface that was down stays
        // until the other one is pinned.
        within(
            SETTLE,
            "one program alone",
            || Ok(programs(&lab.host)? == 1),
        )
        .context(round)?;
        lab.host
            .ip(&format!("link set {NEAR} netns {}", elsewhere.path()))?;
        let took = within(SETTLE, "the guard's end", || Ok(!plug.is_guarded()?)).context(round)?;
        figure(
            "an_interface_that_moves_away_takes_no_guard",
            &format!("the guard was off after {took:.1?}"),
        );
        elsewhere.ip(&format!(
            "addr add {NEW_HOME}/24 dev {NEAR}
             link set {NEAR} up"
        ))?;
        ensure!(programs(elsewhere)? == 0, "a program went along");
        let ask = Ask::new(Transport::Tcp, &format!("{NEW_HOME}:9200"));
        answered(ask.ask(&lab.lan, Patience::Long)?).context("in its new namespace")?;
        // Home again, the interface gets a guard.
        elsewhere.ip(&format!("link set {NEAR} netns {}", lab.host.path()))?;
    }
    plug.up()?;
    within(SETTLE, "a wire guard", || plug.is_guarded())
        .context("back for good")
        .map(drop)
}

/// Number of programs on the near end, at the hook of a guard there.
fn programs(namespace: &Netns) -> Result<u32> {
    if Feature::Tcx.is_here() {
        let index = namespace.ifindex(NEAR)?;
        return Ok(namespace.run(|| programs_on(index, Hook::Tcx))??);
    }
    let mut command = namespace.command("ip");
    command.args(["-json", "link", "show", "dev", NEAR]);
    let links: serde_json::Value = serde_json::from_str(&finish(command, "")?.ok()?)?;
    Ok(u32::from(links[0].get("xdp").is_some()))
}

/// Another device under the old name: the peer is let in again, and no other source at any time.
fn remade(rig: &Rig<'_>) -> Result<()> {
    let _server = Server::start(&rig.lab.host, Transport::Tcp, "0.0.0.0:9100", "metrics")?;
    let ask = |from: Ipv4Addr, patience| {
        Ask::new(Transport::Tcp, &format!("{HOST_WG}:9100"))
            .from(&format!("{from}:0"))
            .ask(&rig.lab.peer, patience)
    };
    answered(ask(STRANGER, Patience::Long)?).context("the stranger, unguarded")?;
    let _run = rig.enforcer.run(&[])?;
    answered(ask(PEER, Patience::Long)?).context("the collector")?;
    unanswered(ask(STRANGER, Patience::Brief)?).context("the stranger")?;
    for _ in 0..3 {
        let old = rig.lab.host.ifindex("wg0")?;
        rig.lab.remake_wg0()?;
        let new = rig.lab.host.ifindex("wg0")?;
        ensure!(old != new, "wg0 has the index {old} still");
        unanswered(ask(STRANGER, Patience::Brief)?).context("the stranger, at the new wg0")?;
        answered(ask(PEER, Patience::Long)?).context("the collector, at the new wg0")?;
        expect_guards(rig, new, old)?;
    }
    Ok(())
}

/// The same with a device of the kernel, and without any command in between.
fn remade_wireguard(rig: &Rig<'_>) -> Result<()> {
    let hub = WireGuard::hub(rig.lab, Member::usual())?;
    let _server = Server::start(&rig.lab.host, Transport::Tcp, "0.0.0.0:9100", "metrics")?;
    let ask = |peer: usize, patience| {
        let ask = Ask::new(Transport::Tcp, &format!("{HOST_WG}:9100"));
        ask.ask(&hub.peers[peer].namespace, patience)
    };
    let (collector, stranger) = (0, 2);
    answered(ask(stranger, Patience::Long)?).context("the stranger, unguarded")?;
    let _run = rig.enforcer.run(&[])?;
    answered(ask(collector, Patience::Long)?).context("the collector")?;
    let old = rig.lab.host.ifindex("wg0")?;
    hub.remake()?;
    let new = rig.lab.host.ifindex("wg0")?;
    answered(ask(collector, Patience::Long)?).context("the collector, at the new wg0")?;
    expect_guards(rig, new, old)?;
    unanswered(ask(stranger, Patience::Brief)?).context("the stranger, at the new wg0")?;
    rig.enforcer
        .expect_counted(Guard::Wire, Reason::UnknownPeer, Port("tcp", 9100), 1)
}

fn expect_guards(rig: &Rig<'_>, new: u32, old: u32) -> Result<()> {
    within(SETTLE, "the new wg0's guard, and the old one's end", || {
        Ok(is_guarded(rig.lab, new)? && !is_guarded(rig.lab, old)?)
    })
    .map(drop)
}
