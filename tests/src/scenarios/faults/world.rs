//! Two registries that differ, services behind both, and ways to tell the policy in force.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use enforcer_ebpf::layout::LAYOUT_VERSION;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::lab::bpf;
use crate::lab::frames::{Ends, Mac};
use crate::lab::topology::{HOST_LAN, HOST_MAC, HOST_WG, HOST_WG_MAC, LAN, PEER, STRANGER};
use crate::lab::wire::{Reply, Wire, reply_in};
use crate::lab::{Enforcer, Port, Server, Transport};

use super::super::raw_packet::Probe;
use super::super::runner::expect_nothing_pinned;
use crate::scenario::Rig;

/// More calls than any command makes.
pub(super) const MOST: usize = 2000;

/// 20 ports: 17 for no peer, a single port for the peer, two public.
const OLD: &str = r#"
[services.common]
ports = ["9200-9215"]
[services.only]
ports = [9301]
[services.metrics]
ports = [9100]
allow = ["collector"]
[services.traefik]
ports = [8080, 8443]
public = true
[peers.collector]
interface = "wg0"
addresses = ["10.10.0.5/32"]
"#;

const COMMON: u16 = 9200;
const ONLY_OLD: u16 = 9301;
const ONLY_NEW: u16 = 9302;
const ALLOWED: u16 = 9100;
const UNREGISTERED: u16 = 7777;
/// The administrator's reserved ports from before the enforcer.
pub(super) const ADMINS: &str = "5000";
pub(super) const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";
/// Longest wait for an answer under way.
const ANSWER: Duration = Duration::from_secs(10);

/// The policy in force, as a neighbour finds out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scenarios) enum Policy {
    /// Nothing.
    Off,
    /// The registry [`OLD`].
    Old,
    /// The registry [`OLD`] with a port replaced.
    New,
    /// Both at the same time: a port forbidden by either is forbidden.
    Both,
    /// The built-in registry.
    Embedded,
}

impl Policy {
    pub(super) fn registry(self) -> String {
        match self {
            Self::New => OLD.replace(&ONLY_OLD.to_string(), &ONLY_NEW.to_string()),
            _ => OLD.to_owned(),
        }
    }

    fn reserved(self) -> String {
        match self {
            Self::Old => format!("{ADMINS},8080,8443,9100,9200-9215,{ONLY_OLD}"),
            Self::New => format!("{ADMINS},8080,8443,9100,9200-9215,{ONLY_NEW}"),
            _ => ADMINS.to_owned(),
        }
    }
}

/// A lab with services and two packet sockets.
pub(in crate::scenarios) struct World<'a> {
    pub(in crate::scenarios) rig: &'a Rig<'a>,
    _services: Vec<Server>,
    lan: Wire,
    peer: Wire,
}

/// Everything that a command may have changed; object ids tell old programs and links from new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pins: BTreeMap<PathBuf, [u32; 3]>,
    reserved: String,
    status: (Option<i32>, String),
}

impl<'a> World<'a> {
    /// Starts with nothing pinned: all services answer, which is the control.
    pub(in crate::scenarios) fn new(rig: &'a Rig<'a>) -> Result<Self> {
        let host = &rig.lab.host;
        let services = [COMMON, ONLY_OLD, ONLY_NEW, ALLOWED, UNREGISTERED]
            .map(|port| Server::start(host, Transport::Tcp, &format!("0.0.0.0:{port}"), "token"));
        host.sysctl(RESERVED, ADMINS)?;
        let world = Self {
            rig,
            _services: services.into_iter().collect::<Result<_>>()?,
            lan: Wire::open(&rig.lab.lan, "eth0")?,
            peer: Wire::open(&rig.lab.peer, "wg0")?,
        };
        world.expect_whole(Policy::Off).context("the control")?;
        Ok(world)
    }

    /// Writes the registry file of a policy.
    pub(in crate::scenarios) fn registry(&self, policy: Policy) -> Result<()> {
        self.rig.enforcer.registry(&policy.registry())
    }

