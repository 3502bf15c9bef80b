//! Pairs of registries and the changes between them.

use std::io::Write as _;

use super::*;
use crate::{
    policy::{PolicyHost, PolicyInterface, Slots, compile},
    registry::{self, PublicKey, Source},
    wireguard::AllowedIps,
};

/// Returns the tables of a registry on a host with eth0 and wg0.
fn tables(text: &str) -> PolicyTables {
    tables_on(text, &[(2, "eth0"), (3, "wg0")], None)
}

/// Returns the tables of a registry on a host with these interfaces and AllowedIPs of wg0.
fn tables_on(text: &str, names: &[(u32, &str)], allowed: Option<&AllowedIps>) -> PolicyTables {
    let mut file = tempfile::Builder::new()
        .suffix(".toml")
        .tempfile()
        .expect("a file");
    file.write_all(text.as_bytes()).expect("to write it");
    let source = Source::Named(file.path().to_owned());
    let loaded = registry::load(&source, &registry::Reader::NAMED)
        .unwrap_or_else(|rejected| panic!("{rejected}"));
    let interfaces: Vec<PolicyInterface> = names
        .iter()
        .map(|&(ifindex, name)| PolicyInterface {
            ifindex,
            name: name.to_owned(),
            allowed_ips: allowed.filter(|_| name == "wg0").cloned(),
            ..PolicyInterface::default()
        })
        .collect();
    compile(
        &loaded.registry,
        &PolicyHost::of(&interfaces),
        &Slots::new(),
    )
    .expect("a policy")
}

fn lines(now: &str, next: &str) -> Vec<String> {
    lines_between(&tables(now), &tables(next))
}

fn lines_between(now: &PolicyTables, next: &PolicyTables) -> Vec<String> {
    changes(now, next).iter().map(Change::line).collect()
}

const GRAFANA: &str = "[services.grafana]\nports = [3000]\n";
const COLLECTOR: &str = "[peers.collector]\ninterface = \"wg0\"\naddresses = [\"10.10.0.5\"]\n";

#[test]
fn the_same_is_no_change() {
    let text = format!(
        "mode = \"audit\"\n{GRAFANA}allow = [\"collector\"]\n{COLLECTOR}\
         [interfaces.eth0]\nside = \"inside\"\n"
    );
    assert!(lines(&text, &text).is_empty());
}

#[test]
fn a_service_opens_and_closes() {
    let now = format!("{GRAFANA}{COLLECTOR}");
    let next = format!("{GRAFANA}allow = [\"collector\"]\n{COLLECTOR}");
    assert_eq!(
        lines(&now, &next),
        ["+ grafana 3000/tcp: now reachable for collector"]
    );
    assert_eq!(
        lines(&next, &now),
        ["- grafana 3000/tcp: no longer reachable for collector"]
    );
    let public = format!("{GRAFANA}public = true\nmode = \"audit\"\n{COLLECTOR}");
    assert_eq!(
        lines(&now, &public),
        [
            "+ grafana 3000/tcp: was localhost only, now reachable for anyone; drops are only \
             counted (audit)",
            "~ grafana 3000/tcp: the mode is enforce and becomes audit"
        ]
    );
}

#[test]
fn a_port_comes_and_goes() {
    let more = format!("{GRAFANA}[services.statsd]\nports = [8125]\nprotocol = \"udp\"\n");
    assert_eq!(
        lines(GRAFANA, &more),
        ["+ statsd 8125/udp: now registered, localhost only"]
    );
    assert_eq!(
        lines(&more, GRAFANA),
        ["- statsd 8125/udp: no longer registered: open to all"]
    );
}

#[test]
fn a_service_gets_another_name() {
    let renamed = GRAFANA.replace("grafana", "dashboards");
    assert_eq!(
        lines(GRAFANA, &renamed),
        ["~ dashboards: was called grafana"]
    );
    // A port that moves to another service is no rename.
    let both = "[services.grafana]\nports = [3000, 3001]\n";
    let split = "[services.grafana]\nports = [3000]\n[services.gitea]\nports = [3001]\n";
    assert_eq!(lines(both, split), ["~ gitea 3001/tcp: was grafana's"]);
}

