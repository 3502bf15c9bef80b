//! The file system of the pins, mounted again while `run` lives. The unit of `run` may not mount:
//! systemd does.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{host::sessions, kernel::mounts};

/// The longest wait for systemd's mount.
const LIMIT: Duration = Duration::from_secs(2);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Mounts a bpffs unless one is mounted; the kernel copies a new mount into the mount namespace of
/// the unit (mount_namespaces(7), shared subtrees).
const MOUNT: &str = "mountpoint -q /sys/fs/bpf || \
                     mount -t bpf -o nosuid,nodev,noexec,mode=700 bpf /sys/fs/bpf";

/// Makes sure of a bpffs for the pins, by systemd where `run` is the process of a unit. Takes two
/// seconds at most.
///
/// # Errors
/// No bpffs is mounted after that.
pub(super) fn ensure_bpffs(parent: &Path) -> Result<()> {
    let Err(error) = mounts::ensure_bpffs(parent) else {
        return Ok(());
    };
    if parent != Path::new(mounts::BPFFS) || !sessions::is_of_a_unit() {
        return Err(error);
    }
    by_systemd().with_context(|| format!("{error:#}; systemd cannot mount the file system"))?;
    mounts::ensure_bpffs(parent)
}

/// Has systemd mount the file system, in its own mount namespace.
fn by_systemd() -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    let mut child = Command::new("systemd-run")
        // One such unit at a time.
        .args(["--quiet", "--collect", "--wait", "--unit=enforcer-bpffs"])
        .args(["--description=Mount the file system of the enforcer's pins"])
        .args(["--", "/bin/sh", "-c", MOUNT])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("systemd-run cannot be started")?;
    loop {
        if let Some(status) = child.try_wait().context("failed to wait for systemd-run")? {
            ensure!(status.success(), "systemd-run failed ({status})");
            return Ok(());
        }
        if Instant::now() >= deadline {
            child.kill().ok();
            child.wait().ok();
            anyhow::bail!("systemd-run does not answer");
        }
        sleep(PAUSE);
    }
}