    /// Puts a policy in force with the shipped binary, from any state, and insists on a whole set.
    pub(in crate::scenarios) fn set_up(&self, policy: Policy) -> Result<()> {
        if policy == Policy::Off {
            self.rig.enforcer.down()?;
        } else {
            self.registry(policy)?;
            self.rig.enforcer.expect(&["up"], 0)?;
        }
        self.expect_whole(policy)
    }

    /// Puts another policy in force over a whole set: a `reload` is faster than an `up`.
    pub(super) fn change_to(&self, policy: Policy) -> Result<()> {
        if policy == Policy::Off {
            return self.set_up(policy);
        }
        self.registry(policy)?;
        self.rig.enforcer.reload()?;
        self.expect_whole(policy)
    }

    /// The policy in force, by real packets: forbidden ones, a peer's, and a packet to an
    /// unregistered port.
    pub(in crate::scenarios) fn policy(&self) -> Result<Policy> {
        let lan = Ends::V4(LAN, HOST_LAN);
        let [common, old, new] = answers(
            &self.lan,
            HOST_MAC,
            lan,
            [(lan, COMMON), (lan, ONLY_OLD), (lan, ONLY_NEW)],
        )?;
        let peer = Ends::V4(PEER, HOST_WG);
        let stranger = Ends::V4(STRANGER, HOST_WG);
        let asked = [(stranger, COMMON), (peer, ALLOWED)];
        let [other, allowed] = answers(&self.peer, HOST_WG_MAC, peer, asked)?;
        ensure!(allowed, "the allowed peer was refused");
        match (common || other, common && other, old, new) {
            (false, _, false, true) => Ok(Policy::Old),
            (false, _, true, false) => Ok(Policy::New),
            (false, _, false, false) => Ok(Policy::Both),
            (false, _, true, true) => Ok(Policy::Embedded),
            (_, true, true, true) => Ok(Policy::Off),
            _ => bail!(
                "half open: answered from the LAN: {common} (in every policy forbidden), {old} \
                 (in the old), {new} (in the new); from wg0: {other} (forbidden)"
            ),
        }
    }

    /// Insists on a policy in force with all its guards, and on nothing else left.
    pub(in crate::scenarios) fn expect_whole(&self, policy: Policy) -> Result<()> {
        let seen = self.policy()?;
        ensure!(
            seen == policy,
            "expected {policy:?} to be in force, but saw {seen:?}"
        );
        let (code, status) = self.rig.enforcer.status()?;
        match policy {
            Policy::Off => {
                ensure!(
                    code == Some(4) && status.state == "off",
                    "it is {policy:?}: {status:?}"
                );
                expect_nothing_pinned(self.rig)?;
            }
            _ => {
                ensure!(code == Some(0) && status.state == "enforcing", "{status:?}");
                ensure!(is_guarded(&status), "a guard is missing: {status:?}");
                let beside = self.staging()?;
                ensure!(!beside.exists(), "{} was left", beside.display());
            }
        }
        let reserved = self.rig.lab.host.read_sysctl(RESERVED)?;
        ensure!(
            reserved == policy.reserved(),
            "{policy:?} reserves {}, but {reserved} is",
            policy.reserved()
        );
        Ok(())
    }

    /// Insists that the policy is among these, and that `status` does not say otherwise.
    pub(in crate::scenarios) fn expect_one_of(&self, fine: &[Policy]) -> Result<Policy> {
        let policy = self.policy()?;
        ensure!(
            fine.contains(&policy),
            "{policy:?} is in force, and none of {fine:?}"
        );
        // A `status` that cannot tell fails, and says nothing.
        if let Ok((_, status)) = self.rig.enforcer.status() {
            let lies = match status.state.as_str() {
                "enforcing" => policy == Policy::Off || !is_guarded(&status),
                "off" => policy != Policy::Off,
                _ => false,
            };
            ensure!(!lies, "{policy:?} is in force, but status says {status:?}");
        }
        Ok(policy)
    }

