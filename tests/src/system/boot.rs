//! Attack A9, seen from inside: services listen before the network comes, and the guards too.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use enforcer_ebpf::{Guard, Verdict};

use super::host::{Host, mac, reached};
use super::listener::PORTS;
use super::neighbour::GUEST_MAC;
use super::scenario::SystemScenario;
use crate::lab::command::eventually;

/// Longest wait for the network to come up, and for the neighbour to be heard.
const LIMIT: Duration = Duration::from_secs(120);

/// Enough dropped packets to prove the neighbour's attack: a few rounds of all ports.
const ENOUGH: u64 = 200;

/// Time of a boot's exposure to the neighbour once the network is up.
const OPEN: Duration = Duration::from_secs(8);

/// The network manager of the guest.
const MANAGER: &str = "systemd-networkd.service";

/// Lists the addresses within reach of the LAN.
const ADDRESSES: [&str; 8] = [
    "ip", "-brief", "-4", "address", "show", "up", "scope", "global",
];

pub(super) fn scenarios() -> Vec<SystemScenario> {
    vec![
        SystemScenario {
            name: "a09_boot::the_guards_hold_before_the_network",
            body: before_the_network,
        },
        SystemScenario {
            name: "a09_boot::the_services_were_there_all_the_while",
            body: services,
        },
        SystemScenario {
            name: "a09_boot::the_neighbour_was_dropped",
            body: dropped,
        },
        SystemScenario {
            name: "a09_boot::the_nic_has_its_wire_guard",
            body: wire_guard,
        },
    ]
}

/// A boot with obstacles in the way of the guards: nothing about a wire guard, as some obstacles
/// leave a degraded state.
pub(super) fn obstructed() -> Vec<SystemScenario> {
    vec![
        SystemScenario {
            name: "a09_boot::obstructed::the_guards_hold_before_the_network",
            body: before_the_network,
        },
        SystemScenario {
            name: "a09_boot::obstructed::the_services_were_there_all_the_while",
            body: services,
        },
        SystemScenario {
            name: "a09_boot::obstructed::the_neighbour_was_dropped",
            body: dropped,
        },
    ]
}

/// A boot with the enforcer masked: all that is needed is time.
pub(super) fn controls() -> Vec<SystemScenario> {
    vec![
        SystemScenario {
            name: "a09_boot::control::the_services_were_there_before_the_network",
            body: before,
        },
        SystemScenario {
            name: "a09_boot::control::without_the_enforcer",
            body: open,
        },
    ]
}

/// A boot with the enforcer masked, and a network manager that waits for the enforcer.
pub(super) fn shut() -> Vec<SystemScenario> {
    vec![SystemScenario {
        name: "a09_boot::required::no_policy_no_network",
        body: no_network,
    }]
}

fn no_network(host: &Host) -> Result<()> {
    let status = host.enforcer(&["status"])?;
    ensure!(status.code == Some(4), "{status}");
    let state = ["systemctl", "show", "--property", "ActiveState", "--value"];
    let state = host.run(&[&state[..], &[MANAGER]].concat())?;
    ensure!(
        state == "failed",
        "expected {MANAGER} to have given up, but it is {state}"
    );
    let addresses = host.run(&ADDRESSES)?;
    ensure!(addresses.is_empty(), "there is a network: {addresses}");
    std::thread::sleep(OPEN);
    Ok(())
}

fn before_the_network(host: &Host) -> Result<()> {
    let ready = moment(host, "enforcer.service", "ActiveEnterTimestampMonotonic")?;
    let before = moment(host, "network-pre.target", "ActiveEnterTimestampMonotonic")?;
    let network = moment(host, MANAGER, "ExecMainStartTimestampMonotonic")?;
    println!(
        "the guards held after {:.1} s, the network manager started after {:.1} s",
        seconds(ready),
        seconds(network)
    );
    ensure!(
        ready <= before && before <= network,
        "expected enforcer {ready} µs, network-pre.target {before} µs, {MANAGER} {network} µs in \
         this order"
    );
    Ok(())
}

