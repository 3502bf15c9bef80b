//! A userspace WireGuard: wireguard-go over tun devices, and sockets that only look like a
//! daemon's.
//!
//! ```text
//!   lan  wga 10.10.0.5  (laptop)   ┐ UDP                      ┌ wg0 10.10.0.2  host
//!        wgb 10.10.0.99 (stranger) ┴ eth0 ───────────── eth0 ─┘
//! ```
//!
//! The sockets' folder is the same for the whole machine. Here, every program that looks for the
//! folder gets a private mount namespace, with a scratch folder of the lab at /run.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::command::{Daemon, eventually};
use crate::lab::enforcer::SETTLE;
use crate::lab::topology::{HOST_LAN, HOST_WG, Lab, PEER, STRANGER};
use crate::lab::{Ask, Guards, Netns, Outcome, Patience, PrivateRun, Transport};

use super::hub::{Hub, METRICS, Who, call, follow, hole, laptop, metrics, registry};
use crate::scenario::{Rig, Scenario};
use crate::scenarios::runner::{answered, unanswered};

/// A throw-away key pair: both in the hex digits of the protocol.
pub(super) struct Keys {
    private: &'static str,
    public: &'static str,
}

const HUB: Keys = Keys {
    private: "c8be335220096ce279146b728ef4e23861087eb78502471e4503cb86612dee4b",
    public: "286aacc70ea0e17afe7b78bf09a9aae8697da8e111dd064e34c1a74db6b6823d",
};
pub(super) const LAPTOP: Keys = Keys {
    private: "985b30969543efbf8bf4027da60732a3e025388d7848081bd4892724dad13845",
    public: "0032313b5f781399a547a296060e0a3b2c88f70e0f438c6f5c2c3776e0549f6c",
};
/// The public key of [`LAPTOP`], as written in registries.
pub(super) const LAPTOP_BASE64: &str = "ADIxO194E5mlR6KWBg4KOyyI9w4PQ4xvXCw3duBUn2w=";
const OTHER: Keys = Keys {
    private: "105f50fbbb5c39f446d5cedf7f1ea71d888348df193e0dbfe60ce483135f854e",
    public: "52fdc02f3c4fef6cb9860566337b08631028e2fc6308dc65b17fcbc52d06f93c",
};

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![
        Scenario::new(
            "keys::userspace::each_reload_takes_what_is_allowed_now",
            |rig| follow(rig, &Userspace::hub(rig.lab)?),
        ),
        Scenario::new("keys::userspace::a_socket_wants_its_tun", wants_tun),
        Scenario::new("keys::userspace::a_silent_socket_holds_nobody_up", silent),
    ];
    for guards in [Guards::Wire, Guards::Socket, Guards::Both] {
        let name = format!(
            "a21_a_hole_in_a_granted_prefix::userspace::{}",
            guards.name()
        );
        scenarios.push(Scenario::new(name, move |rig| {
            hole(rig, &Userspace::hub(rig.lab)?, guards)
        }));
    }
    scenarios
}

/// The folder at /run for the programs of a scenario, with the sockets.
pub(super) struct Run(PrivateRun);

impl Run {
    pub(super) fn new(lab: &Lab) -> Result<Self> {
        let run = Self(PrivateRun::new(lab)?);
        std::fs::create_dir_all(run.folder())?;
        Ok(run)
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.0.path().join("wireguard")
    }

    pub(super) fn socket(&self, device: &str) -> PathBuf {
        self.folder().join(format!("{device}.sock"))
    }

    pub(super) fn guide(&self, command: &mut Command) {
        self.0.guide(command);
    }

    /// Starts and configures wireguard-go for a device of a namespace.
    fn device(&self, namespace: &Netns, name: &str, settings: &str) -> Result<Daemon> {
        let mut command = namespace.command("wireguard-go");
        command
            .args(["--foreground", name])
            .env("LOG_LEVEL", "silent")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.guide(&mut command);
        let daemon = Daemon::spawn(command)?;
        let socket = self.socket(name);
        eventually(SETTLE, || UnixStream::connect(&socket).ok())
            .with_context(|| format!("wireguard-go never listened for {name}"))?;
        self.set(name, settings)?;
        Ok(daemon)
    }

