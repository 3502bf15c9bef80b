//! The pin directory against strangers, accidents, and the end of what the pins guard.

mod cgroups;
mod folders;
mod missing;
mod namespaces;
mod strays;

use anyhow::{Context, Result, ensure};

use crate::lab::topology::HOST_LAN;
use crate::lab::{Ask, Outcome, Patience, Server, Transport};
use crate::scenario::{Rig, Scenario};

use super::runner::answered;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = folders::scenarios();
    scenarios.extend(missing::scenarios());
    scenarios.extend(cgroups::scenarios());
    scenarios.extend(namespaces::scenarios());
    scenarios.extend(strays::scenarios());
    scenarios
}

/// Starts the service of the registry's port 9200; the control: the neighbour gets an answer.
fn service(rig: &Rig<'_>) -> Result<Server> {
    let server = Server::start(
        &rig.lab.host,
        Transport::Tcp,
        "0.0.0.0:9200",
        "elasticsearch",
    )?;
    answered(from_lan(rig, Patience::Long)?).context("before the enforcer was up")?;
    Ok(server)
}

/// Asks the service from the LAN.
fn from_lan(rig: &Rig<'_>, patience: Patience) -> Result<Outcome> {
    Ask::new(Transport::Tcp, &format!("{HOST_LAN}:9200")).ask(&rig.lab.lan, patience)
}

/// Insists on the words of `status` for people, and on the exit code.
fn expect_words(rig: &Rig<'_>, code: i32, words: &[&str]) -> Result<()> {
    let status = rig.enforcer.expect(&["status"], code)?;
    for word in words {
        ensure!(
            status.stdout.contains(word),
            "expected `status` to say `{word}`, but {status}"
        );
    }
    Ok(())
}
