//! The sessions that `run` and systemd spare: those of users who are logged in, by the records of
//! systemd-logind and utmp. A connection to port 22 alone is nobody's session.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lab::command::{Daemon, Finished, eventually, finish};
use crate::lab::enforcer::SETTLE;
use crate::lab::topology::{GHOST, LAN};
use crate::lab::{Guards, PrivateRun};

use super::{Session, expect_refused, with_sshd_at};
use crate::scenario::host_only::COMMAND_LINE;
use crate::scenario::{Rig, Scenario, all_host_only};
use crate::scenarios::live::look_again;

/// sshd's port where no session tells another.
const SSH: u16 = 22;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![
        Scenario::new("force::an_edit_that_run_finds", edit),
        Scenario::new("force::a_reload_by_systemd", by_systemd),
    ];
    for record in [Record::Logind, Record::Utmp, Record::None] {
        let name = format!(
            "force::an_unauthenticated_connection_keeps_no_port_open::{}",
            record.name()
        );
        scenarios.push(Scenario::new(name, move |rig| neighbour(rig, record)));
    }
    all_host_only(scenarios, COMMAND_LINE)
}

/// A host's record of logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Logind,
    Utmp,
    None,
}

impl Record {
    fn name(self) -> &'static str {
        match self {
            Self::Logind => "logind",
            Self::Utmp => "utmp",
            Self::None => "without_records",
        }
    }

    /// Makes the record in a folder at /run, with a login of alice from an address, if any.
    fn write(self, run: &PrivateRun, client: Option<Ipv4Addr>) -> Result<()> {
        match self {
            Self::Logind => {
                let folder = run.path().join("systemd/sessions");
                fs::create_dir_all(&folder)?;
                let file = folder.join("3");
                match client {
                    Some(client) => fs::write(file, session(client))?,
                    None => fs::remove_file(file)?,
                }
            }
            Self::Utmp => fs::write(run.path().join("utmp"), utmp(client))?,
            Self::None => {}
        }
        Ok(())
    }
}

/// A file of systemd-logind.
fn session(client: Ipv4Addr) -> String {
    format!(
        "# This is private data. Do not parse.\nUID=1000\nUSER=alice\nACTIVE=1\nIS_DISPLAY=0\n\
         STATE=active\nREMOTE=1\nTYPE=tty\nCLASS=user\nREMOTE_HOST={client}\nSERVICE=sshd\n\
         LEADER={}\n",
        std::process::id()
    )
}

/// A record of utmp(5), as glibc lays records out.
fn utmp(client: Option<Ipv4Addr>) -> Vec<u8> {
    const USER_PROCESS: i16 = 7;
    let (length, address) = match cfg!(target_arch = "x86_64") {
        true => (384, 348),
        false => (400, 360),
    };
    let mut bytes = vec![0; length];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    if let Some(client) = client {
        put(0, &USER_PROCESS.to_ne_bytes());
        put(4, &std::process::id().to_ne_bytes());
        put(44, b"alice");
        put(address, &client.octets());
    }
    bytes
}

fn run(rig: &Rig<'_>, folder: &PrivateRun) -> Result<Daemon> {
    rig.enforcer
        .run_guided(&[], |command| folder.guide(command))
}

fn says(rig: &Rig<'_>, words: &[&str]) -> Result<()> {
    let said = eventually(SETTLE, || {
        let log = rig.enforcer.run_log();
        words.iter().all(|word| log.contains(word)).then_some(())
    });
    said.with_context(|| format!("`run` does not say {words:?}:\n{}", rig.enforcer.run_log()))
}