#[test]
fn peers_move() {
    let with = |peer: &str| format!("{GRAFANA}{peer}");
    let two = COLLECTOR.replace("\"10.10.0.5\"", "\"10.10.0.6\", \"10.10.1.0/24\"");
    assert_eq!(
        lines(&with(COLLECTOR), &with(&two)),
        [
            "+ peer collector: now also from 10.10.0.6/32, 10.10.1.0/24",
            "- peer collector: no longer from 10.10.0.5/32"
        ]
    );
    let elsewhere = COLLECTOR.replace("wg0", "eth0");
    assert_eq!(
        lines(&with(COLLECTOR), &with(&elsewhere)),
        ["~ peer collector: on eth0, and was on wg0"]
    );
    let nowhere = COLLECTOR.replace("wg0", "wg1");
    assert_eq!(
        lines(&with(COLLECTOR), &with(&nowhere)),
        [
            "~ peer collector: on wg1, and was on wg0",
            "- peer collector: there is no interface wg1: it waits"
        ]
    );
    assert_eq!(
        lines(GRAFANA, &with(COLLECTOR)),
        ["+ peer collector: new, on wg0 from 10.10.0.5/32"]
    );
    assert_eq!(lines(&with(COLLECTOR), GRAFANA), ["- peer collector: gone"]);
    let wide = "[peers.office]\ninterface = \"wg0\"\naddresses = [\"10.0.0.0/8\"]\n";
    let both = format!("{GRAFANA}{COLLECTOR}{wide}");
    // The narrower prefix of another peer is not listed for the wider peer.
    assert_eq!(
        lines(&with(COLLECTOR), &both),
        ["+ peer office: new, on wg0 from 10.0.0.0/8"]
    );
}

#[test]
fn interface_options_and_the_mode_change() {
    let inside = format!("{GRAFANA}[interfaces.eth0]\nside = \"inside\"\n");
    let other = format!("{GRAFANA}[interfaces.eth0]\nforward = true\nhook = \"tcx\"\n");
    assert_eq!(
        lines(GRAFANA, &inside),
        ["+ interfaces.eth0: side = \"inside\""]
    );
    assert_eq!(
        lines(&inside, &other),
        ["~ interfaces.eth0: side = \"inside\" becomes forward = true, hook = \"tcx\""]
    );
    let empty = format!("{GRAFANA}[interfaces.eth0]\n");
    assert_eq!(lines(GRAFANA, &empty), ["+ interfaces.eth0: no options"]);
    assert_eq!(
        lines(&inside, GRAFANA),
        ["- interfaces.eth0: no longer side = \"inside\""]
    );
    assert_eq!(
        lines(GRAFANA, &format!("mode = \"audit\"\n{GRAFANA}")),
        [
            "~ the global mode is enforce and becomes audit",
            "~ grafana 3000/tcp: the mode is enforce and becomes audit"
        ]
    );
}

/// Returns a registry with the peer `laptop` by key on wg0.
fn laptop(key: u8) -> String {
    let key = PublicKey::from([key; 32]);
    format!("{GRAFANA}[peers.laptop]\ninterface = \"wg0\"\npublic-key = \"{key}\"\n")
}

/// Returns the tables of a registry on a host with wg0 and these AllowedIPs, each with the byte
/// that fills the key.
fn with_keys(text: &str, allowed: &[(u8, &str)]) -> PolicyTables {
    let mut device = AllowedIps::default();
    for (key, prefix) in allowed {
        let key = PublicKey::from([*key; 32]);
        device.allow(key, prefix.parse().unwrap()).unwrap();
    }
    tables_on(text, &[(3, "wg0")], Some(&device))
}

