//! A run of the program: its needs, and the promise to leave the machine as found.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

use super::cleanup;
use super::kernel::Feature;
use super::leaks::MachineState;

/// Programs of other packages, needed by the lab everywhere.
const TOOLS: [&str; 5] = ["ip", "nft", "redis-server", "setpriv", "tc"];

/// The machine under the scenarios, and so the WireGuard at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Any host: wireguard-go, and the kernel's own where available.
    Host,
    /// A guest, with WireGuard in the kernel.
    Guest,
}

/// Set before the first scenario.
static MACHINE: OnceLock<Machine> = OnceLock::new();

/// Whether this is a guest, perhaps with a single, emulated processor.
pub fn is_guest() -> bool {
    MACHINE.get() == Some(&Machine::Guest)
}

/// An error that names everything missing on this machine, in a sentence.
pub fn require_machine(machine: Machine) -> Result<()> {
    MACHINE.get_or_init(|| machine);
    if !rustix::process::geteuid().is_root() {
        let line: Vec<String> = std::env::args().collect();
        bail!(
            "this needs root, to make network namespaces and attach programs in them: \
             sudo {}",
            line.join(" ")
        );
    }
    let userspace = (machine == Machine::Host).then_some("wireguard-go");
    let in_the_kernel = Feature::WireGuard.is_here().then_some("wg");
    for tool in TOOLS.into_iter().chain(userspace).chain(in_the_kernel) {
        ensure!(
            is_installed(tool),
            "`{tool}` is not installed: run cargo xtask setup"
        );
    }
    ensure!(
        cleanup::cgroup2_root().is_some(),
        "no cgroup2 file system is mounted: mount -t cgroup2 none /sys/fs/cgroup"
    );
    Ok(())
}

fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(tool).is_file())
}

/// The enforcer at the given path, or beside this program.
pub fn find_enforcer(named: Option<PathBuf>) -> Result<PathBuf> {
    let path = match named {
        Some(path) => path,
        None => std::env::current_exe()
            .context("failed to find our own program")?
            .with_file_name("enforcer"),
    };
    path.canonicalize()
        .ok()
        .filter(|path| Path::is_file(path))
        .with_context(|| format!("no enforcer at {}: run cargo xtask build", path.display()))
}

/// Runs `work` and compares the machine before and after; leaks are an error.
pub fn leaving_no_trace<T>(work: impl FnOnce() -> T) -> Result<T> {
    cleanup::exit_on_signal()?;
    cleanup::announce()?;
    cleanup::sweep();
    let before = MachineState::look()?;
    let done = work();
    let leaks = before.leaked().context("failed to look for leaks")?;
    ensure!(
        leaks.is_empty(),
        "the run left behind: {}",
        leaks.join(", ")
    );
    Ok(done)
}
