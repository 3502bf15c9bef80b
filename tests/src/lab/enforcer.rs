//! The enforcer, driven from outside: command line in, JSON and exit codes out.

use std::fmt::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use enforcer_ebpf::Guard;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::command::{Daemon, Finished, eventually, finish};
pub use super::counters::{Because, Counters, Port};
use super::netns::Netns;
use super::report::{Checked, Explanation, Status};
use super::topology::Lab;

/// Longest wait for a counter or a state, on a loaded machine.
pub const SETTLE: Duration = Duration::from_secs(6);

/// The registry of the scenarios: the port table of the background document, and entries beyond the
/// table.
pub const REGISTRY: &str = r#"
[services.elasticsearch]
ports = [9200]
[services.redis]
ports = [6379]
[services.influxdb3]
ports = [8087]
[services.mattermost]
ports = [8065]
[services.grafana]
ports = [3000]
[services.minio]
ports = ["9000-9001"]
[services.gitea]
ports = [3001]
[services.hashivault]
ports = [8200]
[services.traefik]
ports = [8080, 8443]
public = true

[services.metrics]
ports = [9100]
protocol = ["tcp", "udp"]
allow = ["collector"]
[services.statsd]
ports = [8125]
protocol = "udp"
[services.diameter]
ports = [3868]
protocol = "sctp"

[peers.collector]
interface = "wg0"
addresses = ["10.10.0.5/32", "fd00:10::5/128"]
"#;

/// The guards that `up` attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guards {
    /// The wire guards alone.
    Wire,
    /// The socket guard alone.
    Socket,
    /// Both, as in production.
    Both,
}

impl Guards {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Socket => "socket",
            Self::Both => "both",
        }
    }

    /// Whether the set contains a guard.
    pub fn include(self, guard: Guard) -> bool {
        match self {
            Self::Both => true,
            Self::Wire => guard == Guard::Wire,
            Self::Socket => guard == Guard::Socket,
        }
    }

    /// The exit code of `up` and `status`: a guard alone is degraded.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Both => 0,
            Self::Wire | Self::Socket => 3,
        }
    }
}

/// The built enforcer, on the host of a lab.
#[derive(Debug)]
pub struct Enforcer<'lab> {
    binary: PathBuf,
    lab: &'lab Lab,
    config: Option<PathBuf>,
}

impl<'lab> Enforcer<'lab> {
    /// An enforcer with the registry of the scenarios.
    pub fn new(binary: &Path, lab: &'lab Lab) -> Result<Self> {
        Self::at(binary, lab, lab.scratch().join("enforcer.toml"))
    }

    /// An enforcer with the registry of the scenarios, in a file of the caller's choice.
    pub fn at(binary: &Path, lab: &'lab Lab, config: PathBuf) -> Result<Self> {
        let enforcer = Self {
            config: Some(config),
            ..Self::with_default_registry(binary, lab)
        };
        enforcer.registry(REGISTRY)?;
        Ok(enforcer)
    }

    /// An enforcer with the default registry.
    pub fn with_default_registry(binary: &Path, lab: &'lab Lab) -> Self {
        Self {
            binary: binary.to_path_buf(),
            lab,
            config: None,
        }
    }

    /// The binary under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Writes the registry file.
    pub fn registry(&self, text: &str) -> Result<()> {
        let path = self.config_path()?;
        std::fs::write(path, text).context("failed to write the registry")
    }

    /// The registry file.
    pub fn config_path(&self) -> Result<&Path> {
        self.config
            .as_deref()
            .context("the default registry has no file")
    }

