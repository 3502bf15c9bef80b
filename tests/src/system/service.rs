//! The unit and the udev rule: guards after a stop, a crash, an upgrade and a reload, a NIC that
//! comes, and the exposure of the service itself.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason, Verdict};

use super::flood::{Flood, to_host};
use super::host::{Host, reached, unreached};
use super::scenario::SystemScenario;
use crate::lab::command::eventually;
use crate::lab::enforcer::SETTLE;
use crate::lab::{Guards, Patience, Port, Server, Transport};

pub(super) const ELASTIC: Port<'static> = Port("tcp", 9200);
const TO: &str = "192.168.77.1:9200";

/// `systemd-analyze security` calls up to 2.x "OK"; a plain root service has 9.6.
const EXPOSURE: f32 = 1.7;

pub(super) fn scenarios() -> Vec<SystemScenario> {
    vec![
        SystemScenario {
            name: "service::stop_leaves_the_guards",
            body: stop,
        },
        SystemScenario {
            name: "service::a_crash_leaves_the_guards",
            body: crash,
        },
        SystemScenario {
            name: "service::an_upgrade_under_attack",
            body: upgrade,
        },
        SystemScenario {
            name: "service::down_ends_it_for_good",
            body: down,
        },
        SystemScenario {
            name: "service::a_timer_brings_an_unconfirmed_policy_back",
            body: unconfirmed,
        },
        SystemScenario {
            name: "service::reload_takes_a_good_registry_and_refuses_a_bad_one",
            body: reload,
        },
        SystemScenario {
            name: "service::the_journal_knows_warnings_from_news",
            body: journal,
        },
        SystemScenario {
            name: "service::the_udev_rule_parses",
            body: udev_rule,
        },
        SystemScenario {
            name: "a10_hot_plug::a_nic_is_guarded_before_it_is_up",
            body: hot_plug,
        },
        SystemScenario {
            name: "service::systemd_analyze_security",
            body: security,
        },
    ]
}

fn stop(host: &Host) -> Result<()> {
    let _service = Server::start(&host.own, Transport::Tcp, "0.0.0.0:9200", "es")?;
    host.guards_off()?;
    reached(&host.ask_from_lan(TO, Patience::Long)?)?;
    host.start_service()?;
    unreached(&host.ask_from_lan(TO, Patience::Brief)?)?;
    host.run(&["systemctl", "stop", "enforcer"])?;
    ensure!(!is_active(host)?, "the service did not stop");
    unreached(&host.ask_from_lan(TO, Patience::Brief)?).context("after the stop")?;
    host.guards_off()?;
    reached(&host.ask_from_lan(TO, Patience::Long)?)
}

/// SIGKILL under attack, after which systemd restarts the service.
fn crash(host: &Host) -> Result<()> {
    let _service = Server::start(&host.own, Transport::Tcp, "0.0.0.0:9200", "es")?;
    host.guards_off()?;
    open_to_a_flood(host)?;
    host.start_service()?;
    let first = main_process(host)?;
    let flood = Flood::start(host, to_host(), ELASTIC)?;
    host.run(&["systemctl", "kill", "--signal", "KILL", "enforcer"])?;
    let back = eventually(Duration::from_secs(60), || {
        let next = main_process(host).ok()?;
        (next != first && next != "0" && is_active(host).ok()?).then_some(())
    });
    shut_to(flood)?;
    back.context("systemd did not bring the service back")?;
    host.guards_off()
}

/// Another program in place of the old, as `cargo xtask install` puts it, and a restart.
fn upgrade(host: &Host) -> Result<()> {
    let _service = Server::start(&host.own, Transport::Tcp, "0.0.0.0:9200", "es")?;
    host.guards_off()?;
    open_to_a_flood(host)?;
    host.start_service()?;
    let first = main_process(host)?;
    let flood = Flood::start(host, to_host(), ELASTIC)?;
    let counted =
        |host: &Host| -> Result<u64> { Ok(host.counters()?.total(Guard::Wire, Verdict::Drop)) };
    let before = eventually(Duration::from_secs(30), || {
        counted(host).ok().filter(|&count| count > 0)
    })
    .context("nothing was counted before the upgrade")?;
    let place = host.enforcer_path();
    let new = place.with_extension("new");
    fs::copy(place, &new)?;
    fs::rename(&new, place)?;
    host.run(&["systemctl", "restart", "enforcer"])?;
    let (second, after) = (main_process(host)?, counted(host)?);
    shut_to(flood)?;
    ensure!(first != second, "the service was not restarted");
    ensure!(after >= before, "counters went from {before} to {after}");
    host.guards_off()
}

