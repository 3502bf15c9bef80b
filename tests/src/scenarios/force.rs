//! `--force`: a change that cuts sessions off is refused without the option.

mod logins;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::client::Conversation;
use crate::lab::command::{Finished, eventually, finish};
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::topology::{HOST_LAN, HOST_WG, LAN, PEER, STRANGER};
use crate::lab::{Guards, Server, Transport};

use super::runner::expect_state;
use crate::scenario::host_only::COMMAND_LINE;
use crate::scenario::{Rig, Scenario, all_host_only};

/// The port of the lab's sshd: the session alone tells the number.
const SSHD: u16 = 2222;

pub(super) fn scenarios() -> Vec<Scenario> {
    let scenarios = vec![
        Scenario::new("force::a_reload_that_cuts_its_session", reload),
        Scenario::new("force::a_first_up_that_cuts_its_session", up),
        Scenario::new("force::a_session_of_an_ancestor", ancestor),
        Scenario::new("force::a_session_of_a_peer", peer),
        Scenario::new("force::the_last_public_port", last_public_port),
        Scenario::new("force::sshd_without_a_service", sshd_without_a_service),
    ];
    let mut scenarios = all_host_only(scenarios, COMMAND_LINE);
    scenarios.extend(logins::scenarios());
    scenarios
}

/// The registry of the scenarios, and sshd for the peers in `allow`.
fn with_sshd(allow: &str) -> String {
    with_sshd_at(SSHD, allow)
}

fn with_sshd_at(port: u16, allow: &str) -> String {
    format!("{REGISTRY}\n[services.sshd]\nports = [{port}]\nallow = [{allow}]\n")
}

/// A connection from the LAN, and the variable of sshd for the session's programs.
struct Session {
    server: Server,
    conversation: Conversation,
    variable: String,
}

impl Session {
    fn open(rig: &Rig<'_>) -> Result<Self> {
        Self::open_at(rig, SSHD)
    }

    fn open_at(rig: &Rig<'_>, at: u16) -> Result<Self> {
        let address = format!("0.0.0.0:{at}");
        let server = Server::start(&rig.lab.host, Transport::Tcp, &address, "sshd")?;
        let conversation = Conversation::open(&rig.lab.lan, &format!("{HOST_LAN}:{at}"))?;
        let port = conversation.local_port()?;
        Ok(Self {
            server,
            conversation,
            variable: format!("{LAN} {port} {HOST_LAN} {at}"),
        })
    }

    /// Whether typed bytes arrive, however loaded the machine is.
    fn lives(&mut self) -> Result<bool> {
        self.arrives_within(SETTLE * 2)
    }

    /// Whether typed bytes do not arrive; TCP repeats them more than once meanwhile.
    fn is_cut(&mut self) -> Result<bool> {
        Ok(!self.arrives_within(SETTLE / 6)?)
    }

    fn arrives_within(&mut self, limit: Duration) -> Result<bool> {
        let wanted = self.server.received() + self.conversation.say_more()?;
        let arrives = || (self.server.received() >= wanted).then_some(());
        Ok(eventually(limit, arrives).is_some())
    }
}

/// A command typed in a session.
fn in_session(rig: &Rig<'_>, variable: &str, arguments: &[&str]) -> Result<Finished> {
    let mut command = rig.enforcer.command(arguments)?;
    command.env("SSH_CONNECTION", variable);
    finish(command, "")
}

fn expect_refused(finished: &Finished, names: &[&str]) -> Result<()> {
    ensure!(
        finished.code == Some(1) && finished.stderr.contains("nothing was changed"),
        "expected a refusal: {finished}"
    );
    for name in names.iter().chain(&["--force"]) {
        ensure!(
            finished.stderr.contains(name),
            "expected the refusal to say `{name}`: {finished}"
        );
    }
    Ok(())
}

fn reload(rig: &Rig<'_>) -> Result<()> {
    let mut session = Session::open(rig)?;
    in_session(rig, &session.variable, &["up"])?.ok()?;
    let before = rig.enforcer.status()?.1.generation;
    rig.enforcer.registry(&with_sshd(""))?;
    let dry = in_session(rig, &session.variable, &["reload", "--dry-run"])?;
    ensure!(
        dry.code == Some(5) && dry.stdout.contains("! ") && dry.stdout.contains("--force"),
        "a dry run should say that it wants --force:\n{dry}"
    );
    let refused = in_session(rig, &session.variable, &["reload"])?;
    expect_refused(&refused, &["sshd", "2222", "eth0", "--confirm 60s"])?;
    ensure!(
        rig.enforcer.status()?.1.generation == before,
        "a refusal switched the policy"
    );
    ensure!(session.lives()?, "a refusal cut the session");
    // The control: the session is in the way.
    let elsewhere = format!("{LAN} 50000 {HOST_LAN} 22");
    let dry = in_session(rig, &elsewhere, &["reload", "--dry-run"])?;
    ensure!(
        dry.code == Some(5) && !dry.stdout.contains("! "),
        "a dry run from elsewhere: {dry}"
    );
    in_session(rig, &session.variable, &["reload", "--force"])?.ok()?;
    ensure!(session.is_cut()?, "the refusal was for nothing");
    // A session already cut is no reason to refuse.
    in_session(rig, &session.variable, &["reload"])?
        .ok()
        .map(drop)
}