#[test]
fn keys_come_and_go() {
    let none = with_keys(GRAFANA, &[]);
    let waits = with_keys(&laptop(1), &[]);
    let there = with_keys(&laptop(1), &[(1, "10.0.0.5/32")]);
    assert_eq!(
        lines_between(&none, &there),
        ["+ peer laptop: new, on wg0 from 10.0.0.5/32"]
    );
    assert_eq!(
        lines_between(&none, &waits),
        ["+ peer laptop: new, on wg0; its key grants nothing: it waits"]
    );
    assert_eq!(
        lines_between(&waits, &there),
        ["+ peer laptop: its key is there, with 10.0.0.5/32"]
    );
    assert_eq!(
        lines_between(&there, &waits),
        ["- peer laptop: its key grants nothing: it waits"]
    );
    assert!(lines_between(&waits, &waits).is_empty());
    assert!(lines_between(&there, &there).is_empty());
}

#[test]
fn a_peer_gets_another_identity() {
    let allowed = [(1, "10.0.0.5/32"), (2, "10.0.0.5/32")];
    let [one, two] =
        [1, 2].map(|key| with_keys(&laptop(key), &allowed[usize::from(key) - 1..][..1]));
    assert_eq!(
        lines_between(&one, &two),
        ["~ peer laptop: another public key"]
    );
    let text =
        format!("{GRAFANA}[peers.laptop]\ninterface = \"wg0\"\naddresses = [\"10.0.0.5\"]\n");
    let by_address = with_keys(&text, &[]);
    assert_eq!(
        lines_between(&one, &by_address),
        ["~ peer laptop: known by addresses, and was by its key"]
    );
    assert_eq!(
        lines_between(&by_address, &one),
        ["~ peer laptop: known by its key, and was by addresses"]
    );
}

#[test]
fn an_interface_comes_and_goes() {
    let text = format!("{GRAFANA}{COLLECTOR}");
    let (here, gone) = (tables(&text), tables_on(&text, &[(2, "eth0")], None));
    assert_eq!(
        lines_between(&gone, &here),
        ["+ peer collector: its interface is there, with 10.10.0.5/32"]
    );
    assert_eq!(
        lines_between(&here, &gone),
        ["- peer collector: there is no interface wg0: it waits"]
    );
    let without = tables_on(GRAFANA, &[(2, "eth0")], None);
    assert_eq!(
        lines_between(&without, &gone),
        ["+ peer collector: new, on wg0, which is not there: it waits"]
    );
}

#[test]
fn long_lists_of_prefixes_are_cut() {
    let peer = |count: u8| {
        let addresses: Vec<String> = (1..=count).map(|n| format!("\"10.0.0.{n}\"")).collect();
        let addresses = addresses.join(", ");
        format!("{GRAFANA}[peers.p]\ninterface = \"wg0\"\naddresses = [{addresses}]\n")
    };
    let first = "10.0.0.1/32, 10.0.0.2/32, 10.0.0.3/32, 10.0.0.4/32, \
                 10.0.0.5/32, 10.0.0.6/32, 10.0.0.7/32, 10.0.0.8/32";
    assert_eq!(
        lines(GRAFANA, &peer(8)),
        [format!("+ peer p: new, on wg0 from {first}")]
    );
    assert_eq!(
        lines(GRAFANA, &peer(11)),
        [format!("+ peer p: new, on wg0 from {first} and 3 more")]
    );
}

#[test]
fn a_wider_peer_around_does_not_hide_a_move() {
    let wide = "[peers.wide]\ninterface = \"wg0\"\naddresses = [\"any\"]\n";
    let text = format!("{}{wide}", laptop(1));
    let now = with_keys(&text, &[(1, "10.0.0.5/32")]);
    let next = with_keys(&text, &[(1, "10.0.0.6/32")]);
    assert_eq!(
        lines_between(&now, &next),
        [
            "+ peer laptop: now also from 10.0.0.6/32",
            "- peer laptop: no longer from 10.0.0.5/32"
        ]
    );
}