/// `down` is the operator's word: systemd must not restart the service.
fn down(host: &Host) -> Result<()> {
    host.start_service()?;
    host.enforcer(&["down"])?.ok()?;
    let show = [
        "systemctl",
        "show",
        "--property",
        "ActiveState,Result",
        "enforcer",
    ];
    eventually(Duration::from_secs(20), || {
        let state = host.run(&show).ok()?;
        (state.contains("=inactive") && state.contains("=success")).then_some(())
    })
    .context("the service did not end as a success")?;
    let status = host.enforcer(&["status"])?;
    ensure!(status.code == Some(4), "{status}");
    Ok(())
}

/// A registry with a service that the default does not have.
const CANDIDATE: &str = "/run/enforcer-candidate.toml";
const ADDED: &str = "192.168.77.1:15000";

/// Without `run`, systemd's timer rolls the policy back: the scenario asks for no status, which
/// would do so too.
fn unconfirmed(host: &Host) -> Result<()> {
    let _service = Server::start(&host.own, Transport::Tcp, "0.0.0.0:15000", "added")?;
    host.guards_off()?;
    host.guards_on(Guards::Both)?;
    let before = host.status()?;
    reached(&host.ask_from_lan(ADDED, Patience::Long)?)?;
    fs::write(CANDIDATE, "[services.added]\nports = [15000]\n")?;
    let try_out = |time: &str| -> Result<()> {
        let words = ["--config", CANDIDATE, "reload", "--confirm", time];
        host.enforcer(&words)?.ok().map(drop)
    };
    try_out("10s")?;
    unreached(&host.ask_from_lan(ADDED, Patience::Brief)?).context("under the pending policy")?;
    let is_open = || {
        let outcome = host.ask_from_lan(ADDED, Patience::Brief).ok()?;
        outcome.reached().then_some(())
    };
    eventually(Duration::from_secs(60), is_open).context("no timer took it back")?;
    let after = host.status()?;
    ensure!(
        after.rolled_back && after.registered_ports == before.registered_ports,
        "expected the policy from before: {before:?} -> {after:?}"
    );
    // The timer of a confirmed policy does nothing.
    try_out("10s")?;
    host.enforcer(&["confirm"])?.ok()?;
    let kept = host.status()?;
    std::thread::sleep(Duration::from_secs(20));
    unreached(&host.ask_from_lan(ADDED, Patience::Brief)?).context("confirmed")?;
    let after = host.status()?;
    ensure!(
        after.generation == kept.generation && !after.rolled_back,
        "a confirmed policy was changed: {kept:?} -> {after:?}"
    );
    fs::remove_file(CANDIDATE)?;
    host.guards_off()
}

/// Path of the administrator's registry, which the guest lacks.
pub(super) const REGISTRY: &str = "/etc/enforcer/enforcer.toml";
/// The built-in registry, as installed for reading.
pub(super) const EXAMPLE: &str = "/usr/local/share/doc/enforcer/enforcer.toml";

fn reload(host: &Host) -> Result<()> {
    let _service = Server::start(&host.own, Transport::Tcp, "0.0.0.0:15000", "added")?;
    host.guards_off()?;
    host.start_service()?;
    reached(&host.ask_from_lan(ADDED, Patience::Long)?)?;
    let done = reload_both(host);
    fs::remove_file(REGISTRY).ok();
    host.guards_off()?;
    done
}

fn reload_both(host: &Host) -> Result<()> {
    let reload = ["systemctl", "reload", "enforcer"];
    let before = host.status()?;
    put(REGISTRY, "[services.added]\nports = [0]\n")?;
    let refused = host.call(&reload)?;
    let after = host.status()?;
    ensure!(
        refused.code.is_some_and(|code| code > 0) && after.generation == before.generation,
        "expected a refusal, but {refused}\n{before:?} -> {after:?}"
    );
    ensure!(is_active(host)?, "a bad registry ended the service");
    // In the unit's sandbox, as systemd runs the reload. `run` applies edits too, a moment later.
    let good = fs::read_to_string(EXAMPLE)? + "[services.added]\nports = [15000]\n";
    put(REGISTRY, &good)?;
    host.run(&reload)?;
    let after = host.status()?;
    ensure!(
        after.services == before.services + 1 && after.generation > before.generation,
        "`systemctl reload` came back before the registry was in force: {before:?} -> {after:?}"
    );
    unreached(&host.ask_from_lan(ADDED, Patience::Brief)?)?;
    host.expect_counted(Guard::Wire, Reason::UntrustedInterface, Port("tcp", 15_000))
}

/// `journalctl --priority=warning` shows warnings and errors of `run`, and no news.
fn journal(host: &Host) -> Result<()> {
    host.guards_off()?;
    host.start_service()?;
    let done = journal_of_edits(host);
    fs::remove_file(REGISTRY).ok();
    host.guards_off()?;
    done
}

