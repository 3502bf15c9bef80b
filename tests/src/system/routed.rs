//! Containers of rootful Podman, asked at their own addresses: by a neighbour whose routes lead there,
//! and by peers at wg0.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use enforcer_ebpf::{Guard, Reason};

use super::containers::Container;
use super::firewall::with_firewalld;
use super::host::{Attack, Host, reached, unreached};
use super::rootful::ELASTIC;
use super::scenario::SystemScenario;
use super::service::{EXAMPLE, REGISTRY};
use crate::lab::topology::{HOST_LAN6, HOST_WG, HOST_WG6, LAN6, PEER, PEER6, STRANGER, STRANGER6};
use crate::lab::{Ask, Guards, Outcome, Patience};

/// Options of a container on [`Dual`].
const ON_DUAL: [&str; 2] = ["--network", "dual"];

pub(super) fn scenarios() -> Vec<SystemScenario> {
    vec![
        SystemScenario {
            name: "a03_routed_to_a_container::on_the_registered_number",
            body: |host| over_ipv4(host, "9200"),
        },
        SystemScenario {
            name: "a03_routed_to_a_container::on_another_number",
            body: on_another_number,
        },
        SystemScenario {
            name: "a03_routed_to_a_container::on_a_public_number",
            body: |host| over_ipv4(host, "8080"),
        },
        SystemScenario {
            name: "a03_routed_to_a_container::over_ipv6_on_the_registered_number",
            body: |host| over_ipv6(host, "9200"),
        },
        SystemScenario {
            name: "a03_routed_to_a_container::over_ipv6_on_another_number",
            body: |host| over_ipv6(host, "80"),
        },
        SystemScenario {
            name: "a03_routed_to_a_container::over_ipv6_on_a_public_number",
            body: |host| over_ipv6(host, "8080"),
        },
        SystemScenario {
            name: "a03_routed_to_a_container::by_a_peer_that_is_not_allowed",
            body: by_a_stranger,
        },
        SystemScenario {
            name: "goes_on::container_networks::a_peer_of_a_network_of_podman",
            body: by_an_allowed_peer,
        },
    ]
}

/// The container listens on this number, which may be registered, public, or nobody's.
fn over_ipv4(host: &Host, number: &str) -> Result<()> {
    let container = Container::start(host, "es", &["-p", "127.0.0.1:9200:80"], number)?;
    let to = format!("{}:{number}", container.address()?);
    closed_from_the_lan(host, &to)
}

/// The same on a number that the registry does not know. firewalld refuses the packet too.
fn on_another_number(host: &Host) -> Result<()> {
    let container = Container::start(host, "es", &["-p", "127.0.0.1:9200:80"], "80")?;
    let to = format!("{}:80", container.address()?);
    closed_from_the_lan(host, &to)?;
    with_firewalld(host, || {
        host.run(&["podman", "network", "reload", "--all"])?;
        unreached(&host.ask_from_lan(&to, Patience::Brief)?)
    })
}

fn over_ipv6(host: &Host, number: &str) -> Result<()> {
    let _dual = Dual::new(host)?;
    let container = Container::start(host, "es", &ON_DUAL, number)?;
    closed_from_the_lan(host, &format!("[{}]:{number}", container.address6()?))
}

/// A container's own address is closed on every port: the packet goes on to the container, past every
/// socket of the host.
fn closed_from_the_lan(host: &Host, to: &str) -> Result<()> {
    closed(host, |patience| host.ask_from_lan(to, patience))
}

fn closed(host: &Host, attempt: impl FnMut(Patience) -> Result<Outcome>) -> Result<()> {
    Attack {
        port: ELASTIC,
        held: &[
            (Guards::Wire, Guard::Wire, Reason::ContainerNetwork),
            (Guards::Both, Guard::Wire, Reason::ContainerNetwork),
        ],
        open: &[Guards::Socket],
    }
    .judge(host, attempt)
}

/// Another peer is allowed, on the same interface.
fn by_a_stranger(host: &Host) -> Result<()> {
    let dual = Dual::new(host)?;
    let peers = Peers::new(&dual)?;
    let container = Container::start(host, "es", &ON_DUAL, "80")?;
    for (from, to) in peers.ways(&container, STRANGER, STRANGER6)? {
        closed(host, |patience| peers.ask(&from, &to, patience)).with_context(|| to.clone())?;
    }
    Ok(())
}