    /// Configures a device.
    fn set(&self, device: &str, settings: &str) -> Result<()> {
        let mut stream = UnixStream::connect(self.socket(device))?;
        stream.set_read_timeout(Some(SETTLE))?;
        write!(stream, "set=1\n{settings}\n")?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer[..length]);
        ensure!(
            answer == "errno=0\n\n",
            "wireguard-go refused to configure {device}: {answer}"
        );
        Ok(())
    }
}

/// Three wireguard-go daemons.
pub(in crate::scenarios) struct Userspace<'lab> {
    lab: &'lab Lab,
    run: Run,
    _daemons: [Daemon; 3],
}

impl<'lab> Userspace<'lab> {
    pub(in crate::scenarios) fn hub(lab: &'lab Lab) -> Result<Self> {
        let run = Run::new(lab)?;
        lab.host.ip("link del wg0")?;
        let settings = format!("private_key={}\nlisten_port=51820\n", HUB.private)
            + &peer(&LAPTOP, &[])
            + &peer(&OTHER, &[]);
        let hub = run.device(&lab.host, "wg0", &settings)?;
        lab.host
            .ip(&format!("addr add {HOST_WG}/24 dev wg0\nlink set wg0 up"))?;
        let client = |name: &str, keys: &Keys, address: Ipv4Addr| -> Result<Daemon> {
            let settings = format!("private_key={}\n", keys.private) + &to_the_hub();
            let daemon = run.device(&lab.lan, name, &settings)?;
            lab.lan.ip(&format!(
                "addr add {address}/32 dev {name}
                 link set {name} up"
            ))?;
            Ok(daemon)
        };
        let laptop = client("wga", &LAPTOP, PEER)?;
        let stranger = client("wgb", &OTHER, STRANGER)?;
        Ok(Self {
            lab,
            run,
            _daemons: [hub, laptop, stranger],
        })
    }
}

/// The hub, as a peer in the peers' configuration.
fn to_the_hub() -> String {
    format!(
        "public_key={}\nendpoint={HOST_LAN}:51820\nallowed_ip={HOST_WG}/32\n",
        HUB.public
    )
}

/// A peer with these AllowedIPs instead of any others.
pub(super) fn peer(keys: &Keys, allowed: &[&str]) -> String {
    let mut text = format!("public_key={}\nreplace_allowed_ips=true\n", keys.public);
    for prefix in allowed {
        let _ = writeln!(text, "allowed_ip={prefix}");
    }
    text
}

impl Hub for Userspace<'_> {
    fn laptop(&self) -> &str {
        LAPTOP_BASE64
    }

    fn ask(&self, who: Who, from: Ipv4Addr, patience: Patience) -> Result<Outcome> {
        let device = match who {
            Who::Laptop => "wga",
            Who::Stranger => "wgb",
        };
        self.lab
            .lan
            .ip(&format!("route replace {HOST_WG}/32 dev {device}"))?;
        Ask::new(Transport::Tcp, &format!("{HOST_WG}:9100"))
            .from(&format!("{from}:0"))
            .ask(&self.lab.lan, patience)
    }

    fn allow(&self, laptop: &[&str], stranger: &[&str]) -> Result<()> {
        let settings = peer(&LAPTOP, laptop) + &peer(&OTHER, stranger);
        self.run.set("wg0", &settings)
    }

    fn forget_laptop(&self) -> Result<()> {
        let settings = format!("public_key={}\nremove=true\n", LAPTOP.public);
        self.run.set("wg0", &settings)
    }

    fn allow_stranger(&self, prefixes: &[&str]) -> Result<()> {
        self.run.set("wg0", &peer(&OTHER, prefixes))
    }

    fn come_back(&self, prefixes: &[&str]) -> Result<()> {
        self.run.set("wg0", &peer(&LAPTOP, prefixes))?;
        // The laptop's device believes in the forgotten session.
        let forget = format!("public_key={}\nremove=true\n", HUB.public);
        self.run.set("wga", &forget)?;
        self.run.set("wga", &to_the_hub())
    }

    fn guide(&self, command: &mut Command) {
        self.run.guide(command);
    }
}

/// A socket that gives a prepared answer, or none, to every client.
pub(in crate::scenarios) struct Pretender<'lab> {
    lab: &'lab Lab,
    run: Run,
    answer: Arc<Mutex<Option<String>>>,
}

impl<'lab> Pretender<'lab> {
    /// A device with a laptop and a stranger, whose daemon no number of events can confuse.
    pub(in crate::scenarios) fn hub(lab: &'lab Lab) -> Result<Self> {
        let hub = Self::new(lab, Some(String::new()))?;
        hub.make_tun()?;
        hub.allow(&[], &[])?;
        Ok(hub)
    }

