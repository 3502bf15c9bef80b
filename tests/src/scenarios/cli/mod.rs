//! The command line as scripts see it: exit codes, JSON, refusals.

mod codes;
mod explain;
mod explain_live;
mod policy;
mod refusals;
mod views;

use std::path::Path;

use anyhow::{Context, Result};
use libtest_mimic::Trial;

use crate::lab::topology::HOST_LAN;
use crate::lab::{Ask, Outcome, Patience, Port, Server, Transport};

use super::runner::{Rig, answered};

pub(super) use explain_live::faulty_trials;

pub(super) fn trials(binary: &Path) -> Vec<Trial> {
    let mut trials = codes::trials(binary);
    trials.extend(explain::trials(binary));
    trials.extend(explain_live::trials(binary));
    trials.extend(policy::trials(binary));
    trials.extend(refusals::trials(binary));
    trials.extend(views::trials(binary));
    trials
}

/// The service that most trials here ask.
const ELASTICSEARCH: Port<'static> = Port("tcp", 9200);

/// Asks a port of the host from the LAN.
fn from_lan(rig: &Rig<'_>, port: u16, patience: Patience) -> Result<Outcome> {
    Ask::new(Transport::Tcp, &format!("{HOST_LAN}:{port}")).ask(&rig.lab.lan, patience)
}

/// Serves a port on every address of the host, and shows that the LAN reaches it.
fn serve(rig: &Rig<'_>, port: u16) -> Result<Server> {
    let address = format!("0.0.0.0:{port}");
    let server = Server::start(&rig.lab.host, Transport::Tcp, &address, "service")?;
    answered(from_lan(rig, port, Patience::Long)?).context("before the enforcer was up")?;
    Ok(server)
}
