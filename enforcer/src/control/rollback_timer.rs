//! The processes behind a rollback: a living `run`, and a timer of systemd.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::{Error, Instance};
use crate::{printable, procfs::Process};

/// The longest wait for systemd to start a timer.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(20);

/// Makes sure of a rollback after `time`. Returns the process behind the rollback, in words.
///
/// # Errors
/// [`Error::NoRollback`].
pub(super) async fn arrange(instance: &Instance, time: Duration) -> Result<&'static str, Error> {
    let is_followed = instance.is_followed();
    let timer = match has_systemd() {
        true => start_timer(instance, time).await,
        false => Err(anyhow::anyhow!("systemd does not run here")),
    };
    match (is_followed, timer) {
        (true, Ok(())) => Ok("by `run` or a timer of systemd"),
        (true, Err(_)) => Ok("by `run`"),
        (false, Ok(())) => Ok("by a timer of systemd"),
        (false, Err(why)) => Err(Error::NoRollback(format!("{why:#}"))),
    }
}

/// Whether systemd's manager runs (sd_booted(3)) in the network namespace of this process: its
/// timers start commands in no other namespace.
fn has_systemd() -> bool {
    let namespace = |process: Process| process.network_namespace().ok();
    let is_ours = || Some(namespace(Process::This)? == namespace(Process::INIT)?);
    Path::new("/run/systemd/system").is_dir() && is_ours().unwrap_or(false)
}

/// Starts a timer for the rollback, independent of this process.
async fn start_timer(instance: &Instance, time: Duration) -> Result<()> {
    let output = tokio::time::timeout(SYSTEMD_LIMIT, timer(instance, time)?.output())
        .await
        .context("systemd-run does not answer")?
        .context("systemd-run cannot be started")?;
    ensure!(
        output.status.success(),
        "systemd-run failed: {}",
        printable::quoted(&output.stderr)
    );
    Ok(())
}

/// The command that starts the timer. The timer's own command runs in another folder, so all paths
/// are absolute.
fn timer(instance: &Instance, time: Duration) -> Result<Command> {
    let own = std::env::current_exe().context("failed to find this program's own file")?;
    let mut command = Command::new("systemd-run");
    command
        .args(["--quiet", "--collect"])
        .arg("--description=Roll an unconfirmed enforcer policy back")
        .arg(format!("--on-active={}s", time.as_secs()))
        .arg("--timer-property=AccuracySec=100ms")
        .arg("--")
        .arg(own)
        .arg("--pin-dir")
        .arg(instance.pin_dir());
    if let Some(cgroup) = instance.cgroup() {
        // A rollback may attach the socket guard again.
        let cgroup = std::path::absolute(cgroup).context("failed to find the current folder")?;
        command.arg("--cgroup").arg(cgroup);
    }
    command
        .args(["confirm", "--roll-back"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printable::decode_path;

    #[test]
    fn a_timer_acts_where_the_reload_did() {
        let words = |cgroup: Option<&str>| {
            let instance = Instance::new(Path::new("/sys/fs/bpf/x"), cgroup.map(Into::into));
            let command = timer(&instance.unwrap(), Duration::from_secs(60)).unwrap();
            let words = command
                .as_std()
                .get_args()
                .map(|it| decode_path(it.as_ref()));
            words.collect::<Vec<_>>().join(" ")
        };
        let named = words(Some("somewhere"));
        let here = std::env::current_dir().unwrap().join("somewhere");
        let end = format!(
            " --pin-dir /sys/fs/bpf/x --cgroup {} confirm --roll-back",
            decode_path(&here)
        );
        assert!(named.ends_with(&end), "{named}");
        assert!(words(None).ends_with(" --pin-dir /sys/fs/bpf/x confirm --roll-back"));
    }
}