#[test]
fn options_of_networks_change() {
    let base = format!("{GRAFANA}{COLLECTOR}");
    let with = |keys: &str| format!("{base}[interfaces.podman1]\n{keys}");
    let now = with("forward = true\n");
    let next =
        with("forward = false\ncontainers = true\nallow = [\"collector\"]\nmode = \"audit\"\n");
    let line = |sign: &str, what: &str| [format!("{sign} interfaces.podman1: {what}")];
    assert_eq!(
        lines(&now, &next),
        line(
            "~",
            "forward = true becomes forward = false, containers = true, allow = [\"collector\"], \
             mode = \"audit\""
        )
    );
    let routed = with("containers = false\n");
    assert_eq!(lines(&base, &routed), line("+", "containers = false"));
    let routed = with("routed = true\n");
    assert_eq!(lines(&routed, &base), line("-", "no longer routed = true"));
    assert_eq!(
        lines(&base, &with("forward = \"auto\"\nrouted = false\n")),
        line("+", "no options")
    );
    // The number of a peer is another where a peer comes before, and the peer is the same.
    let first = format!("{next}[peers.a]\ninterface = \"wg0\"\naddresses = [\"10.0.0.9\"]\n");
    assert_eq!(
        lines(&next, &first),
        ["+ peer a: new, on wg0 from 10.0.0.9/32"]
    );
}

#[test]
fn unregistered_ports_open_and_close() {
    let base = format!("{GRAFANA}{COLLECTOR}");
    let closed = format!(
        "{base}[unregistered]\ntcp = \"drop\"\nsctp = \"audit\"\nallow = [\"collector\"]\n"
    );
    assert_eq!(
        lines(&base, &closed),
        [
            "~ unregistered.tcp: \"pass\" becomes \"drop\"",
            "~ unregistered.sctp: \"pass\" becomes \"audit\"",
            "+ unregistered ports: now reachable for collector",
        ]
    );
    assert_eq!(
        lines(&closed, &base),
        [
            "~ unregistered.tcp: \"drop\" becomes \"pass\"",
            "~ unregistered.sctp: \"audit\" becomes \"pass\"",
            "- unregistered ports: no longer reachable for collector",
        ]
    );
    assert!(lines(&closed, &closed).is_empty());
}

#[test]
fn a_service_moves_to_addresses() {
    let public = format!("{GRAFANA}public = true\n");
    let at = format!("{public}on = [\"192.168.1.10\", \"fd00::1\"]\n");
    // At the two addresses nothing changes.
    assert_eq!(
        lines(&public, &at),
        ["- grafana 3000/tcp: at other addresses: was reachable for anyone, now localhost only"]
    );
    assert_eq!(
        lines(&at, &public),
        ["+ grafana 3000/tcp: at other addresses: was localhost only, now reachable for anyone"]
    );
    assert!(lines(&at, &at).is_empty());
    let one = format!("{public}on = [\"fd00::1\"]\n");
    assert_eq!(
        lines(&at, &one),
        ["- grafana 3000/tcp: at 192.168.1.10: was reachable for anyone, now localhost only"]
    );
    let renamed = at.replace("grafana", "dashboards");
    assert_eq!(lines(&at, &renamed), ["~ dashboards: was called grafana"]);
}

#[test]
fn a_port_of_two_services_comes_and_goes() {
    let other = "[services.minio]\nports = [9000]\n";
    let at = format!(
        "{other}on = [\"192.168.1.10\"]\npublic = true\n[services.backup]\nports = [9000]\n"
    );
    assert_eq!(
        lines(GRAFANA, &format!("{GRAFANA}{at}")),
        [
            "+ minio 9000/tcp: at 192.168.1.10: now registered, reachable for anyone",
            "+ backup 9000/tcp: at other addresses: now registered, localhost only",
        ]
    );
    assert_eq!(
        lines(&format!("{GRAFANA}{at}"), GRAFANA),
        ["- backup 9000/tcp: no longer registered: open to all"]
    );
    assert_eq!(
        lines(other, &at),
        [
            "+ minio 9000/tcp: at 192.168.1.10: was localhost only, now reachable for anyone",
            "~ backup 9000/tcp: at other addresses: was minio's",
        ]
    );
}