/// `run` knows sshd by its port. A refused edit stays refused: once no session is left, no operator
/// could come back.
fn edit(rig: &Rig<'_>) -> Result<()> {
    let folder = PrivateRun::new(rig.lab)?;
    Record::Logind.write(&folder, Some(LAN))?;
    let mut session = Session::open_at(rig, SSH)?;
    let _run = run(rig, &folder)?;
    // The edit adds a service; a new generation may follow a change of the host.
    let services = |rig: &Rig<'_>| -> Result<u64> { Ok(rig.enforcer.status()?.1.services) };
    let count = services(rig)?;
    rig.enforcer.registry(&with_sshd_at(SSH, ""))?;
    says(
        rig,
        &[
            "would cut an SSH session of alice",
            "--force",
            "to apply: `enforcer reload --confirm 60s`",
        ],
    )?;
    ensure!(session.lives()?, "a refusal cut the session");
    drop(session);
    // The control: now a command applies the edit. Until then nothing does: neither an event of the
    // host nor the time after which `run` retries failed operations.
    let end = Instant::now() + SETTLE / 2;
    look_again(rig.lab)?;
    let mut over = false;
    while !over {
        over = Instant::now() >= end;
        ensure!(
            services(rig)? == count,
            "`run` did later what it had refused:\n{}",
            rig.enforcer.run_log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    rig.enforcer.reload()?;
    ensure!(services(rig)? == count + 1, "the reload did nothing");
    Ok(())
}

/// A neighbour connects to port 22 and is silent: the edit that guards the port applies all the
/// same. The control: the address of a user who is logged in.
fn neighbour(rig: &Rig<'_>, record: Record) -> Result<()> {
    let folder = PrivateRun::new(rig.lab)?;
    let open = rig.enforcer.config_path()?.to_owned();
    let open = fs::read_to_string(open)?;
    let mut connection = Session::open_at(rig, SSH)?;
    if record != Record::None {
        record.write(&folder, Some(LAN))?;
        let _run = run(rig, &folder)?;
        rig.enforcer.registry(&with_sshd_at(SSH, ""))?;
        says(rig, &["would cut an SSH session of alice"]).context("the control")?;
        ensure!(connection.lives()?, "a refusal cut the session");
        rig.enforcer.registry(&open)?;
    }
    record.write(&folder, Some(GHOST))?;
    let _run = run(rig, &folder)?;
    let services = || -> Result<u64> { Ok(rig.enforcer.status()?.1.services) };
    let before = services()?;
    rig.enforcer.registry(&with_sshd_at(SSH, ""))?;
    let applied = eventually(SETTLE, || (services().ok()? == before + 1).then_some(()));
    applied.with_context(|| {
        let log = rig.enforcer.run_log();
        format!("the neighbour keeps the port open:\n{log}")
    })?;
    let why = match record {
        Record::None => "neither /run/systemd/sessions nor /run/utmp",
        Record::Logind | Record::Utmp => "no login of the address is on record",
    };
    says(rig, &["nobody's session", &LAN.to_string(), why])?;
    ensure!(connection.is_cut()?, "the port is open all the same");
    Ok(())
}

/// `systemctl reload` belongs to no session, whoever typed the command.
fn by_systemd(rig: &Rig<'_>) -> Result<()> {
    let folder = PrivateRun::new(rig.lab)?;
    Record::Logind.write(&folder, Some(LAN))?;
    let mut session = Session::open_at(rig, SSH)?;
    rig.enforcer.up(Guards::Both)?;
    rig.enforcer.registry(&with_sshd_at(SSH, ""))?;
    let reload = |unit: &str| -> Result<Finished> {
        let typed = rig.enforcer.command(&["reload"])?;
        let mut command = rig.lab.host.command("sh");
        command
            .args(["-c", &format!("SYSTEMD_EXEC_PID={unit} exec \"$@\""), "sh"])
            .arg(typed.get_program())
            .args(typed.get_args())
            .env_remove("SSH_CONNECTION")
            .env("NO_COLOR", "1");
        folder.guide(&mut command);
        finish(command, "")
    };
    let refused = reload("$$")?;
    expect_refused(
        &refused,
        &["an SSH session of alice", "sshd", "--confirm 60s"],
    )?;
    ensure!(session.lives()?, "a refusal cut the session");
    // The control: a process not started by systemd itself has a session.
    reload("1")?.ok()?;
    ensure!(session.is_cut()?, "the refusal was for nothing");
    Ok(())
}