    /// A device with a silent daemon.
    pub(in crate::scenarios) fn silent(lab: &'lab Lab) -> Result<Self> {
        let hub = Self::new(lab, None)?;
        hub.make_tun()?;
        Ok(hub)
    }

    fn new(lab: &'lab Lab, answer: Option<String>) -> Result<Self> {
        let answer = Arc::new(Mutex::new(answer));
        let said = Arc::clone(&answer);
        let run = Run::new(lab)?;
        let listener = UnixListener::bind(run.socket("wg0"))?;
        // The thread ends with this process, and holds nothing but the socket.
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let answer = said.lock().unwrap_or_else(PoisonError::into_inner);
                match answer.clone() {
                    Some(answer) => {
                        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                        let _ = stream.read(&mut [0; 64]);
                        let _ = stream.write_all(answer.as_bytes());
                    }
                    None => held.push(stream),
                }
            }
        });
        Ok(Self { lab, run, answer })
    }

    fn say(&self, answer: String) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    /// A tun device in the place of the veth end.
    fn make_tun(&self) -> Result<()> {
        self.lab.host.ip(&format!(
            "link del wg0
             tuntap add dev wg0 mode tun
             addr add {HOST_WG}/24 dev wg0
             link set wg0 up"
        ))
    }
}

impl Hub for Pretender<'_> {
    fn laptop(&self) -> &str {
        LAPTOP_BASE64
    }

    fn ask(&self, _: Who, _: Ipv4Addr, patience: Patience) -> Result<Outcome> {
        Ask::new(Transport::Tcp, &format!("{HOST_WG}:9100")).ask(&self.lab.peer, patience)
    }

    fn allow(&self, laptop: &[&str], stranger: &[&str]) -> Result<()> {
        let peers = peer(&LAPTOP, laptop) + &peer(&OTHER, stranger);
        let answer = peers.replace("replace_allowed_ips=true\n", "") + "errno=0\n\n";
        self.say(answer);
        Ok(())
    }

    fn forget_laptop(&self) -> Result<()> {
        Ok(())
    }

    fn allow_stranger(&self, _: &[&str]) -> Result<()> {
        Ok(())
    }

    fn come_back(&self, _: &[&str]) -> Result<()> {
        Ok(())
    }

    fn guide(&self, command: &mut Command) {
        self.run.guide(command);
    }
}

/// The sockets are names in a folder: a socket beside an interface other than a tun is foreign.
fn wants_tun(rig: &Rig<'_>) -> Result<()> {
    let answer = peer(&LAPTOP, &["10.10.0.0/24"]).replace("replace_allowed_ips=true\n", "");
    let hub = Pretender::new(rig.lab, Some(answer + "errno=0\n\n"))?;
    let _server = metrics(rig)?;
    answered(hub.ask(Who::Laptop, PEER, Patience::Long)?).context("unguarded")?;
    rig.enforcer.registry(&registry(LAPTOP_BASE64))?;
    call(rig, &hub, &["up", "--static-peers"], 0)?;
    laptop(rig, &hub, 0, "waiting: wg0 is no WireGuard device")?;
    unanswered(hub.ask(Who::Laptop, PEER, Patience::Brief)?)?;
    rig.enforcer
        .expect_counted(Guard::Wire, Reason::UntrustedInterface, METRICS, 1)?;
    // The control: the same socket beside a tun device of the same name is believed.
    hub.make_tun()?;
    call(rig, &hub, &["reload"], 0)?;
    laptop(rig, &hub, 0, "active")
}

/// A silent daemon: the device's peers wait, and everything else is in force.
fn silent(rig: &Rig<'_>) -> Result<()> {
    let hub = Pretender::silent(rig.lab)?;
    rig.enforcer.registry(&registry(LAPTOP_BASE64))?;
    call(rig, &hub, &["up", "--static-peers"], 0)?;
    laptop(rig, &hub, 0, "waiting: wg0 cannot be asked for its keys")?;
    let _server = metrics(rig)?;
    let from_lan = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:9100"));
    unanswered(from_lan.ask(&rig.lab.lan, Patience::Brief)?)?;
    rig.enforcer
        .expect_counted(Guard::Wire, Reason::UntrustedInterface, METRICS, 1)
}
