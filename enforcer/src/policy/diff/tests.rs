//! Two registries, and the lines that tell them apart.

use std::io::Write as _;

use super::*;
use crate::{
    policy::{PolicyInterface, Slots, compile},
    registry::{self, Source},
};

/// The tables of a registry on a host with eth0 and wg0.
fn tables(text: &str) -> PolicyTables {
    let mut file = tempfile::Builder::new()
        .suffix(".toml")
        .tempfile()
        .expect("a file");
    file.write_all(text.as_bytes()).expect("to write it");
    let source = Source::Named(file.path().to_owned());
    let loaded = registry::load(&source).unwrap_or_else(|rejected| panic!("{rejected}"));
    let interfaces: Vec<PolicyInterface> = [(2, "eth0"), (3, "wg0")]
        .into_iter()
        .map(|(ifindex, name)| PolicyInterface {
            ifindex,
            name: name.to_owned(),
            mac: None,
            merged: Vec::new(),
            has_macvlan_children: false,
            allowed_ips: None,
        })
        .collect();
    compile(&loaded.registry, &interfaces, &Slots::new()).expect("a policy")
}

fn lines(now: &str, next: &str) -> Vec<String> {
    let changes = changes(&tables(now), &tables(next));
    changes.iter().map(Change::line).collect()
}

const GRAFANA: &str = "[services.grafana]\nports = [3000]\n";
const COLLECTOR: &str = "[peers.collector]\ninterface = \"wg0\"\naddresses = [\"10.10.0.5\"]\n";

#[test]
fn the_same_is_no_change() {
    let text = format!("{GRAFANA}allow = [\"collector\"]\n{COLLECTOR}");
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
    // A port that changes hands is another matter.
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
    // What another peer's prefix lies in is not its own.
    assert_eq!(
        lines(&with(COLLECTOR), &both),
        ["+ peer office: new, on wg0 from 10.0.0.0/8"]
    );
}

#[test]
fn rules_and_the_mode_change() {
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