/// The control of the guards is the stranger, in the same minute.
fn by_an_allowed_peer(host: &Host) -> Result<()> {
    let dual = Dual::new(host)?;
    let peers = Peers::new(&dual)?;
    let container = Container::start(host, "es", &ON_DUAL, "80")?;
    let allowed = peers.ways(&container, PEER, PEER6)?;
    let strangers = peers.ways(&container, STRANGER, STRANGER6)?;
    host.guards_off()?;
    for (from, to) in allowed.iter().chain(&strangers) {
        reached(&peers.ask(from, to, Patience::Long)?).with_context(|| format!("{from}, open"))?;
    }
    host.guards_on(Guards::Both)?;
    for (from, to) in &allowed {
        reached(&peers.ask(from, to, Patience::Long)?)
            .with_context(|| format!("{from} to {to}"))?;
    }
    for (from, to) in &strangers {
        unreached(&peers.ask(from, to, Patience::Brief)?)
            .with_context(|| format!("{from} to {to}"))?;
    }
    host.guards_off()
}

/// A network of Podman with both families, and IPv6 between the host and the neighbour.
struct Dual<'a>(&'a Host);

impl<'a> Dual<'a> {
    fn new(host: &'a Host) -> Result<Self> {
        let dual = Self(host);
        let create = "podman network create --ignore --ipv6 --interface-name podman6 dual";
        host.run(&create.split(' ').collect::<Vec<_>>())?;
        host.own
            .ip(&format!("addr add {HOST_LAN6}/64 dev lan0 nodad"))?;
        host.lan.ip(&format!(
            "addr add {LAN6}/64 dev eth0 nodad
             route replace default via {HOST_LAN6}"
        ))?;
        Ok(dual)
    }
}

impl Drop for Dual<'_> {
    fn drop(&mut self) {
        let gone = [
            self.0.run(&["podman", "network", "rm", "dual"]).map(drop),
            self.0.own.ip(&format!("addr del {HOST_LAN6}/64 dev lan0")),
            self.0.lan.ip(&format!("addr del {LAN6}/64 dev eth0")),
        ];
        for error in gone.into_iter().filter_map(Result::err) {
            eprintln!("the network of both families stays: {error:#}");
        }
    }
}

/// wg0 between the host and the neighbour, and a registry whose network podman6 allows one peer. A
/// veth device stands in for a tunnel: the guards go by the name and by the source.
struct Peers<'a>(&'a Host);

impl<'a> Peers<'a> {
    fn new(dual: &Dual<'a>) -> Result<Self> {
        let (host, peers) = (dual.0, Self(dual.0));
        host.own.ip(&format!(
            "link add wg0 type veth peer name wg0 netns {}
             addr add {HOST_WG}/24 dev wg0
             addr add {HOST_WG6}/64 dev wg0 nodad
             link set wg0 up",
            host.lan.path()
        ))?;
        host.lan.ip(&format!(
            "addr add {PEER}/24 dev wg0
             addr add {STRANGER}/24 dev wg0
             addr add {PEER6}/64 dev wg0 nodad
             addr add {STRANGER6}/64 dev wg0 nodad
             link set wg0 up"
        ))?;
        let allowed = format!(
            "[peers.collector]\ninterface = \"wg0\"\naddresses = [\"{PEER}\", \"{PEER6}\"]\n\
             [interfaces.podman6]\nallow = [\"collector\"]\n"
        );
        fs::create_dir_all("/etc/enforcer")?;
        fs::write(REGISTRY, fs::read_to_string(EXAMPLE)? + &allowed)?;
        Ok(peers)
    }

    /// The sources of a peer, each with the container's address that it asks by wg0.
    fn ways(
        &self,
        container: &Container<'_>,
        v4: Ipv4Addr,
        v6: Ipv6Addr,
    ) -> Result<[(String, String); 2]> {
        let (to4, to6) = (container.address()?, container.address6()?);
        self.0.lan.ip(&format!(
            "route replace {to4}/32 via {HOST_WG} dev wg0
             route replace {to6}/128 via {HOST_WG6} dev wg0"
        ))?;
        Ok([
            (format!("{v4}:0"), format!("{to4}:80")),
            (format!("[{v6}]:0"), format!("[{to6}]:80")),
        ])
    }

    fn ask(&self, from: &str, to: &str, patience: Patience) -> Result<Outcome> {
        let ask = Ask::command(to, super::host::REQUEST).from(from);
        ask.ask(&self.0.lan, patience)
    }
}

impl Drop for Peers<'_> {
    fn drop(&mut self) {
        let gone = [
            self.0.own.ip("link del wg0"),
            fs::remove_file(REGISTRY).context("the registry of the scenario"),
        ];
        for error in gone.into_iter().filter_map(Result::err) {
            eprintln!("wg0 or its registry stays: {error:#}");
        }
    }
}
