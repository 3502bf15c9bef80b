//! The guest as a host: enforcer, services, and a neighbour on the LAN.
//!
//! ```text
//!   lan 192.168.77.2 ──── lan0 192.168.77.1 │ the guest's own namespace
//!       192.168.77.50 (ghost)               │ podman0, ct-net, rootless containers
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use enforcer_ebpf::{Guard, Reason, Verdict};

use crate::lab::command::{Finished, eventually, finish};
use crate::lab::enforcer::{Counters, SETTLE};
use crate::lab::report::Status;
use crate::lab::topology::{GHOST, HOST_LAN, HOST_MAC, LAN, LAN_MAC};
use crate::lab::wire::Wire;
use crate::lab::{Ask, Guards, Netns, Outcome, Patience, Port};

/// The request answered by containers and their pages.
pub(super) const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// Time limit of a program: Podman and firewalld are large, and the guest is slow.
const LIMIT: &str = "150";

/// The guest.
pub(super) struct Host {
    enforcer: PathBuf,
    /// The guest's own namespace: guards are attached here, which is fine in a guest.
    pub(super) own: Netns,
    /// The neighbour's namespace.
    pub(super) lan: Netns,
}

impl Host {
    /// The guest after the boot.
    pub(super) fn new(enforcer: &Path) -> Result<Self> {
        Ok(Self {
            enforcer: enforcer.to_owned(),
            own: Netns::own()?,
            lan: Netns::new("lan")?,
        })
    }

    /// Makes a LAN with a neighbour, whose routes to every address lead through the guest.
    ///
    /// The default route makes pasta take the addresses of this interface for its containers.
    pub(super) fn wire_up(&self) -> Result<()> {
        let (lan, host_mac, lan_mac) = (self.lan.path(), mac(HOST_MAC), mac(LAN_MAC));
        // Connections accepted from a flood are not repeated into the next.
        self.own.sysctl("net/ipv4/tcp_synack_retries", "1")?;
        self.own.ip(&format!(
            "link set lo up
             link add lan0 address {host_mac} type veth peer name eth0 address {lan_mac} netns {lan}
             addr add {HOST_LAN}/24 dev lan0
             link set lan0 up
             route replace default via {LAN}
             neigh replace {GHOST} lladdr {lan_mac} dev lan0 nud permanent"
        ))?;
        self.lan.ip(&format!(
            "link set lo up
             addr add {LAN}/24 dev eth0
             link set eth0 up
             route add default via {HOST_LAN}"
        ))
    }

    /// The neighbour's packet socket.
    pub(super) fn wire(&self) -> Result<Wire> {
        Wire::open(&self.lan, "eth0")
    }

    /// Asks a web server or a server of the lab from the LAN.
    pub(super) fn ask_from_lan(&self, to: &str, patience: Patience) -> Result<Outcome> {
        Ask::command(to, REQUEST).ask(&self.lan, patience)
    }

    /// Asks a server from the host itself.
    pub(super) fn ask_locally(&self, to: &str) -> Result<Outcome> {
        Ask::command(to, REQUEST).ask(&self.own, Patience::Long)
    }