fn services(host: &Host) -> Result<()> {
    before(host)?;
    for port in PORTS {
        reached(&host.ask_locally(&format!("127.0.0.1:{port}"))?)?;
        reached(&host.ask_locally(&format!("[::1]:{port}"))?)?;
    }
    Ok(())
}

fn before(host: &Host) -> Result<()> {
    let services = moment(
        host,
        "enforcer-listener.service",
        "ActiveEnterTimestampMonotonic",
    )?;
    let network = moment(host, MANAGER, "ExecMainStartTimestampMonotonic")?;
    ensure!(
        services <= network,
        "the services came after {services} µs, the network manager after {network} µs: nothing \
         is proven"
    );
    Ok(())
}

/// Insists that a guard stopped the neighbour; the moment at which the interface comes up decides
/// which guard.
fn dropped(host: &Host) -> Result<()> {
    eventually(LIMIT, || (host.drops().ok()? >= ENOUGH).then_some(()))
        .context("the neighbour was not heard")?;
    let counters = host.counters()?;
    for guard in Guard::ALL {
        let drops = counters.total(guard, Verdict::Drop);
        println!("{drops} packets dropped by the {guard} guard");
    }
    for port in PORTS {
        let drops = |row: &&crate::lab::report::Counter| {
            row.port == Some(port) && row.verdict == Verdict::Drop.name()
        };
        ensure!(
            counters.0.iter().any(|row| drops(&row)),
            "no drop at port {port}:\n{counters}"
        );
    }
    Ok(())
}

/// Insists on the state in the end: nothing is missing, and the wire guard meets the neighbour.
fn wire_guard(host: &Host) -> Result<()> {
    let nic = nic()?;
    // The guard that the NIC got while down holds until the guard on the preferred hook is on.
    let is_whole = || {
        let status = host.enforcer(&["status"]).ok()?;
        (status.code == Some(0)).then_some(())
    };
    eventually(LIMIT, is_whole).with_context(|| format!("{nic} is still missing something"))?;
    let status = host.status()?;
    let mut guards = status.guards.iter();
    let guard = guards
        .find(|line| line.guard == "wire" && line.interface.as_deref() == Some(&nic))
        .with_context(|| format!("{nic} has no wire guard: {status:?}"))?;
    println!("{nic} is guarded by {}", guard.hook);
    let drops = || {
        host.counters()
            .map(|it| it.total(Guard::Wire, Verdict::Drop))
    };
    eventually(LIMIT, || drops().is_ok_and(|drops| drops > 0).then_some(()))
        .context("the wire guard dropped nothing")
}

/// The interface with the neighbour at the other end.
fn nic() -> Result<String> {
    let address = mac(GUEST_MAC);
    for entry in fs::read_dir("/sys/class/net")? {
        let path = entry?.path();
        let has = fs::read_to_string(path.join("address"));
        if has.is_ok_and(|has| has.trim() == address) {
            let name = path.file_name().unwrap_or_default();
            return Ok(name.to_string_lossy().into_owned());
        }
    }
    bail!("no interface has the address {address}")
}

fn open(host: &Host) -> Result<()> {
    let status = host.enforcer(&["status"])?;
    ensure!(status.code == Some(4), "{status}");
    eventually(LIMIT, || {
        host.run(&ADDRESSES).ok().filter(|text| !text.is_empty())
    })
    .context("no interface came up")?;
    std::thread::sleep(OPEN);
    Ok(())
}

pub(super) fn moment(host: &Host, unit: &str, property: &str) -> Result<u64> {
    let words = ["systemctl", "show", "--property", property, "--value", unit];
    let text = host.run(&words)?;
    let moment: u64 = text
        .parse()
        .with_context(|| format!("{property} of {unit} is `{text}`"))?;
    ensure!(moment > 0, "{unit} was never there");
    Ok(moment)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds since the boot, for a person"
)]
fn seconds(moment: u64) -> f64 {
    moment as f64 / 1e6
}
