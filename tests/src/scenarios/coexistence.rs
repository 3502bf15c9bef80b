//! Neighbours of the enforcer on the host: forwarding, foreign rules and programs, the port range.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::bpf::{CGROUP_DENY, Foreign, Hook, TCX_DROP, XDP_DROP};
use crate::lab::command::eventually;
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::redis::{Redis, ping};
use crate::lab::topology::{CT, HOST_LAN, LAN};
use crate::lab::{
    Ask, Because, Conversation, Feature, Guards, Netns, Patience, Port, Server, Transport,
};

use super::attacks;
use super::runner::{answered, expect_no_drops, hold, unanswered};
use crate::scenario::host_only::{COMMAND_LINE, SAME_HOOK};
use crate::scenario::{Rig, Scenario};

const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![
        Scenario::new("goes_on::forwarding_to_a_routed_network", forwarding),
        Scenario::new(
            "goes_on::a_veth_end_that_was_guarded_for_a_moment",
            moved_veth,
        ),
        Scenario::new("goes_on::2000_connections_of_the_host", outgoing).host_only(COMMAND_LINE),
        Scenario::new("goes_on::the_admins_reserved_ports", reserved_ports).host_only(COMMAND_LINE),
        Scenario::new("goes_on::other_peoples_nftables_rules", nftables),
        Scenario::new("goes_on::other_peoples_cgroup_programs", foreign_cgroup),
    ];
    for (name, hook, number) in [
        ("native_xdp", Hook::XdpNative, XDP_DROP),
        ("generic_xdp", Hook::XdpGeneric, XDP_DROP),
        ("tcx", Hook::Tcx, TCX_DROP),
    ] {
        let name = format!("goes_on::other_peoples_programs::{name}");
        let needs = (hook == Hook::Tcx).then_some(Feature::Tcx);
        scenarios.push(
            Scenario::new(name, move |rig| foreign_program(rig, hook, number)).needs_all(needs),
        );
    }
    scenarios.extend(forced_hooks());
    scenarios
}

/// The attack on a forced hook that guests try too: the driver may take these tags off.
const TELLING_MOST: &str = "a19_priority_tags::four_mixed";

/// The attacks that depend on how a hook shows a packet, on each hook behind tcx in preference.
fn forced_hooks() -> Vec<Scenario> {
    let telling = [
        "a01_route_localnet::udp",
        "a06_accidental_publish::redis_on_0.0.0.0",
        "a11_ipv4_options::forty_bytes_of_no_operation",
        "a11_ipv4_fragments::tiny",
        "a11_ipv6_chains::eight",
        "a11_ipv6_chains::nine",
        "a19_priority_tags::one_802.1q",
        "a19_priority_tags::one_802.1ad",
        TELLING_MOST,
        "a19_priority_tags::five_802.1q",
        "a22_datagrams::broadcast",
    ];
    let force = |rig: &Rig<'_>, hook: &str| {
        let forced = format!("{REGISTRY}\n[interfaces.eth0]\nhook = \"{hook}\"\n");
        rig.enforcer.registry(&forced)
    };
    let mut scenarios = Vec::new();
    for hook in ["xdp-native", "xdp-generic"] {
        let name = format!("hook::{hook}::is_what_status_shows");
        scenarios.push(Scenario::new(name, move |rig| {
            force(rig, hook)?;
            rig.enforcer.up(Guards::Wire)?;
            let (_, status) = rig.enforcer.status()?;
            let eth0 = status
                .guards
                .iter()
                .find(|guard| guard.interface.as_deref() == Some("eth0") && guard.hook == hook);
            ensure!(
                eth0.is_some(),
                "expected {hook} on eth0, but saw {status:?}"
            );
            Ok(())
        }));
        for attack in attacks::all() {
            if telling.contains(&attack.name) {
                let name = format!("hook::{hook}::{}", attack.name);
                let is_for_guests = hook == "xdp-native" && attack.name == TELLING_MOST;
                let scenario = Scenario::new(name, move |rig| {
                    force(rig, hook)?;
                    hold(&attack, Guards::Wire, rig)
                });
                scenarios.push(scenario.host_only_if((!is_for_guests).then_some(SAME_HOOK)));
            }
        }
    }
    scenarios
}