    /// A command in the host's namespace.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        self.command_in(&self.lab.host, arguments)
    }

    /// A command in some namespace of the lab: never in the machine's own.
    pub fn command_in(&self, namespace: &Netns, arguments: &[&str]) -> Result<Command> {
        ensure!(
            namespace.inode()? != Netns::own()?.inode()?,
            "refusing to run the enforcer in the machine's own network namespace"
        );
        let mut command = namespace.command(&self.binary);
        command.arg("--pin-dir").arg(self.lab.pin_dir());
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.args(arguments);
        command.env("NO_COLOR", "1").env_remove("NOTIFY_SOCKET");
        Ok(command)
    }

    /// Runs a command to the end.
    pub fn call(&self, arguments: &[&str]) -> Result<Finished> {
        finish(self.command(arguments)?, "")
    }

    /// Runs a command and insists on the exit code.
    pub fn expect(&self, arguments: &[&str], code: i32) -> Result<Finished> {
        let finished = self.call(arguments)?;
        ensure!(
            finished.code == Some(code),
            "expected exit code {code}, but {finished}"
        );
        Ok(finished)
    }

    /// Runs `up --guards …`, and insists on exactly these guards.
    pub fn up(&self, guards: Guards) -> Result<()> {
        self.expect(&["up", "--guards", guards.name()], guards.exit_code())?;
        let (_, status) = self.status()?;
        for guard in Guard::ALL {
            let attached = status.guards.iter().any(|line| line.guard == guard.name());
            ensure!(
                attached == guards.include(guard),
                "`up --guards {}` left these guards: {:?}",
                guards.name(),
                status.guards
            );
        }
        Ok(())
    }

    /// Runs `up --guards …` where this kernel has no wire guard to offer for an interface.
    ///
    /// The exit code must say so, and `status` must name the interface.
    pub fn up_uncovered(&self, guards: Guards, interface: &str) -> Result<()> {
        self.expect(&["up", "--guards", guards.name()], 3)?;
        let (_, status) = self.status()?;
        let named = status
            .uncovered
            .iter()
            .any(|line| line.interface == interface);
        ensure!(
            named || !guards.include(Guard::Wire),
            "{interface} has no wire guard, and `status` must say so: {status:?}"
        );
        Ok(())
    }

    /// `down`.
    pub fn down(&self) -> Result<()> {
        self.expect(&["down"], 0).map(drop)
    }

    /// `reload`.
    pub fn reload(&self) -> Result<()> {
        self.expect(&["reload"], 0).map(drop)
    }

    /// `status --json`, with the exit code.
    pub fn status(&self) -> Result<(Option<i32>, Status)> {
        let finished = self.call(&["status", "--json"])?;
        let status = json(&finished)?;
        Ok((finished.code, status))
    }

    /// `counters --json`.
    pub fn counters(&self) -> Result<Counters> {
        let finished = self.expect(&["counters", "--json"], 0)?;
        json(&finished).map(Counters)
    }

    /// `explain --json` of a described packet.
    pub fn explain(&self, packet: &[&str]) -> Result<Explanation> {
        let finished = self.expect(&[&["explain", "--json"], packet].concat(), 0)?;
        json(&finished)
    }

    /// `check --json`, with the exit code.
    pub fn check(&self) -> Result<(Option<i32>, Checked)> {
        let finished = self.call(&["check", "--json"])?;
        let checked = json(&finished)?;
        Ok((finished.code, checked))
    }

    /// Starts `run` and waits for READY.
    pub fn run(&self, arguments: &[&str]) -> Result<Daemon> {
        self.run_guided(arguments, |_| {})
    }

    /// Starts `run` after `guide` has changed the command.
    pub fn run_guided(
        &self,
        arguments: &[&str],
        guide: impl FnOnce(&mut Command),
    ) -> Result<Daemon> {
        let path = self.lab.scratch().join("notify");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).context("failed to make the notify socket")?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut command = self.command(&[&["run"], arguments].concat())?;
        let log = std::fs::File::create(self.lab.scratch().join("run.log"))?;
        command
            .env("NOTIFY_SOCKET", &path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        guide(&mut command);
        let mut daemon = Daemon::spawn(command)?;
        let mut message = [0; 4096];
        loop {
            match socket.recv(&mut message) {
                Ok(length) if says_ready(&message[..length]) => return Ok(daemon),
                Ok(_) => {}
                Err(error) => {
                    let ended = daemon.wait(Duration::ZERO)?;
                    bail!(
                        "`enforcer run` never said READY ({error}; ended: {ended:?}):\n{}",
                        self.run_log()
                    );
                }
            }
        }
    }

    /// Output of the last `run`.
    pub fn run_log(&self) -> String {
        std::fs::read_to_string(self.lab.scratch().join("run.log")).unwrap_or_default()
    }

    /// Waits until a guard has counted at least `packets` for a reason and port.
    pub fn expect_counted(
        &self,
        guard: Guard,
        reason: impl Into<Because>,
        port: Port<'_>,
        packets: u64,
    ) -> Result<()> {
        let reason = reason.into();
        let mut last = Counters(Vec::new());
        let counted = eventually(SETTLE, || match self.counters() {
            Ok(counters) => {
                let enough = counters.count(guard, reason, port) >= packets;
                last = counters;
                enough.then_some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        });
        counted.unwrap_or_else(|| {
            bail!(
                "expected the {guard} guard to count at least {packets} packets of \
                 {port} as `{reason}`, but the counters are\n{last}"
            )
        })
    }

    /// The enforcer's own report, for the message of a failed scenario.
    pub fn diagnosis(&self) -> String {
        let mut text = String::new();
        for arguments in [&["status"][..], &["counters", "--json"]] {
            match self.call(arguments) {
                Ok(finished) => _ = writeln!(text, "{finished}"),
                Err(error) => _ = writeln!(text, "{error:#}"),
            }
        }
        text
    }
}

fn says_ready(message: &[u8]) -> bool {
    message
        .split(|&byte| byte == b'\n')
        .any(|line| line == b"READY=1")
}

fn json<T: DeserializeOwned>(finished: &Finished) -> Result<T> {
    serde_json::from_str(&finished.stdout)
        .with_context(|| format!("not the JSON that the design promises: {finished}"))
}
