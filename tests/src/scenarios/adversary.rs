//! Attempts of an adversary who had read the loader's source, which must not succeed again.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::lab::command::finish;
use crate::lab::{Ask, Guards, Netns, Patience, Server, Transport};

use super::lifecycle::{from_lan, service};
use super::runner::{answered, expect_state, unanswered};
use crate::scenario::host_only::COMMAND_LINE;
use crate::scenario::{Rig, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "adversary::an_index_that_is_used_again_is_no_guard_and_no_grant",
            reused_index,
        ),
        Scenario::new("adversary::down_removes_nothing_but_pins", down_elsewhere)
            .host_only(COMMAND_LINE),
        Scenario::new(
            "adversary::the_pins_of_another_namespace_are_not_cleared_away",
            staging_of_another,
        )
        .host_only(COMMAND_LINE),
        Scenario::new(
            "adversary::run_goes_on_beside_a_rest_of_another_namespace",
            run_beside_a_rest,
        )
        .host_only(COMMAND_LINE),
        Scenario::new(
            "adversary::a_closed_pipe_does_not_change_the_exit_code",
            closed_pipe,
        )
        .host_only(COMMAND_LINE),
        Scenario::new(
            "adversary::a_broadcast_of_the_hosts_own_reaches_it",
            own_broadcast,
        ),
    ]
}

/// A link follows its interface elsewhere, and another interface gets the index of before.
fn reused_index(rig: &Rig<'_>) -> Result<()> {
    let elsewhere = Netns::new("elsewhere")?;
    let host = &rig.lab.host;
    host.ip("link add ru0 index 4177 type veth peer name ru1\nlink set ru0 up\nlink set ru1 up")?;
    rig.enforcer.registry(
        "[services.elasticsearch]\nports = [9200]\nallow = [\"office\"]\n\
         [peers.office]\ninterface = \"ru0\"\naddresses = [\"10.79.0.0/24\"]\n",
    )?;
    rig.enforcer.up(Guards::Both)?;
    host.ip(&format!("link set ru0 netns {}", elsewhere.path()))?;
    host.ip("link add ru5 index 4177 type veth peer name ru6")?;
    host.ip("addr add 10.79.0.1/24 dev ru5\nlink set ru5 up")?;
    host.ip(&format!("link set ru6 netns {}", rig.lab.lan.path()))?;
    rig.lab
        .lan
        .ip("addr add 10.79.0.66/24 dev ru6\nlink set ru6 up")?;
    let (code, status) = rig.enforcer.status()?;
    ensure!(
        code == Some(3) && status.uncovered.iter().any(|line| line.interface == "ru5"),
        "ru5 has no guard, and status must say so: {status:?}"
    );
    rig.enforcer.reload()?;
    let (_, status) = rig.enforcer.status()?;
    ensure!(
        status.uncovered.is_empty(),
        "a reload guards ru5: {status:?}"
    );
    let _server = Server::start(host, Transport::Tcp, "0.0.0.0:9200", "elasticsearch")?;
    unanswered(Ask::new(Transport::Tcp, "10.79.0.1:9200").ask(&rig.lab.lan, Patience::Brief)?)?;
    rig.enforcer.down()?;
    // The control: the same question is answered without the enforcer.
    answered(Ask::new(Transport::Tcp, "10.79.0.1:9200").ask(&rig.lab.lan, Patience::Long)?)
}

fn down_elsewhere(rig: &Rig<'_>) -> Result<()> {
    let theirs = rig.lab.scratch().join("theirs");
    fs::create_dir(&theirs)?;
    let precious = theirs.join("enforcer_toml");
    fs::write(&precious, "do not delete me")?;
    let mut command = rig.lab.host.command(rig.enforcer.binary());
    command.arg("--pin-dir").arg(&theirs).arg("down");
    let finished = finish(command, "")?;
    ensure!(
        finished.code == Some(1) && precious.exists(),
        "`down` must refuse a folder that holds no pins, but {finished}"
    );
    Ok(())
}

