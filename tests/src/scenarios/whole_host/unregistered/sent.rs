//! UDP under `[unregistered] udp = "drop"`: a socket hears the remotes that it has asked, and no
//! others, through edits of the registry and the loss of what notes its questions.

use std::net::UdpSocket;

use anyhow::{Context as _, Result, ensure};
use enforcer_ebpf::layout::SENT_ENTRIES;

use super::{CLOSED, UDP};
use crate::lab::command::eventually;
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::topology::{HOST_LAN, HOST_LAN6, LAN, LAN6, Lab};
use crate::lab::{Ask, Guards, Outcome, Patience, Server, Transport};
use crate::scenario::{Rig, Scenario};
use crate::scenarios::attack::{Attack, Attempt, Legitimate, attempt};
use crate::scenarios::runner::{answered, unanswered};

/// The names of the links of the programs that note questions.
const LINKS: [&str; 2] = ["link_udp_sent_v4", "link_udp_sent_v6"];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live::udp_answers_under_edits", edits),
        Scenario::new("live::udp_questions_are_noted_again", noted_again),
        Scenario::new("live::udp_answers_beyond_the_bound", beyond_the_bound),
    ]
}

/// A socket of the host that has just asked one remote is asked by another port of that remote.
fn beside_an_answer<'lab>(lab: &'lab Lab, own: &str, asked: String) -> Result<Attempt<'lab>> {
    let to = match own.starts_with('[') {
        true => format!("[{HOST_LAN6}]:7070"),
        false => format!("{HOST_LAN}:7070"),
    };
    let socket = lab.host.run(|| UdpSocket::bind(own))??;
    let questions = socket.try_clone()?;
    let server = Server::on_datagrams(socket, "a client with a port of its own")?;
    Ok(attempt(server, move |_, patience| {
        questions.send_to(b"a question", &asked)?;
        Ask::new(Transport::Udp, &to).ask(&lab.lan, patience)
    }))
}

pub(super) fn attacks() -> Vec<Attack> {
    let of = |name, own: &'static str, asked: String| {
        Attack::new(name, UDP, move |lab| {
            beside_an_answer(lab, own, asked.clone())
        })
    };
    vec![
        of(
            "a28_an_unregistered_port::udp_beside_an_answer",
            "0.0.0.0:7070",
            format!("{LAN}:53"),
        ),
        of(
            "a28_an_unregistered_port::udp_beside_an_answer_over_ipv6",
            "[::]:7070",
            format!("[{LAN6}]:53"),
        ),
    ]
}

pub(super) fn traffic() -> Vec<Legitimate> {
    let answers = |name, service: &'static str, from: &'static str, to: String| {
        Legitimate::new(name, move |lab| {
            let server = Server::start(&lab.lan, Transport::Udp, service, "dns")?;
            let ask = Ask::new(Transport::Udp, &to).from(from);
            Ok(attempt(server, move |_, patience| {
                ask.ask(&lab.host, patience)
            }))
        })
    };
    vec![
        answers(
            "unregistered::answers_over_ipv6_to_a_port_outside_the_client_range",
            "[::]:53",
            "[::]:2053",
            format!("[{LAN6}]:53"),
        ),
        // A socket of both families asks an IPv4 address (RFC 3493, 3.7).
        answers(
            "unregistered::answers_to_a_dual_stack_socket",
            "0.0.0.0:53",
            "[::]:2054",
            format!("[::ffff:{LAN}]:53"),
        ),
    ]
}

/// The LAN's DNS server, asked from a port of the host outside the client range.
fn ask_dns(lab: &Lab, patience: Patience) -> Result<Outcome> {
    Ask::new(Transport::Udp, &format!("{LAN}:53"))
        .from("0.0.0.0:2053")
        .ask(&lab.host, patience)
}

fn ask_host(lab: &Lab, patience: Patience) -> Result<Outcome> {
    Ask::new(Transport::Udp, &format!("{HOST_LAN}:7070")).ask(&lab.lan, patience)
}

