//! A service of the host, asked from the LAN.

use anyhow::{Context, Result};

use crate::lab::topology::HOST_LAN;
use crate::lab::{Ask, Outcome, Patience, Port, Server, Transport};
use crate::scenario::Rig;
use crate::scenarios::runner::answered;

/// The service asked by most scenarios here.
pub(super) const ELASTICSEARCH: Port<'static> = Port("tcp", 9200);

/// Asks a port of the host from the LAN.
pub(super) fn from_lan(rig: &Rig<'_>, port: u16, patience: Patience) -> Result<Outcome> {
    Ask::new(Transport::Tcp, &format!("{HOST_LAN}:{port}")).ask(&rig.lab.lan, patience)
}

/// Serves a port on every address of the host, and shows an answer to the LAN.
pub(super) fn serve(rig: &Rig<'_>, port: u16) -> Result<Server> {
    let address = format!("0.0.0.0:{port}");
    let server = Server::start(&rig.lab.host, Transport::Tcp, &address, "service")?;
    answered(from_lan(rig, port, Patience::Long)?).context("before the enforcer was up")?;
    Ok(server)
}
