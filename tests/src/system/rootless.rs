//! A user's own containers: quadlets under `systemctl --user`, through pasta and rootlessport.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use super::Row;
use super::containers::{IMAGE, as_user, outcome};
use super::host::{Attack, Host, goes_on, reached, unreached};
use crate::lab::frames::Ends;
use crate::lab::topology::GHOST;
use crate::lab::{Guards, Patience, Port};
use crate::scenarios::shot::{Shot, shoot};

pub(super) fn trials() -> Vec<Row> {
    vec![
        Row {
            name: "rootless::published_on_127_by_pasta",
            body: on_127,
        },
        Row {
            name: "row_01_route_localnet::to_rootless_pasta",
            body: route_localnet,
        },
        Row {
            name: "row_06_accidental_publish::rootless_pasta",
            body: |host| accident(host, "pasta", 8200),
        },
        Row {
            name: "row_06_accidental_publish::rootless_rootlessport",
            body: |host| accident(host, "rootlessport", 3000),
        },
        Row {
            name: "goes_on::rootless_containers_on_ct_net",
            body: ct_net,
        },
    ]
}

/// As it should be: the LAN is refused without any enforcer, and the host is served with it.
fn on_127(host: &Host) -> Result<()> {
    forwarded_by(host, "pasta", 6379)?;
    goes_on(host, || {
        unreached(&host.ask_from_lan("192.168.77.1:6379", Patience::Brief)?)?;
        host.ask_locally("127.0.0.1:6379")
    })
    .or_else(|error| {
        // The attempt from the LAN is itself a drop, and the only one.
        ensure!(error.to_string().contains("packets were dropped"), error);
        host.expect_counted(Guard::Wire, Reason::UntrustedInterface, Port("tcp", 6379))?;
        host.guards_off()
    })
}

fn route_localnet(host: &Host) -> Result<()> {
    let port = Port("tcp", 6379);
    let wire = host.wire()?;
    host.own.sysctl("net/ipv4/conf/lan0/route_localnet", "1")?;
    let done = Attack {
        port,
        held: &[
            (Guards::Wire, Guard::Wire, Reason::LoopbackAddress),
            (Guards::Socket, Guard::Socket, Reason::UntrustedInterface),
            (Guards::Both, Guard::Wire, Reason::LoopbackAddress),
        ],
        open: &[],
    }
    .judge(host, |patience| {
        shoot(&wire, &wire, patience, &|| {
            let shot = Shot::between(Ends::V4(GHOST, Ipv4Addr::LOCALHOST), port);
            (shot, vec![shot.frame()])
        })
    });
    host.own.sysctl("net/ipv4/conf/lan0/route_localnet", "0")?;
    done
}

/// Published on 0.0.0.0 or on nothing in particular.
fn accident(host: &Host, forwarder: &str, number: u16) -> Result<()> {
    forwarded_by(host, forwarder, number)?;
    let to = format!("192.168.77.1:{number}");
    Attack {
        port: Port("tcp", number),
        held: &[
            (Guards::Wire, Guard::Wire, Reason::UntrustedInterface),
            (Guards::Socket, Guard::Socket, Reason::UntrustedInterface),
            (Guards::Both, Guard::Wire, Reason::UntrustedInterface),
        ],
        open: &[],
    }
    .judge(host, |patience| host.ask_from_lan(&to, patience))
}

/// Insists on who listens on the host's port: a trial of pasta must not meet another.
fn forwarded_by(host: &Host, forwarder: &str, number: u16) -> Result<()> {
    let filter = format!("sport = :{number}");
    let listeners = host.run(&["ss", "-Htlnp", &filter])?;
    ensure!(
        listeners.contains(forwarder),
        "expected {forwarder} to listen on {number}, but saw: {listeners}"
    );
    Ok(())
}

fn ct_net(host: &Host) -> Result<()> {
    let command = ["/bin/httpd", "-f", "-p", "9200", "-h", "/www"];
    let run = [
        "podman",
        "run",
        "--detach",
        "--rm",
        "--name",
        "es",
        "--network",
        "ct-net",
        IMAGE,
    ];
    as_user(host, &[&run[..], &command[..]].concat())?;
    let ask = [
        "podman",
        "exec",
        "systemd-grafana",
        "wget",
        "-q",
        "-T",
        "10",
        "-O-",
        "http://es:9200/",
    ];
    let done = goes_on(host, || {
        reached(&host.ask_locally("127.0.0.1:3000")?).context("through rootlessport")?;
        Ok(outcome(&as_user(host, &ask)?))
    });
    as_user(host, &["podman", "rm", "--force", "--time", "0", "es"])?;
    done
}