/// A container network is closed until the registry calls the network routed; the host's own port
/// of the same number stays closed.
fn forwarding(rig: &Rig<'_>) -> Result<()> {
    let through = Ask::new(Transport::Tcp, &format!("{CT}:9200"));
    let ours = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:9200"));
    let _container = Server::start(&rig.lab.ct, Transport::Tcp, "0.0.0.0:9200", "container")?;
    let _host = Server::start(&rig.lab.host, Transport::Tcp, "0.0.0.0:9200", "host")?;
    rig.lab.route_from_lan(CT)?;
    answered(through.ask(&rig.lab.lan, Patience::Long)?)?;
    answered(ours.ask(&rig.lab.lan, Patience::Long)?)?;

    rig.enforcer.up(Guards::Both)?;
    let port = Port("tcp", 9200);
    unanswered(through.ask(&rig.lab.lan, Patience::Brief)?).context("without `routed`")?;
    let closed = Because::CONTAINER_NETWORK;
    rig.enforcer.expect_counted(Guard::Wire, closed, port, 1)?;

    let routing = format!("{REGISTRY}\n[interfaces.podman0]\nrouted = true\n");
    rig.enforcer.registry(&routing)?;
    rig.enforcer.reload()?;
    let before = rig.enforcer.counters()?.count(Guard::Wire, closed, port);
    answered(through.ask(&rig.lab.lan, Patience::Long)?).context("with `routed = true`")?;
    let after = rig.enforcer.counters()?.count(Guard::Wire, closed, port);
    ensure!(
        before == after,
        "forwarded packets were counted as drops: {before} -> {after}"
    );
    let reason = Reason::UntrustedInterface;
    let before = rig.enforcer.counters()?.count(Guard::Wire, reason, port);
    unanswered(ours.ask(&rig.lab.lan, Patience::Brief)?)
        .context("the host's own port with `routed = true`")?;
    rig.enforcer
        .expect_counted(Guard::Wire, reason, port, before + 1)
}

/// Links of both kinds follow an interface into another namespace, and there they must not judge.
fn moved_veth(rig: &Rig<'_>) -> Result<()> {
    let container = Netns::new("moved")?;
    rig.lab.host.ip("link add veth9 type veth peer name inner9
         link set veth9 master podman0
         link set veth9 up
         link set inner9 up")?;
    rig.enforcer.up(Guards::Both)?;
    let (_, status) = rig.enforcer.status()?;
    ensure!(
        status
            .guards
            .iter()
            .any(|guard| guard.interface.as_deref() == Some("inner9")),
        "the unmastered veth end was up, yet has no guard: {status:?}"
    );
    rig.lab
        .host
        .ip(&format!("link set inner9 netns {}", container.path()))?;
    container.ip("addr add 10.88.0.9/24 dev inner9\nlink set inner9 up")?;
    // Without a `run`, the next command finds the link astray and takes the guard off.
    rig.enforcer.reload()?;
    let _server = Server::start(&container, Transport::Tcp, "0.0.0.0:9200", "container")?;
    let ask = Ask::new(Transport::Tcp, "10.88.0.9:9200");
    answered(ask.ask(&rig.lab.ct, Patience::Long)?)
        .context("another container asks the one whose veth end was guarded for a moment")
}

fn outgoing(rig: &Rig<'_>) -> Result<()> {
    // Ten ports, one of them registered. The kernel tries the ports of the lower end's parity
    // first.
    rig.lab
        .host
        .sysctl("net/ipv4/ip_local_port_range", "9196 9205")?;
    let _remote = Server::start(&rig.lab.lan, Transport::Tcp, "0.0.0.0:7777", "remote")?;
    let given = |count: usize| -> Result<Vec<u16>> {
        (0..count)
            .map(|_| {
                let open = Conversation::open(&rig.lab.host, &format!("{LAN}:7777"))?;
                let port = open.local_port()?;
                open.reset()?;
                Ok(port)
            })
            .collect()
    };
    ensure!(
        given(400)?.contains(&9200),
        "expected the kernel to give out port 9200 without the enforcer: no control"
    );
    rig.enforcer.up(Guards::Both)?;
    let ports = given(2000).context("with the enforcer up")?;
    ensure!(
        !ports.contains(&9200),
        "a connection got the registered port 9200"
    );
    expect_no_drops(rig)?;
    rig.enforcer.down()?;
    ensure!(given(400)?.contains(&9200), "port 9200 was not given back");
    Ok(())
}

fn reserved_ports(rig: &Rig<'_>) -> Result<()> {
    let host = &rig.lab.host;
    // 9200 is also on the admin's own list, and so not the enforcer's to take back.
    let admins = "5000,6000-6010,9200";
    host.sysctl(RESERVED, admins)?;
    rig.enforcer.up(Guards::Both)?;
    let while_up = ports_of(&host.read_sysctl(RESERVED)?)?;
    for port in [
        5000, 6000, 6010, 3000, 6379, 8065, 8080, 8443, 9001, 9100, 9200,
    ] {
        ensure!(
            while_up.contains(&port),
            "{port} is not reserved: {while_up:?}"
        );
    }
    rig.enforcer.down()?;
    let restored = host.read_sysctl(RESERVED)?;
    ensure!(
        restored == admins,
        "expected `{admins}` to be restored, but saw `{restored}`"
    );

    // Ports that the admin adds while the guards are up stay.
    rig.enforcer.up(Guards::Both)?;
    let with_more = format!("{},7000", host.read_sysctl(RESERVED)?);
    host.sysctl(RESERVED, &with_more)?;
    rig.enforcer.reload()?;
    rig.enforcer.down()?;
    let restored = host.read_sysctl(RESERVED)?;
    let expected = "5000,6000-6010,7000,9200";
    ensure!(
        restored == expected,
        "expected `{expected}`, but saw `{restored}`"
    );
    Ok(())
}

fn ports_of(list: &str) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        ports.extend(first.parse::<u16>()?..=last.parse::<u16>()?);
    }
    Ok(ports)
}

