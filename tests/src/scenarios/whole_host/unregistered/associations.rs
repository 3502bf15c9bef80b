//! SCTP under `[unregistered] sctp = "drop"`: a one-to-many socket that listens hears the remotes
//! that it has asked, and no others.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use super::CLOSED;
use crate::lab::enforcer::REGISTRY;
use crate::lab::topology::{HOST_LAN, LAN, Lab};
use crate::lab::{Feature, Guards, Netns, Outcome, Patience, Server, Transport};
use crate::scenario::{Rig, Scenario};
use crate::scenarios::attack::Legitimate;
use crate::scenarios::runner::{answered, unanswered};

/// The port of the LAN's server.
const SERVER: u16 = 3868;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("unregistered::sctp_one_to_many_is_closed", closed).needs(Feature::Sctp)]
}

pub(super) fn traffic() -> Vec<Legitimate> {
    vec![
        Legitimate::new("unregistered::sctp_one_to_many", |lab| {
            let server = serve_lan(lab)?;
            let socket = one_to_many(&lab.host, 7070)?;
            Ok(Box::new(move |patience| {
                let _server = &server;
                exchange(&socket, (LAN, SERVER), patience)
            }))
        })
        .needs(Feature::Sctp),
    ]
}

/// A one-to-one server of the LAN, which sends the token to each new association.
fn serve_lan(lab: &Lab) -> Result<Server> {
    Server::start(&lab.lan, Transport::Sctp, "0.0.0.0:3868", "diameter")
}

/// A one-to-many socket (RFC 6458, 3) that listens. Sending makes an association, and the calls are
/// those of datagrams.
fn one_to_many(namespace: &Netns, port: u16) -> Result<UdpSocket> {
    let made = namespace.run(|| {
        let (family, kind) = (AddressFamily::INET, SocketType::SEQPACKET);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(ipproto::SCTP))?;
        rustix::net::bind(&socket, &SocketAddr::from(([0, 0, 0, 0], port)))?;
        rustix::net::listen(&socket, 16)?;
        io::Result::Ok(UdpSocket::from(socket))
    })?;
    made.context("failed to make a one-to-many socket")
}

/// A message to a server, and the answer in the same association.
fn exchange(socket: &UdpSocket, to: (Ipv4Addr, u16), patience: Patience) -> Result<Outcome> {
    socket.set_read_timeout(Some(patience.limit()))?;
    // The first message waits for the association (sctp_wait_for_connect in net/sctp/socket.c).
    socket.set_write_timeout(Some(patience.limit()))?;
    match socket.send_to(b"hello", to) {
        Err(error) if is_over(&error) => return Ok(Outcome::Silent),
        sent => sent.context("failed to send")?,
    };
    let mut buffer = [0; 256];
    match socket.recv_from(&mut buffer) {
        Ok((length, _)) => Ok(Outcome::Answered(
            String::from_utf8_lossy(&buffer[..length]).into_owned(),
        )),
        Err(error) if is_over(&error) => Ok(Outcome::Silent),
        Err(error) => Err(error).context("failed to hear an answer"),
    }
}

/// Whether the time of a call is over: EINPROGRESS is that of an association to be made.
fn is_over(error: &io::Error) -> bool {
    let in_progress = rustix::io::Errno::INPROGRESS.raw_os_error();
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(in_progress)
}

/// A neighbour opens no association with such a socket, for the socket guard alone too, while the
/// host's own associations go on.
fn closed(rig: &Rig<'_>) -> Result<()> {
    let _server = serve_lan(rig.lab)?;
    let _database = Server::on_datagrams(one_to_many(&rig.lab.host, 7070)?, "a database")?;
    let own = one_to_many(&rig.lab.host, 7071)?;
    let asked = |patience| {
        let client = one_to_many(&rig.lab.lan, 7072)?;
        exchange(&client, (HOST_LAN, 7070), patience)
    };
    answered(asked(Patience::Long)?).context("without the enforcer")?;
    rig.enforcer.registry(&format!("{REGISTRY}\n{CLOSED}"))?;
    for guards in [Guards::Socket, Guards::Both] {
        rig.enforcer.up(guards)?;
        unanswered(asked(Patience::Brief)?)?;
        answered(exchange(&own, (LAN, SERVER), Patience::Long)?)?;
        rig.enforcer.down()?;
    }
    Ok(())
}
