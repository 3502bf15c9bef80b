//! `explain --live`: model and program look at the same host, its routes and sockets.

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::Reason;

use crate::lab::command::finish;
use crate::lab::enforcer::REGISTRY;
use crate::lab::{Guards, Server, Transport};

use super::explain::explained;
use crate::scenario::{Rig, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "explain::live::asks_the_fib_as_the_guard_does",
            asks_as_the_guard,
        ),
        Scenario::new(
            "explain::live::knows_the_sockets_of_unregistered_datagrams",
            knows_sockets,
        ),
    ]
}

/// Insists on a verdict and a reason of the model, and on the program's agreement.
fn expect_both(rig: &Rig<'_>, packet: &str, verdict: &str, reason: &str) -> Result<()> {
    let seen = explained(rig, &format!("{packet} --live"))?;
    let live = seen.live.as_ref().context("nothing is said")?;
    ensure!(
        live.agrees == Some(true) && seen.verdict == verdict && seen.reason == reason,
        "{packet}: {seen:?}, and not {verdict}, {reason}"
    );
    Ok(())
}

/// Rule 5, with a rule for one port, and with forwarding on and off for each family.
fn asks_as_the_guard(rig: &Rig<'_>) -> Result<()> {
    const V4: &str = "eth0 192.168.77.2 6379 --destination 10.10.0.77";
    const V6: &str = "eth0 fd00:77::2 6379 --destination fd00:10::77";
    let untrusted = Reason::UntrustedInterface.name();
    let host = &rig.lab.host;
    rig.enforcer.up(Guards::Both)?;
    host.sysctl("net/ipv6/conf/all/forwarding", "0")?;
    expect_both(rig, V4, "pass", "forwarded")?;
    expect_both(rig, V6, "drop", untrusted).context("IPv6 is not forwarded")?;
    host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    expect_both(rig, V6, "pass", "forwarded")?;
    host.sysctl("net/ipv4/conf/eth0/forwarding", "0")?;
    expect_both(rig, V4, "drop", untrusted).context("IPv4 is not forwarded")?;
    host.sysctl("net/ipv4/conf/eth0/forwarding", "1")?;
    // A port that stays here, whatever the address; other ports go on.
    for family in ["-4", "-6"] {
        for words in [
            "rule add dport 6379 lookup 100",
            "route add local default dev lo table 100",
        ] {
            let mut command = host.command("ip");
            command.arg(family).args(words.split(' '));
            finish(command, "")?.ok()?;
        }
    }
    expect_both(rig, V4, "drop", untrusted).context("by the port's rule")?;
    expect_both(rig, V6, "drop", untrusted).context("by the port's rule")?;
    let other = |packet: &str| packet.replace("6379", "9200");
    expect_both(rig, &other(V4), "pass", "forwarded")?;
    expect_both(rig, &other(V6), "pass", "forwarded")
}

/// Rule 6 for UDP, with and without a socket.
fn knows_sockets(rig: &Rig<'_>) -> Result<()> {
    const PACKETS: [&str; 2] = [
        "eth0 192.168.77.2 9999 --protocol udp",
        "eth0 fd00:77::2 9999 --protocol udp",
    ];
    rig.enforcer
        .registry(&format!("{REGISTRY}\n[unregistered]\nudp = \"drop\"\n"))?;
    rig.enforcer.up(Guards::Both)?;
    for packet in PACKETS {
        expect_both(rig, packet, "pass", "unregistered").context("nobody's port")?;
    }
    let said = rig.enforcer.expect(
        &[
            "explain",
            "--interface",
            "eth0",
            "--source",
            "192.168.77.2",
            "--port",
            "9999",
            "--protocol",
            "udp",
        ],
        0,
    )?;
    ensure!(said.stdout.contains("an unconnected socket"), "{said}");
    let bind = |address| Server::start(&rig.lab.host, Transport::Udp, address, "a socket");
    let dropped = Reason::UnregisteredPort.name();
    let server = bind("0.0.0.0:9999")?;
    expect_both(rig, PACKETS[0], "drop", dropped)?;
    expect_both(rig, PACKETS[1], "pass", "unregistered").context("a socket for IPv4")?;
    drop(server);
    let _server = bind("[::]:9999")?;
    expect_both(rig, PACKETS[1], "drop", dropped)
}