fn nftables(rig: &Rig<'_>) -> Result<()> {
    let host = &rig.lab.host;
    host.nft(
        "table inet firewall {
           chain input {
             type filter hook input priority 0; policy accept;
             tcp dport 8443 counter accept
             tcp dport 8080 drop
           }
         }",
    )?;
    let _server = Server::start(host, Transport::Tcp, "0.0.0.0:8443", "traefik")?;
    let _dropped = Server::start(host, Transport::Tcp, "0.0.0.0:8080", "traefik")?;
    let rules = without_counts(&host.nft_list()?);
    rig.enforcer.up(Guards::Both)?;
    let allowed = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:8443"));
    answered(allowed.ask(&rig.lab.lan, Patience::Long)?)?;
    // The enforcer lets this packet pass; the firewall's own rule stands.
    let denied = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:8080"));
    unanswered(denied.ask(&rig.lab.lan, Patience::Brief)?)?;
    rig.enforcer
        .expect_counted(Guard::Wire, Reason::Public, Port("tcp", 8080), 1)?;
    let listing = host.nft_list()?;
    ensure!(
        !listing.contains("counter packets 0 "),
        "nothing was counted:\n{listing}"
    );
    rig.enforcer.reload()?;
    rig.enforcer.down()?;
    let after = without_counts(&host.nft_list()?);
    ensure!(rules == after, "the rules changed:\n{rules}\n{after}");
    Ok(())
}

fn without_counts(listing: &str) -> String {
    listing
        .lines()
        .map(|line| line.split(" counter ").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn foreign_program(rig: &Rig<'_>, hook: Hook, number: i32) -> Result<()> {
    let _door = Server::start(&rig.lab.host, Transport::Tcp, "0.0.0.0:8443", "traefik")?;
    let _service = Server::start(
        &rig.lab.host,
        Transport::Tcp,
        "0.0.0.0:9200",
        "elasticsearch",
    )?;
    let door = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:8443"));
    let service = Ask::new(Transport::Tcp, &format!("{HOST_LAN}:9200"));
    let foreign = Foreign::on_interface(&rig.lab.host, "eth0", hook, number)?;
    unanswered(door.ask(&rig.lab.lan, Patience::Brief)?).context("before `up`")?;
    // The foreign program has the interface's only place for XDP; beside XDP there is only tcx.
    let guard = if Feature::Tcx.is_here() {
        rig.enforcer.up(Guards::Both)?;
        Guard::Wire
    } else {
        rig.enforcer.up_uncovered(Guards::Both, "eth0")?;
        Guard::Socket
    };
    unanswered(door.ask(&rig.lab.lan, Patience::Brief)?)
        .context("their program drops everything, with the guards up too")?;
    drop(foreign);
    let gone = || {
        let outcome = door.ask(&rig.lab.lan, Patience::Long).ok()?;
        outcome.reached().then_some(())
    };
    eventually(SETTLE, gone).context("their program is gone, and the public door is still shut")?;
    unanswered(service.ask(&rig.lab.lan, Patience::Brief)?)
        .context("their program went, the guard stays")?;
    rig.enforcer
        .expect_counted(guard, Reason::UntrustedInterface, Port("tcp", 9200), 1)
}

fn foreign_cgroup(rig: &Rig<'_>) -> Result<()> {
    let cgroup = rig.lab.cgroup()?;
    let _redis = Redis::start_in(rig.lab, Some(cgroup.path()))?;
    let ask = |patience| ping(&rig.lab.host, "127.0.0.1:6379", patience);
    let foreign = Foreign::on_cgroup(cgroup.path(), CGROUP_DENY)?;
    unanswered(ask(Patience::Brief)?).context("before `up`")?;
    rig.enforcer.up(Guards::Both)?;
    unanswered(ask(Patience::Brief)?).context("their program denies, with the guards up too")?;
    drop(foreign);
    let answer = || ask(Patience::Brief).ok()?.reached().then_some(());
    eventually(SETTLE + Duration::from_secs(2), answer)
        .context("their program is gone, and Redis still does not answer on lo")
}