fn journal_of_edits(host: &Host) -> Result<()> {
    let process = format!("_PID={}", main_process(host)?);
    let lines = |priority: &str| {
        let journal = ["journalctl", "--no-pager", "--quiet", "--output=cat"];
        host.run(&[&journal[..], &["--priority", priority, &process]].concat())
    };
    let comes = |priority: &str, words: &str| {
        let is_there = || lines(priority).ok()?.contains(words).then_some(());
        eventually(SETTLE, is_there).with_context(|| format!("no `{words}` at {priority}"))
    };
    put(REGISTRY, "[services.added]\nports = [0]\n")?;
    comes("err", "port 0")?;
    comes("warning", "the registry is bad")?;
    put(
        REGISTRY,
        &(fs::read_to_string(EXAMPLE)? + "[services.added]\nports = [15000]\n"),
    )?;
    comes("info", "is in force")?;
    let (errors, warnings) = (lines("err")?, lines("warning")?);
    ensure!(
        !errors.contains("the registry is bad") && !warnings.contains("is in force"),
        "expected each line at its own priority, but errors are\n{errors}\nand warnings\n{warnings}"
    );
    Ok(())
}

/// Replaces a file as a whole: `run` reads the registry after every change.
pub(super) fn put(path: &str, text: &str) -> Result<()> {
    let new = format!("{path}.new");
    fs::create_dir_all(Path::new(path).parent().context("no folder")?)?;
    fs::write(&new, text)?;
    Ok(fs::rename(new, path)?)
}

fn udev_rule(host: &Host) -> Result<()> {
    let rule = "/usr/local/lib/udev/rules.d/90-enforcer.rules";
    host.run(&["udevadm", "verify", rule]).map(drop)
}

/// The driver of the guest's NIC, which leads nowhere and stays down.
const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_net";
const PINS: &str = "/sys/fs/bpf/enforcer";

/// The NIC is unplugged and plugged in again, as far as the kernel and udev can tell.
fn hot_plug(host: &Host) -> Result<()> {
    let driver = Path::new(DRIVER);
    let device = entries(driver)?
        .into_iter()
        .find(|name| name.starts_with("virtio"))
        .context("the guest has no NIC")?;
    let ours = format!("/sys/bus/virtio/devices/{device}/net");
    host.guards_off()?;
    host.start_service()?;
    fs::write(driver.join("unbind"), &device)?;
    fs::write(driver.join("bind"), &device)?;
    // The name may change meanwhile, the index stays.
    let read = |file: &str| {
        let name = entries(Path::new(&ours)).ok()?.pop()?;
        fs::read_to_string(format!("{ours}/{name}/{file}")).ok()
    };
    let limit = Duration::from_secs(30);
    let index = eventually(limit, || read("ifindex")).context("the NIC did not come back")?;
    let of_it = [
        format!("link_early_{}", index.trim()),
        format!("link_wire_{}_", index.trim()),
    ];
    let pin = eventually(limit, || {
        let mut pins = entries(Path::new(PINS)).ok()?.into_iter();
        pins.find(|pin| *pin == of_it[0] || pin.starts_with(&of_it[1]))
    })
    .context("nobody guards the NIC")?;
    let state = eventually(limit, || read("operstate")).context("the NIC is gone")?;
    println!("{pin} while the NIC is {}", state.trim());
    ensure!(state.trim() == "down", "the NIC was up first: {state}");
    host.guards_off()
}

/// The names in a folder.
fn entries(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("failed to list {}", folder.display()))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    entries.collect()
}

fn security(host: &Host) -> Result<()> {
    let report = host.run(&["systemd-analyze", "security", "--no-pager", "enforcer"])?;
    let line = report.lines().last().unwrap_or_default();
    println!("{line}");
    let exposure: f32 = line
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .with_context(|| format!("no figure in `{line}`"))?;
    ensure!(exposure <= EXPOSURE, "more than {EXPOSURE}:\n{report}");
    Ok(())
}

pub(super) fn is_active(host: &Host) -> Result<bool> {
    let finished = host.call(&["systemctl", "is-active", "--quiet", "enforcer"])?;
    Ok(finished.code == Some(0))
}

pub(super) fn main_process(host: &Host) -> Result<String> {
    host.run(&[
        "systemctl",
        "show",
        "--property",
        "MainPID",
        "--value",
        "enforcer",
    ])
}

/// The control: the flood without guards.
fn open_to_a_flood(host: &Host) -> Result<()> {
    let flood = Flood::start(host, to_host(), ELASTIC)?;
    eventually(Duration::from_secs(30), || {
        (flood.sent() > 20).then_some(())
    });
    let tally = flood.stop()?;
    ensure!(tally.accepted > 0, "expected SYN-ACKs, but {tally:?}");
    Ok(())
}

pub(super) fn shut_to(flood: Flood) -> Result<()> {
    let tally = flood.stop()?;
    ensure!(tally.sent > 50, "too few SYNs to prove anything: {tally:?}");
    ensure!(tally.accepted == 0, "the port was open: {tally:?}");
    Ok(())
}
