//! Pins, links and mounts that go while `run` lives: all is put back, and nothing is accepted.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::signals::{HEALING, enforcing, expect_closed, stage};
use super::{Rng, seed, share_of};
use crate::lab::bpf::detach_pinned;
use crate::lab::command::{Daemon, Finished, eventually, finish};
use crate::lab::hammer::Hammer;
use crate::lab::mounts::{child_of, first_process, in_a_machine, inside_machine};
use crate::scenario::{Rig, Scenario, host_only};

/// Removals of a whole run.
const REMOVALS: usize = 200;
const BPFFS: &str = "/sys/fs/bpf";

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = GUARDS
        .iter()
        .flat_map(|&guard| [(guard, Way::Detached), (guard, Way::Unpinned)])
        .map(|(guard, way)| {
            let name = format!("kills::the_{guard}_guard_is_put_back::{}", way.name());
            Scenario::new(name, move |rig| put_back(rig, guard, way))
                .host_only_if((way == Way::Unpinned).then_some(host_only::LOADER))
        })
        .collect();
    scenarios.push(
        Scenario::new("kills::pins_from_before_a_mount_open_nothing", uncovered)
            .host_only(host_only::LOADER),
    );
    scenarios.push(
        Scenario::new("kills::random_removals_open_nothing", random)
            .takes_long()
            .host_only(host_only::LOADER),
    );
    scenarios
}

const GUARDS: [&str; 2] = ["wire", "socket"];

/// The manner in which root takes a guard off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `bpftool link detach`.
    Detached,
    /// `rm` of the pin.
    Unpinned,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Detached => "detached",
            Self::Unpinned => "unpinned",
        }
    }

    fn take_off(self, pin: &Path) -> Result<()> {
        match self {
            Self::Detached => detach_pinned(pin),
            Self::Unpinned => std::fs::remove_file(pin),
        }
        .with_context(|| format!("failed to take {} off", pin.display()))
    }
}

