//! A whole Debian with systemd, Podman and firewalld, in a virtual machine of `cargo xtask vm
//! --system`: the guest is the guarded host, and nothing there is worth keeping.
//!
//! Scenarios change the guest's own network namespace, services and firewall, so they refuse to run
//! anywhere else.

mod boot;
mod containers;
mod firewall;
mod flood;
mod host;
mod listener;
mod neighbour;
mod obstacles;
mod rootful;
mod rootless;
mod routed;
mod scenario;
mod service;
mod watchdog;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use libtest_mimic::{Arguments, Failed, Trial};

use self::host::Host;
use self::scenario::{SystemScenario, guest};

/// Commands of a guest, and of the neighbour outside.
#[derive(Subcommand)]
pub enum Command {
    /// Run the scenarios of Podman, firewalld and the service, in the guest.
    Scenarios(Run),
    /// Run the scenarios of a boot with the enforcer, in the guest.
    Boot(Run),
    /// Run the control of these: a boot without the enforcer.
    OpenBoot(Run),
    /// Run the scenarios of a boot without the enforcer whose network manager waits for it.
    ShutBoot(Run),
    /// Run the scenarios of a boot with obstacles in the way of the guards, in the guest.
    ObstructedBoot(Run),
    /// Put obstacles in the way of the guards before they start, in the guest.
    Obstruct {
        /// The kind of obstacles.
        kind: Obstacles,
    },
    /// Listen on the registered ports from early in the boot on, in the guest.
    Listen,
    /// Be the neighbour of a guest that boots, at the other end of its wire.
    Neighbour {
        /// The socket that QEMU connects to.
        socket: PathBuf,
    },
}

/// Obstacles of a boot.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Obstacles {
    /// A full disk behind stderr, a pipe for a registry, a squatted pin directory, a foreign lock.
    Files,
    /// WireGuard daemons that hang, with 256 peers by key.
    Peers,
}

/// Arguments of the scenarios.
#[derive(clap::Args)]
pub struct Run {
    /// The enforcer under test.
    #[arg(long, value_name = "PATH")]
    enforcer: PathBuf,
    #[command(flatten)]
    harness: Arguments,
}

/// Runs a command.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Scenarios(run) => {
            let mut all = rootful::scenarios();
            all.extend(routed::scenarios());
            all.extend(rootless::scenarios());
            all.extend(firewall::scenarios());
            all.extend(service::scenarios());
            all.extend(watchdog::scenarios());
            all.extend(obstacles::scenarios());
            conclude(&run, all, true)
        }
        Command::Boot(run) => conclude(&run, boot::scenarios(), false),
        Command::OpenBoot(run) => conclude(&run, boot::controls(), false),
        Command::ShutBoot(run) => conclude(&run, boot::shut(), false),
        Command::ObstructedBoot(run) => conclude(&run, boot::obstructed(), false),
        Command::Obstruct { kind } => {
            guest()?;
            obstruct(kind)
        }
        Command::Listen => {
            guest()?;
            listener::listen().map(|never| match never {})
        }
        Command::Neighbour { socket } => {
            println!("{}", neighbour::run(&socket)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The name of every scenario of a whole system.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let lists = [
        rootful::scenarios(),
        routed::scenarios(),
        rootless::scenarios(),
        firewall::scenarios(),
        service::scenarios(),
        watchdog::scenarios(),
        obstacles::scenarios(),
        boot::obstructed(),
        boot::scenarios(),
        boot::controls(),
        boot::shut(),
    ];
    lists.into_iter().flatten().map(|scenario| scenario.name)
}

/// Puts obstacles in place and keeps them there for ever.
fn obstruct(kind: Obstacles) -> Result<ExitCode> {
    let host = Host::new(Path::new("/usr/local/bin/enforcer"))?;
    let _kept: Box<dyn std::any::Any> = match kind {
        Obstacles::Files => Box::new(obstacles::obstruct(&host)?),
        Obstacles::Peers => Box::new(obstacles::HungDaemons::start(&host.own)?),
    };
    listener::sd_notify_ready();
    loop {
        std::thread::park();
    }
}

fn conclude(run: &Run, scenarios: Vec<SystemScenario>, wired: bool) -> Result<ExitCode> {
    let name = guest()?;
    let mut arguments = run.harness.clone();
    // All scenarios share the guest's host.
    arguments.test_threads = Some(1);
    let host = Arc::new(Mutex::new(host(&run.enforcer, wired)?));
    let trials = scenarios
        .into_iter()
        .map(|scenario| {
            let host = Arc::clone(&host);
            Trial::test(scenario.name, move || {
                let host = host.lock().unwrap_or_else(PoisonError::into_inner);
                (scenario.body)(&host).map_err(|error| failed(&host, &error))
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    println!(
        "system {name} kernel {}: {} passed, {} failed",
        rustix::system::uname().release().to_string_lossy(),
        conclusion.num_passed,
        conclusion.num_failed
    );
    Ok(conclusion.exit_code())
}

fn host(enforcer: &Path, wired: bool) -> Result<Host> {
    ensure!(
        enforcer.is_file(),
        "no enforcer at {}: it is to be installed in the guest",
        enforcer.display()
    );
    let host = Host::new(enforcer)?;
    if wired {
        host.wire_up().context("failed to make the LAN")?;
        containers::prepare(&host).context("failed to prepare Podman")?;
    }
    Ok(host)
}

fn failed(host: &Host, error: &anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}\n{}", host.diagnosis()))
}
