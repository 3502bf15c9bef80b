//! A user's own containers: quadlets under `systemctl --user`, through pasta and rootlessport.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use super::containers::{IMAGE, as_user, outcome};
use super::host::{Attack, Host, goes_on, reached, unreached};
use super::scenario::SystemScenario;
use crate::lab::frames::Ends;
use crate::lab::topology::{GHOST, HOST_LAN};
use crate::lab::{Guards, Patience, Port};
use crate::scenarios::raw_packet::{Probe, send_probe};

/// The forwarder of a host's port to a container, and the port.
type Published = (&'static str, Port<'static>);

/// Redis, on a separate network.
const PASTA: Published = ("pasta", Port("tcp", 6379));
/// Mattermost, on ct-net.
const ROOTLESSPORT: Published = ("rootlessport", Port("tcp", 8065));

pub(super) fn scenarios() -> Vec<SystemScenario> {
    vec![
        SystemScenario {
            name: "rootless::published_on_127_by_pasta",
            body: |host| on_127(host, PASTA),
        },
        SystemScenario {
            name: "rootless::published_on_127_by_rootlessport",
            body: |host| on_127(host, ROOTLESSPORT),
        },
        SystemScenario {
            name: "a01_route_localnet::to_rootless_pasta",
            body: |host| route_localnet(host, PASTA),
        },
        SystemScenario {
            name: "a01_route_localnet::to_rootless_rootlessport",
            body: |host| route_localnet(host, ROOTLESSPORT),
        },
        SystemScenario {
            name: "a06_accidental_publish::rootless_pasta",
            body: |host| accident(host, ("pasta", Port("tcp", 8200))),
        },
        SystemScenario {
            name: "a06_accidental_publish::rootless_rootlessport",
            body: |host| accident(host, ("rootlessport", Port("tcp", 3000))),
        },
        SystemScenario {
            name: "goes_on::rootless_on_127_by_pasta",
            body: |host| local_client(host, PASTA),
        },
        SystemScenario {
            name: "goes_on::rootless_on_127_by_rootlessport",
            body: |host| local_client(host, ROOTLESSPORT),
        },
        SystemScenario {
            name: "goes_on::rootless_containers_on_ct_net",
            body: ct_net,
        },
    ]
}

/// Insists on the right state: the LAN is refused without any enforcer, and before the stack with
/// the enforcer up.
fn on_127(host: &Host, published: Published) -> Result<()> {
    let (_, port) = published;
    forwarded_by(host, published)?;
    let to = format!("{HOST_LAN}:{}", port.1);
    let shut = || unreached(&host.ask_from_lan(&to, Patience::Brief)?);
    host.guards_off()?;
    shut().context("before the enforcer was up")?;
    // The socket guard has nothing to do: no socket has this address.
    for guards in [Guards::Wire, Guards::Both] {
        host.guards_on(guards)?;
        shut().with_context(|| format!("with the guards `{}`", guards.name()))?;
        host.expect_counted(Guard::Wire, Reason::UntrustedInterface, port)?;
        host.guards_off()?;
    }
    Ok(())
}

fn local_client(host: &Host, published: Published) -> Result<()> {
    let (_, port) = published;
    forwarded_by(host, published)?;
    goes_on(host, || host.ask_locally(&format!("127.0.0.1:{}", port.1)))
}

fn route_localnet(host: &Host, published: Published) -> Result<()> {
    let (_, port) = published;
    forwarded_by(host, published)?;
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
        send_probe(&wire, &wire, patience, &|| {
            let probe = Probe::between(Ends::V4(GHOST, Ipv4Addr::LOCALHOST), port);
            (probe, vec![probe.frame()])
        })
    });
    host.own.sysctl("net/ipv4/conf/lan0/route_localnet", "0")?;
    done
}

/// Published on 0.0.0.0 or without an address.
fn accident(host: &Host, published: Published) -> Result<()> {
    let (_, port) = published;
    forwarded_by(host, published)?;
    let to = format!("{HOST_LAN}:{}", port.1);
    Attack {
        port,
        held: &[
            (Guards::Wire, Guard::Wire, Reason::UntrustedInterface),
            (Guards::Socket, Guard::Socket, Reason::UntrustedInterface),
            (Guards::Both, Guard::Wire, Reason::UntrustedInterface),
        ],
        open: &[],
    }
    .judge(host, |patience| host.ask_from_lan(&to, patience))
}

/// Insists on the process that listens on the host's port: a scenario of pasta must not meet
/// another forwarder.
fn forwarded_by(host: &Host, (forwarder, port): Published) -> Result<()> {
    let filter = format!("sport = :{}", port.1);
    let listeners = host.run(&["ss", "-Htlnp", &filter])?;
    ensure!(
        listeners.contains(forwarder),
        "expected {forwarder} to listen on {port}, but saw: {listeners}"
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