    /// All visible state of the enforcer.
    pub(super) fn snapshot(&self) -> Result<Snapshot> {
        let mut pins = BTreeMap::new();
        for directory in [self.rig.lab.pin_dir(), self.staging()?] {
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            pins.insert(directory, [0; 3]);
            for entry in entries {
                let path = entry?.path();
                let id = bpf::pinned(&path).with_context(|| path.display().to_string())?;
                pins.insert(path, id);
            }
        }
        let status = self.rig.enforcer.call(&["status", "--json"])?;
        Ok(Snapshot {
            pins,
            reserved: self.rig.lab.host.read_sysctl(RESERVED)?,
            status: (status.code, status.stdout),
        })
    }

    pub(super) fn staging(&self) -> Result<PathBuf> {
        let pins = self.rig.lab.pin_dir();
        let name = pins.file_name().context("the pin directory has a name")?;
        Ok(pins.with_file_name(format!("{}_enforcer_tmp", name.to_string_lossy())))
    }
}

/// The number of a layout that is not today's, for `ENFORCER_LAYOUT`.
pub(in crate::scenarios) fn another_layout() -> String {
    (LAYOUT_VERSION + 1).to_string()
}

/// The enforcer with failpoints, beside the shipped binary, on the same lab.
pub(in crate::scenarios) fn faulty<'lab>(rig: &Rig<'lab>) -> Result<Enforcer<'lab>> {
    let path = rig.enforcer.binary().with_file_name("enforcer-failpoints");
    ensure!(
        Path::is_file(&path),
        "there is no {}: `cargo build --release --package enforcer --features failpoints --bin \
         enforcer-failpoints` builds it, and `cargo xtask test` does so by itself",
        path.display()
    );
    Enforcer::new(&path, rig.lab)
}

fn is_guarded(status: &crate::lab::report::Status) -> bool {
    let on = |interface: &str| {
        let mut guards = status.guards.iter();
        guards.any(|guard| guard.interface.as_deref() == Some(interface))
    };
    let socket = status.guards.iter().any(|guard| guard.guard == "socket");
    on("eth0") && on("wg0") && socket
}

/// Which of the SYNs are answered. After them comes a SYN to an unregistered port; all wait in the
/// same queue of the host, so an answer to the last shows that the others have been judged.
fn answers<const N: usize>(
    wire: &Wire,
    mac: Mac,
    fence: Ends,
    asked: [(Ends, u16); N],
) -> Result<[bool; N]> {
    let probes = asked.map(|(ends, port)| Probe::between(ends, Port("tcp", port)));
    let fence = Probe::between(fence, Port("tcp", UNREGISTERED));
    let mut answered = [false; N];
    let ask = || -> Result<bool> {
        // Each CPU has a queue: this thread stays on a single CPU.
        let mut one = CpuSet::new();
        let here = rustix::thread::sched_getcpu();
        one.set(here);
        sched_setaffinity(None, &one).context("failed to stay on a CPU")?;
        while wire.expect(Instant::now(), |_| Some(()))?.is_some() {}
        for probe in probes.iter().chain([&fence]) {
            wire.send(&probe.framed_to(mac, &probe.packet()))?;
        }
        let end = wire.expect(Instant::now() + ANSWER, |frame| {
            for (probe, answered) in probes.iter().zip(&mut answered) {
                *answered |= reply_in(frame, probe.port, probe.source) == Some(Reply::SynAck);
            }
            (reply_in(frame, fence.port, fence.source) == Some(Reply::SynAck)).then_some(())
        })?;
        Ok(end.is_some())
    };
    let ended = thread::scope(|scope| scope.spawn(ask).join())
        .map_err(|_| anyhow::anyhow!("the thread that asks panicked"))??;
    ensure!(ended, "a port that nobody registered did not answer");
    Ok(answered)
}
