//! The command line, as seen by scripts: exit codes, JSON, refusals.

mod codes;
mod explain;
mod explain_live;
mod policy;
mod refusals;
mod views;

use anyhow::{Context, Result};

use crate::lab::topology::HOST_LAN;
use crate::lab::{Ask, Outcome, Patience, Port, Server, Transport};

use super::runner::answered;
use crate::scenario::host_only::COMMAND_LINE;
use crate::scenario::{Rig, Scenario, all_host_only};

pub(super) use explain_live::with_failpoints;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = codes::scenarios();
    scenarios.extend(explain::scenarios());
    scenarios.extend(explain_live::scenarios());
    let mut scenarios = all_host_only(scenarios, COMMAND_LINE);
    // Some of the policy and the views are for guests too, so each scenario there has a mark.
    scenarios.extend(policy::scenarios());
    scenarios.extend(all_host_only(refusals::scenarios(), COMMAND_LINE));
    scenarios.extend(views::scenarios());
    scenarios
}

/// The service asked by most scenarios here.
const ELASTICSEARCH: Port<'static> = Port("tcp", 9200);

/// Asks a port of the host from the LAN.
fn from_lan(rig: &Rig<'_>, port: u16, patience: Patience) -> Result<Outcome> {
    Ask::new(Transport::Tcp, &format!("{HOST_LAN}:{port}")).ask(&rig.lab.lan, patience)
}

/// Serves a port on every address of the host, and shows an answer to the LAN.
fn serve(rig: &Rig<'_>, port: u16) -> Result<Server> {
    let address = format!("0.0.0.0:{port}");
    let server = Server::start(&rig.lab.host, Transport::Tcp, &address, "service")?;
    answered(from_lan(rig, port, Patience::Long)?).context("before the enforcer was up")?;
    Ok(server)
}