/// The pins of a kind of guard; of the wire guards the one that judges the neighbour.
fn pin_of(pins: &Path, guard: &str, eth0: u32) -> Result<PathBuf> {
    let start = match guard {
        "socket" => "link_socket".to_owned(),
        _ => format!("link_wire_{eth0}_"),
    };
    let found = listed(pins)?
        .into_iter()
        .find(|path| name_of(path).starts_with(&start));
    found.with_context(|| format!("no pin {start}… in {}", pins.display()))
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn listed(pins: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(pins).with_context(|| format!("no {}", pins.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn put_back(rig: &Rig<'_>, guard: &str, way: Way) -> Result<()> {
    let (_server, hammer) = stage(rig)?;
    let (pins, eth0) = (rig.lab.pin_dir(), rig.lab.host.ifindex("eth0")?);
    // The control: without `run` the guard stays off, and `status` says so.
    rig.enforcer.expect(&["up"], 0)?;
    way.take_off(&pin_of(&pins, guard, eth0)?)?;
    let (code, status) = rig.enforcer.status()?;
    ensure!(
        code == Some(3),
        "without `run` nothing puts the guard back, but {status:?}"
    );
    rig.enforcer.expect(&["up"], 0)?;
    let run = rig.enforcer.run(&[])?;
    enforcing(rig)?;
    let since = Instant::now();
    let said = rig.enforcer.run_log().len();
    way.take_off(&pin_of(&pins, guard, eth0)?)?;
    // `run` holds the link: with the pin gone the guard may be on, and only its pin is missing.
    let healed = enforcing(rig).with_context(|| rig.enforcer.run_log())?;
    let whole = pin_of(&pins, guard, eth0);
    whole.with_context(|| rig.enforcer.run_log())?;
    expect_closed(&hammer, since)?;
    let says = eventually(Duration::from_secs(2), || {
        let log = rig.enforcer.run_log();
        let new = log.get(said..)?.trim().to_owned();
        (!new.is_empty()).then_some(new)
    });
    let says = says.context("silent: `run` says nothing of the guard")?;
    println!(
        "kills::put_back: {guard} {}: {healed:.1?}: {says}",
        way.name()
    );
    drop(run);
    Ok(())
}

/// `run` in a small machine with a bpffs of its own.
pub(super) struct Machine<'a> {
    rig: &'a Rig<'a>,
    daemon: Daemon,
    /// The first process there.
    pub(super) first: u32,
}

impl<'a> Machine<'a> {
    /// Starts, with a bpffs of this mode.
    pub(super) fn start(rig: &'a Rig<'a>, mode: &str) -> Result<Self> {
        let mount = format!("umount -l {BPFFS}; mount -t bpf -o mode={mode} bpf {BPFFS}");
        let run = Self::command(rig, &["run"])?;
        let mut command = in_a_machine(&rig.lab.host, &mount, &run);
        let log = std::fs::File::create(rig.lab.scratch().join("run.log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        // `down` ends `run`, and must not end with the machine.
        command.env_remove("NOTIFY_SOCKET").env("LINGER", "30");
        let daemon = Daemon::spawn(command)?;
        let first = first_process(&daemon)?;
        Ok(Self { rig, daemon, first })
    }

    fn command(rig: &Rig<'_>, arguments: &[&str]) -> Result<Command> {
        let mut command = rig.lab.host.command(rig.enforcer.binary());
        command.arg("--pin-dir").arg(format!("{BPFFS}/enforcer"));
        command.arg("--config").arg(rig.enforcer.config_path()?);
        command.args(arguments).env("NO_COLOR", "1");
        Ok(command)
    }

    fn call(&self, arguments: &[&str]) -> Result<Finished> {
        self.inside(&Self::command(self.rig, arguments)?)
    }

    fn inside(&self, program: &Command) -> Result<Finished> {
        finish(inside_machine(&self.rig.lab.host, self.first, program), "")
    }

    /// A tool that must succeed, inside.
    fn tool(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(program);
        command.args(arguments);
        self.inside(&command)?.ok().map(drop)
    }

    /// The process id of `run`.
    pub(super) fn run(&self) -> Result<u32> {
        child_of(self.first, "enforcer")
    }

    /// The pins, seen from outside.
    fn pins(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{BPFFS}/enforcer", self.first))
    }

    /// Waits until `status` says enforcing and a look at the pins says whole.
    pub(super) fn enforcing(&mut self, pins: Option<&[String]>) -> Result<Duration> {
        let start = Instant::now();
        let mut seen = String::new();
        let healed = eventually(HEALING, || {
            let missing: Vec<&String> = match pins {
                None => Vec::new(),
                Some(pins) => {
                    let here: Vec<String> = listed(&self.pins())
                        .unwrap_or_default()
                        .iter()
                        .map(|pin| name_of(pin))
                        .collect();
                    pins.iter().filter(|pin| !here.contains(pin)).collect()
                }
            };
            match self.call(&["status"]) {
                Ok(Finished { code: Some(0), .. }) if missing.is_empty() => {
                    return Some(start.elapsed());
                }
                other => seen = format!("{other:?}, missing {missing:?}"),
            }
            std::thread::sleep(Duration::from_millis(50));
            None
        });
        let ended = self.daemon.wait(Duration::ZERO)?;
        let log = self.rig.enforcer.run_log();
        ensure!(ended.is_none(), "`run` ended: {ended:?}\n{log}");
        healed.with_context(|| format!("not whole within {HEALING:?}: {seen}\n{log}"))
    }
}

/// A second bpffs covers the pins, guards are attached again there, and an unmount shows the pins
/// from before, whose links guard nothing any more.
fn uncovered(rig: &Rig<'_>) -> Result<()> {
    let (_server, hammer) = stage(rig)?;
    let mut machine = Machine::start(rig, "700")?;
    machine.enforcing(None)?;
    let since = Instant::now();
    let names: Vec<String> = listed(&machine.pins())?
        .iter()
        .map(|pin| name_of(pin))
        .collect();
    machine.tool("mount", &["-t", "bpf", "-o", "mode=700", "bpf", BPFFS])?;
    machine.enforcing(Some(&names))?;
    for guard in GUARDS {
        let pin = pin_of(&machine.pins(), guard, rig.lab.host.ifindex("eth0")?)?;
        detach_pinned(&pin)?;
        machine.enforcing(Some(&names))?;
    }
    machine.tool("umount", &["-l", BPFFS])?;
    // The first look comes at once, and the next one would be too late.
    std::thread::sleep(Duration::from_secs(2));
    machine.enforcing(Some(&names))?;
    expect_closed(&hammer, since)?;
    machine.call(&["down"])?.ok()?;
    hammer.expect_open().context("after `down`")
}

/// A removal.
#[derive(Clone, Copy, Debug)]
enum Removal {
    /// A single pin of any kind.
    Pin,
    /// Some pins at once.
    Pins,
    /// A link taken off its hook.
    Link,
    /// The folder.
    Folder,
    /// The mount.
    Mount,
    /// The folder renamed.
    Renamed,
}

const EACH: [Removal; 8] = [
    Removal::Pin,
    Removal::Pin,
    Removal::Pin,
    Removal::Pins,
    Removal::Link,
    Removal::Folder,
    Removal::Mount,
    Removal::Renamed,
];

fn random(rig: &Rig<'_>) -> Result<()> {
    let seed = seed()?;
    let mut rng = Rng(seed);
    let (_server, hammer) = stage(rig)?;
    let mut machine = Machine::start(rig, "700")?;
    machine.enforcing(None)?;
    let since = Instant::now();
    let mut worst = Duration::ZERO;
    let count = share_of(REMOVALS)?;
    for number in 0..count {
        let removal = rng.pick(&EACH)?;
        let struck = strike(&mut machine, &hammer, &mut rng, removal, since);
        worst = worst.max(struck.with_context(|| {
            format!("removal {number}, {removal:?}; again with ENFORCER_SEED={seed}")
        })?);
    }
    println!("kills::random_removals: {count} removals, whole within {worst:.1?}, 0 accepted");
    machine.call(&["down"])?.ok()?;
    hammer.expect_open().context("after `down`")
}

fn strike(
    machine: &mut Machine<'_>,
    hammer: &Hammer,
    rng: &mut Rng,
    removal: Removal,
    since: Instant,
) -> Result<Duration> {
    let pins = machine.pins();
    let all = listed(&pins)?;
    let names: Vec<String> = all.iter().map(|pin| name_of(pin)).collect();
    let indices: Vec<usize> = (0..all.len()).collect();
    match removal {
        Removal::Pin => std::fs::remove_file(&all[rng.pick(&indices)?])?,
        Removal::Pins => {
            for pin in all.iter().filter(|_| rng.roll() < 0.3) {
                std::fs::remove_file(pin)?;
            }
        }
        Removal::Link => {
            let links = indices
                .iter()
                .filter(|&&index| names[index].starts_with("link_"));
            let links: Vec<usize> = links.copied().collect();
            detach_pinned(&all[rng.pick(&links)?])?;
        }
        Removal::Folder => match std::fs::remove_dir_all(&pins) {
            // `run` was faster, and has pinned again already.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            removed => removed?,
        },
        // An init mounts the file system again, as systemd does: `run` has no right to.
        Removal::Mount => {
            machine.tool("umount", &["-l", BPFFS])?;
            std::thread::sleep(Duration::from_secs(2).mul_f64(rng.roll()));
            machine.tool("mount", &["-t", "bpf", "-o", "mode=700", "bpf", BPFFS])?;
        }
        Removal::Renamed => std::fs::rename(&pins, pins.with_file_name("elsewhere"))?,
    }
    let whole = machine.enforcing(Some(&names));
    let _ = std::fs::remove_dir_all(pins.with_file_name("elsewhere"));
    expect_closed(hammer, since)?;
    whole
}