/// The staging folder of a set has a name that foreign pins may not have, and the remains of an
/// interrupted command there are not another namespace's to remove.
/// An `up` of another namespace was killed just before its rename: `run` guards this one, and leaves
/// the other's guards alone.
fn run_beside_a_rest(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    let pins = rig.lab.pin_dir();
    let name = pins.file_name().and_then(|name| name.to_str());
    let name = name.context("the pin directory has a name")?;
    for part in ["_enforcer_tmp", "_enforcer_rescue"] {
        let rest = pins.with_file_name(format!("{name}{part}"));
        let up = finish(rig.enforcer.command_in(&rig.lab.lan, &["up"])?, "")?;
        ensure!(up.code == Some(0), "in the other namespace: {up}");
        fs::rename(&pins, &rest)?;
        let run = rig.enforcer.run(&[]).with_context(|| part)?;
        unanswered(from_lan(rig, Patience::Brief)?)?;
        // The rest hinders no later command either.
        rig.enforcer.reload()?;
        expect_state(rig, 0, "enforcing")?;
        drop(run);
        rig.enforcer.expect(&["up"], 0)?;
        rig.enforcer.down()?;
        answered(from_lan(rig, Patience::Long)?).context("after `down`")?;
        ensure!(rest.join("link_socket").exists(), "{part} was cleared away");
        // The namespace itself takes its guards up again.
        for command in ["up", "down"] {
            let own = finish(rig.enforcer.command_in(&rig.lab.lan, &[command])?, "")?;
            ensure!(own.code == Some(0), "{own}");
        }
        ensure!(!rest.exists(), "{part} is left");
    }
    Ok(())
}

fn staging_of_another(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Both)?;
    let pins = rig.lab.pin_dir();
    let name = pins
        .file_name()
        .and_then(|name| name.to_str())
        .context("the pin directory has a name")?;
    let staging = pins.with_file_name(format!("{name}_enforcer_tmp"));
    // As if an `up` had been killed just before its rename.
    fs::rename(&pins, &staging)?;
    let (code, status) = rig.enforcer.status()?;
    ensure!(
        code == Some(3) && status.state == "degraded",
        "guards hold, and status must not say off: {status:?}"
    );
    for arguments in [&["down"][..], &["up"]] {
        let finished = finish(rig.enforcer.command_in(&rig.lab.lan, arguments)?, "")?;
        ensure!(
            finished.code == Some(1) && staging.exists(),
            "another namespace must not clear these away, but {finished}"
        );
    }
    // The next command of the namespace itself repairs the state.
    rig.enforcer.up(Guards::Both)?;
    ensure!(!staging.exists(), "`up` left {}", staging.display());
    rig.enforcer.down()
}

fn closed_pipe(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.up(Guards::Socket)?;
    let mut command = rig.enforcer.command(&["status"])?;
    let (reader, writer) = rustix::pipe::pipe()?;
    drop(reader);
    command.stdout(writer);
    let code = command.status().context("failed to run status")?.code();
    ensure!(code == Some(3), "expected 3 on a closed pipe, saw {code:?}");
    rig.enforcer.down()
}

/// The stack hands a broadcast back on the interface of departure; the packet never was on a wire.
fn own_broadcast(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer
        .registry("[services.statsd]\nports = [8125]\nprotocol = \"udp\"\n")?;
    let server = Server::start(&rig.lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
    let own = || Ask::new(Transport::Udp, "192.168.77.255:8125").ask(&rig.lab.host, Patience::Long);
    answered(own()?).context("the control, without the enforcer")?;
    for guards in [Guards::Wire, Guards::Socket, Guards::Both] {
        rig.enforcer.up(guards)?;
        answered(own()?).with_context(|| format!("with {guards:?}"))?;
        // The neighbour's broadcast is none of the host's own.
        let before = server.received();
        unanswered(
            Ask::new(Transport::Udp, "192.168.77.255:8125").ask(&rig.lab.lan, Patience::Brief)?,
        )?;
        ensure!(
            server.received() == before,
            "a neighbour's broadcast came in"
        );
    }
    rig.enforcer.down()
}