fn up(rig: &Rig<'_>) -> Result<()> {
    let mut session = Session::open(rig)?;
    rig.enforcer.registry(&with_sshd(""))?;
    let refused = in_session(rig, &session.variable, &["up"])?;
    expect_refused(&refused, &["sshd", "2222"])?;
    expect_state(rig, 4, "off")?;
    ensure!(session.lives()?, "a refusal cut the session");
    let refused = in_session(rig, &session.variable, &["run"])?;
    expect_refused(&refused, &["sshd", "2222"]).context("`run`")?;
    expect_state(rig, 4, "off")?;
    // Audit mode would cut no session.
    rig.enforcer
        .registry(&format!("mode = \"audit\"\n{}", with_sshd("")))?;
    in_session(rig, &session.variable, &["up"])?.ok()?;
    ensure!(session.lives()?, "audit mode cut the session");
    rig.enforcer.registry(&with_sshd(""))?;
    expect_refused(&in_session(rig, &session.variable, &["up"])?, &["sshd"])?;
    in_session(rig, &session.variable, &["up", "--force"])?.ok()?;
    ensure!(session.is_cut()?, "the refusal was for nothing");
    Ok(())
}

/// `sudo` takes the variable away; sudo's own environment still has the variable.
fn ancestor(rig: &Rig<'_>) -> Result<()> {
    let session = Session::open(rig)?;
    rig.enforcer.up(Guards::Both)?;
    rig.enforcer.registry(&with_sshd(""))?;
    let through_sudo = |arguments: &[&str]| -> Result<Finished> {
        let typed = rig.enforcer.command(arguments)?;
        let mut command: Command = rig.lab.host.command("sh");
        command
            .args(["-c", "env -u SSH_CONNECTION \"$@\"; exit $?", "sudo"])
            .arg(typed.get_program())
            .args(typed.get_args())
            .env("SSH_CONNECTION", &session.variable)
            .env("NO_COLOR", "1");
        finish(command, "")
    };
    expect_refused(&through_sudo(&["reload"])?, &["sshd", "2222"])?;
    through_sudo(&["reload", "--force"])?.ok().map(drop)
}

fn peer(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    rig.enforcer.registry(&with_sshd("\"collector\""))?;
    let of = |address: std::net::Ipv4Addr| format!("{address} 50000 {HOST_WG} {SSHD}");
    expect_refused(
        &in_session(rig, &of(STRANGER), &["reload"])?,
        &["sshd", "wg0", "unknown-peer"],
    )?;
    in_session(rig, &of(PEER), &["reload"])?.ok()?;
    // No policy cuts a session over lo.
    rig.enforcer.registry(&with_sshd(""))?;
    let local = format!("127.0.0.1 50000 127.0.0.1 {SSHD}");
    in_session(rig, &local, &["reload"])?.ok().map(drop)
}

fn last_public_port(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    let fewer = REGISTRY.replace("ports = [8080, 8443]", "ports = [8443]");
    let none = REGISTRY.replace("public = true", "");
    ensure!(
        fewer != REGISTRY && none != REGISTRY,
        "the registry is another"
    );
    rig.enforcer.registry(&fewer)?;
    rig.enforcer.reload().context("one of two")?;
    let before = rig.enforcer.status()?.1.generation;
    rig.enforcer.registry(&none)?;
    for command in ["reload", "up"] {
        let refused = rig.enforcer.call(&[command])?;
        expect_refused(&refused, &["traefik 8443/tcp", "--confirm 60s"])
            .with_context(|| format!("`{command}`"))?;
        ensure!(
            rig.enforcer.status()?.1.generation == before,
            "a refusal switched the policy"
        );
    }
    rig.enforcer.expect(&["reload", "--force"], 0)?;
    // Without a public port, there is no last public port.
    rig.enforcer.reload()?;
    rig.enforcer.down()?;
    rig.enforcer.up(Guards::Both).context("the first policy")
}

/// The port of sshd without a configuration.
const DEFAULT: u16 = 22;

/// `[unregistered]` would close sshd, on a port that no service names.
fn sshd_without_a_service(rig: &Rig<'_>) -> Result<()> {
    let closed = format!("{REGISTRY}\n[unregistered]\ntcp = \"drop\"\n");
    let named = format!("{closed}[services.sshd]\nports = [{DEFAULT}]\npublic = true\n");
    rig.enforcer.registry(&closed)?;
    rig.enforcer.up(Guards::Both).context("without sshd")?;
    rig.enforcer.registry(REGISTRY)?;
    rig.enforcer.reload()?;
    let address = format!("0.0.0.0:{DEFAULT}");
    let _sshd = Server::start(&rig.lab.host, Transport::Tcp, &address, "sshd")?;
    let before = rig.enforcer.status()?.1.generation;
    rig.enforcer.registry(&closed)?;
    for command in ["reload", "up"] {
        let refused = rig.enforcer.call(&[command])?;
        expect_refused(&refused, &["no service names port 22", "--confirm 60s"])
            .with_context(|| format!("`{command}`"))?;
    }
    ensure!(
        rig.enforcer.status()?.1.generation == before,
        "a refusal switched the policy"
    );
    rig.enforcer.registry(&named)?;
    rig.enforcer.reload().context("with a service")?;
    rig.enforcer.registry(&closed)?;
    rig.enforcer.expect(&["reload", "--force"], 0)?;
    Ok(())
}