/// Which of the links exist.
fn links(rig: &Rig<'_>) -> [bool; 2] {
    LINKS.map(|link| rig.lab.pin_dir().join(link).exists())
}

/// The table comes and goes by reloads: the hooks stand while the table does.
fn edits(rig: &Rig<'_>) -> Result<()> {
    let _dns = Server::start(&rig.lab.lan, Transport::Udp, "0.0.0.0:53", "dns")?;
    let _own = Server::start(&rig.lab.host, Transport::Udp, "0.0.0.0:7070", "new")?;
    rig.enforcer.up(Guards::Both)?;
    ensure!(links(rig) == [false; 2], "hooks without a use");
    answered(ask_host(rig.lab, Patience::Long)?).context("without the table")?;
    for _ in 0..2 {
        rig.enforcer.registry(&format!("{REGISTRY}\n{CLOSED}"))?;
        rig.enforcer.reload()?;
        ensure!(links(rig) == [true; 2], "no hooks under the table");
        answered(ask_dns(rig.lab, Patience::Long)?).context("an answer under the table")?;
        unanswered(ask_host(rig.lab, Patience::Brief)?)?;
        rig.enforcer.registry(REGISTRY)?;
        rig.enforcer.reload()?;
        ensure!(links(rig) == [false; 2], "hooks after the table");
        answered(ask_host(rig.lab, Patience::Long)?).context("after the table")?;
    }
    rig.enforcer.down()
}

/// More questions than the map has entries: the oldest go, and the last one is known.
fn beyond_the_bound(rig: &Rig<'_>) -> Result<()> {
    let _dns = Server::start(&rig.lab.lan, Transport::Udp, "0.0.0.0:53", "dns")?;
    rig.enforcer.registry(&format!("{REGISTRY}\n{CLOSED}"))?;
    rig.enforcer.up(Guards::Both)?;
    let socket = rig.lab.host.run(|| UdpSocket::bind("0.0.0.0:2055"))??;
    for port in 1..=u16::try_from(SENT_ENTRIES + SENT_ENTRIES / 2)? {
        // The neighbour may refuse, and the next question tells of the refusal.
        let _ = socket.send_to(b"a question", (LAN, port));
    }
    for _ in 0..3 {
        answered(ask_dns(rig.lab, Patience::Long)?)?;
    }
    Ok(())
}

/// A removed hook is told by `status`, and attached again by `run`; a question from before `run`
/// ended is still known.
fn noted_again(rig: &Rig<'_>) -> Result<()> {
    let _dns = Server::start(&rig.lab.lan, Transport::Udp, "0.0.0.0:53", "dns")?;
    let _own = Server::start(&rig.lab.host, Transport::Udp, "0.0.0.0:7070", "new")?;
    rig.enforcer.registry(&format!("{REGISTRY}\n{CLOSED}"))?;
    rig.enforcer.up(Guards::Both)?;
    answered(ask_dns(rig.lab, Patience::Long)?).context("an answer, before")?;
    for link in LINKS {
        std::fs::remove_file(rig.lab.pin_dir().join(link))?;
    }
    let status = rig.enforcer.expect(&["status"], 3)?;
    ensure!(
        status
            .stdout
            .contains("nothing notes what sockets send over UDP"),
        "nobody tells of the loss: {}",
        status.stdout
    );
    unanswered(ask_host(rig.lab, Patience::Brief)?)?;
    let run = rig.enforcer.run(&[])?;
    eventually(SETTLE, || (links(rig) == [true; 2]).then_some(()))
        .context("the hooks did not come back")?;
    answered(ask_dns(rig.lab, Patience::Long)?).context("an answer, after")?;
    unanswered(ask_host(rig.lab, Patience::Brief)?)?;
    drop(run);
    rig.enforcer.expect(&["status"], 0)?;
    Ok(())
}