    /// Runs a program to the end.
    pub(super) fn call(&self, words: &[&str]) -> Result<Finished> {
        let mut command = Command::new("timeout");
        command.arg(LIMIT).args(words).env("NO_COLOR", "1");
        let output = command
            .stdin(std::process::Stdio::null())
            .output()
            .with_context(|| format!("failed to start `{}`", words.join(" ")))?;
        Ok(Finished {
            line: words.join(" "),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a program that must succeed, and returns the output.
    pub(super) fn run(&self, words: &[&str]) -> Result<String> {
        Ok(self.call(words)?.ok()?.trim().to_owned())
    }

    /// Runs the enforcer.
    pub(super) fn enforcer(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.own.command(&self.enforcer);
        command.args(arguments).env("NO_COLOR", "1");
        finish(command, "")
    }

    /// The enforcer's path.
    pub(super) fn enforcer_path(&self) -> &Path {
        &self.enforcer
    }

    /// Takes the guards off, whatever put them on.
    pub(super) fn guards_off(&self) -> Result<()> {
        self.enforcer(&["down"])?.ok()?;
        self.run(&["systemctl", "stop", "enforcer"])?;
        // A running service would bring them back.
        self.enforcer(&["down"])?.ok().map(drop)
    }

    /// Puts these guards on, by hand.
    pub(super) fn guards_on(&self, guards: Guards) -> Result<()> {
        let finished = self.enforcer(&["up", "--guards", guards.name()])?;
        ensure!(matches!(finished.code, Some(0 | 3)), "{finished}");
        let status = self.status()?;
        for guard in Guard::ALL {
            let is_on = |interface: Option<&str>| {
                let mut lines = status.guards.iter();
                lines.any(|line| {
                    line.guard == guard.name() && line.interface.as_deref() == interface
                })
            };
            let interface = (guard == Guard::Wire).then_some("lan0");
            ensure!(
                is_on(interface) == guards.include(guard),
                "`up --guards {}` left these guards: {:?}",
                guards.name(),
                status.guards
            );
        }
        Ok(())
    }

    /// Starts the service; returns after READY.
    pub(super) fn start_service(&self) -> Result<()> {
        self.run(&["systemctl", "start", "enforcer"]).map(drop)
    }

    /// `status --json`.
    pub(super) fn status(&self) -> Result<Status> {
        let finished = self.enforcer(&["status", "--json"])?;
        serde_json::from_str(&finished.stdout).with_context(|| finished.to_string())
    }

    /// `counters --json`.
    pub(super) fn counters(&self) -> Result<Counters> {
        let text = self.enforcer(&["counters", "--json"])?.ok()?;
        Ok(Counters(serde_json::from_str(&text)?))
    }

    /// Drops counted by both guards so far.
    pub(super) fn drops(&self) -> Result<u64> {
        let counters = self.counters()?;
        let count = |guard| counters.total(guard, Verdict::Drop);
        Ok(Guard::ALL.into_iter().map(count).sum())
    }

    /// Waits until a guard has counted a packet to `port` for this reason.
    pub(super) fn expect_counted(
        &self,
        guard: Guard,
        reason: Reason,
        port: Port<'_>,
    ) -> Result<()> {
        let counted = |counters: &Counters| counters.count(guard, reason, port) > 0;
        eventually(SETTLE, || self.counters().ok().filter(counted)).map_or_else(
            || bail!("expected the {guard} guard to count {port} as `{reason}`"),
            |_| Ok(()),
        )
    }

    /// State of the guest, for the message of a failed scenario.
    pub(super) fn diagnosis(&self) -> String {
        let mut text = String::new();
        for arguments in [["status"], ["counters"]] {
            if let Ok(finished) = self.enforcer(&arguments) {
                text += &format!("{finished}\n");
            }
        }
        for words in [
            &["podman", "ps", "--all"][..],
            &["ip", "-brief", "address"],
            &["nft", "list", "tables"],
            &["journalctl", "--no-pager", "--lines", "12", "--quiet"],
        ] {
            if let Ok(finished) = self.call(words) {
                text += &format!("{finished}\n");
            }
        }
        text
    }
}

/// An attack, repeated by a scenario without the enforcer and under guard.
pub(super) struct Attack<'a> {
    /// The registered port under attack.
    pub(super) port: Port<'a>,
    /// The sets of guards that must hold the attack, each with the counting guard and the reason.
    pub(super) held: &'a [(Guards, Guard, Reason)],
    /// Sets of guards that do not hold the attack: today's truth, and no wish.
    pub(super) open: &'a [Guards],
}

impl Attack<'_> {
    /// The control, each set of guards, and the control again.
    pub(super) fn judge(
        &self,
        host: &Host,
        mut attempt: impl FnMut(Patience) -> Result<Outcome>,
    ) -> Result<()> {
        host.guards_off()?;
        reached(&attempt(Patience::Long)?).context("before the enforcer was up")?;
        for &(guards, guard, reason) in self.held {
            host.guards_on(guards)?;
            unreached(&attempt(Patience::Brief)?)
                .with_context(|| format!("with the guards `{}`", guards.name()))?;
            host.expect_counted(guard, reason, self.port)?;
        }
        for &guards in self.open {
            host.guards_on(guards)?;
            reached(&attempt(Patience::Long)?)
                .with_context(|| format!("with the guards `{}`", guards.name()))?;
        }
        host.guards_off()?;
        reached(&attempt(Patience::Long)?).context("after the enforcer was taken down")
    }
}

/// Insists on answers without the enforcer, with both guards and without a drop, and without the
/// enforcer again.
pub(super) fn goes_on(host: &Host, mut attempt: impl FnMut() -> Result<Outcome>) -> Result<()> {
    host.guards_off()?;
    reached(&attempt()?).context("before the enforcer was up")?;
    host.guards_on(Guards::Both)?;
    reached(&attempt()?).context("with both guards")?;
    let drops = host.drops()?;
    ensure!(drops == 0, "{drops} packets were dropped");
    host.guards_off()?;
    reached(&attempt()?).context("after the enforcer was taken down")
}

/// Insists on an answer.
pub(super) fn reached(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.reached(), "expected an answer, but saw {outcome}");
    Ok(())
}

/// Insists on silence or a refusal.
pub(super) fn unreached(outcome: &Outcome) -> Result<()> {
    ensure!(!outcome.reached(), "expected no answer, but was {outcome}");
    Ok(())
}

/// A MAC address in the notation of `ip` and sysfs.
pub(super) fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
