//! Warnings for hosts of two bridges and a WireGuard device.

use super::*;
use crate::{decisions::fixtures, wireguard::Answer};

const PODMAN1: u32 = 3;
const PODMAN2: u32 = 4;

/// A host with two bridges, a WireGuard device and a NIC.
fn host() -> HostSnapshot {
    let interface = |index, name: &str, kind: Option<&str>| Interface {
        index,
        name: name.to_owned(),
        kind: kind.map(str::to_owned),
        up: true,
        ..Interface::default()
    };
    let found = [
        interface(2, "eth0", None),
        interface(PODMAN1, "podman1", Some("bridge")),
        interface(PODMAN2, "podman2", Some("bridge")),
        interface(5, "wg0", Some("wireguard")),
    ];
    let answered = found.map(|interface| (interface, Answer::NotWireGuard));
    HostSnapshot::of(answered.into())
}

/// The policy of a registry's text, where each bridge has these subnets.
fn tables(text: &str, subnets: &[(u32, &str, &[&str])]) -> PolicyTables {
    let registry = fixtures::loaded(text).registry;
    let bridge = |&(ifindex, name, prefixes): &(u32, &str, &[&str])| PolicyInterface {
        ifindex,
        name: name.to_owned(),
        is_bridge: true,
        addresses: prefixes
            .iter()
            .map(|prefix| prefix.parse().unwrap())
            .collect(),
        ..PolicyInterface::default()
    };
    let host = PolicyHost {
        interfaces: subnets.iter().map(bridge).collect(),
        ..PolicyHost::default()
    };
    compile(&registry, &host, &Slots::new()).unwrap()
}

/// A service for two peers behind wg0 and one on eth0; a third peer behind wg0 is in no `allow`.
const PEERS: &str = r#"
[services.redis]
ports = [6379]
allow = ["office", "lan"]
[unregistered]
tcp = "drop"
allow = ["laptop"]
[peers.office]
interface = "wg0"
addresses = ["10.10.0.0/28"]
[peers.laptop]
interface = "wg*"
addresses = ["10.10.0.77"]
[peers.lan]
interface = "eth0"
addresses = ["192.0.2.0/24"]
[peers.idle]
interface = "wg0"
addresses = ["10.10.0.99"]
[peers.gone]
interface = "wg9"
addresses = ["10.11.0.99"]
"#;

const BOTH: [(u32, &str, &[&str]); 2] = [
    (PODMAN1, "podman1", &["10.89.0.1/24"]),
    (PODMAN2, "podman2", &["10.89.1.1/24", "fd00:89::1/64"]),
];

fn warned(text: &str, subnets: &[(u32, &str, &[&str])]) -> Vec<NetworkWarning> {
    warnings(&tables(text, subnets), &host())
}

fn cut_off(bridges: &[&str]) -> NetworkWarning {
    NetworkWarning::PeersCutOff {
        bridges: bridges.iter().map(|name| (*name).to_owned()).collect(),
        peers: vec!["laptop".to_owned(), "office".to_owned()],
    }
}

#[test]
fn allowed_peers_behind_wireguard_are_told_once_for_all_bridges() {
    assert_eq!(warned(PEERS, &BOTH), [cut_off(&["podman1", "podman2"])]);
    assert_eq!(warned(PEERS, &[]), [], "no container network");
}

#[test]
fn without_a_wireguard_device_no_peer_is_cut_off() {
    let tables = tables(PEERS, &BOTH);
    let eth0 = host().by_name("eth0").cloned().unwrap();
    let bridges = ["podman1", "podman2"].map(|name| host().by_name(name).cloned().unwrap());
    let found = bridges.into_iter().chain([eth0]);
    let found = found.map(|interface| (interface, Answer::NotWireGuard));
    assert_eq!(warnings(&tables, &HostSnapshot::of(found.collect())), []);
}

#[test]
fn a_written_allow_or_a_routed_network_ends_the_warning_for_its_bridge() {
    for table in [
        "[interfaces.podman1]\nallow = [\"office\"]\n",
        "[interfaces.podman1]\nallow = []\n",
        "[interfaces.podman1]\nrouted = true\n",
        "[interfaces.podman1]\ncontainers = false\n",
    ] {
        let text = format!("{PEERS}{table}");
        assert_eq!(warned(&text, &BOTH), [cut_off(&["podman2"])], "{table}");
    }
    let text = format!("{PEERS}[interfaces.podman1]\nmode = \"audit\"\n");
    assert_eq!(warned(&text, &BOTH), [cut_off(&["podman1", "podman2"])]);
    let text = format!("{PEERS}[interfaces.\"podman*\"]\nallow = []\n");
    assert_eq!(warned(&text, &BOTH), []);
}

#[test]
fn networks_of_global_unicast_addresses_are_told_by_bridge() {
    const REDIS: &str = "[services.redis]\nports = [6379]\n";
    let subnets: [(u32, &str, &[&str]); 2] = [
        (
            PODMAN1,
            "podman1",
            &[
                "2001:db8:1::1/64",
                "3fff::1/20",
                "fd00::1/64",
                "10.89.0.1/24",
            ],
        ),
        (PODMAN2, "podman2", &["4000::1/64", "fd00:89::1/64"]),
    ];
    let expected = NetworkWarning::GlobalUnicast {
        bridge: "podman1".to_owned(),
        prefixes: vec![
            "2001:db8:1::/64".parse().unwrap(),
            "3fff::/20".parse().unwrap(),
        ],
    };
    assert_eq!(warned(REDIS, &subnets), std::slice::from_ref(&expected));
    for routed in [true, false] {
        let text = format!("{REDIS}[interfaces.podman1]\nrouted = {routed}\n");
        assert_eq!(warned(&text, &subnets), [], "routed = {routed}");
    }
    let text = format!("{REDIS}[interfaces.podman1]\nallow = []\n");
    assert_eq!(warned(&text, &subnets), [expected]);
}

#[test]
fn words_name_the_line_to_add() {
    let global = NetworkWarning::GlobalUnicast {
        bridge: "br-0123456789ab".to_owned(),
        prefixes: vec!["2001:db8:1::/64".parse().unwrap()],
    };
    assert_eq!(
        global.text(),
        "container network 2001:db8:1::/64 of br-0123456789ab has global addresses (2000::/3): \
         without a masquerade, rule 4 drops the replies to the containers' own connections"
    );
    assert_eq!(
        global.help(),
        "add `routed = true` under `[interfaces.br-0123456789ab]` if other hosts route to the \
         containers, or `routed = false` if a masquerade hides the containers"
    );
    let one = NetworkWarning::PeersCutOff {
        bridges: vec!["lan.5".to_owned()],
        peers: vec!["office".to_owned()],
    };
    assert_eq!(
        one.text(),
        "peer office on WireGuard is in no `allow` of the container network of lan.5: rule 4 \
         drops such a peer's packets to the containers' own addresses"
    );
    assert_eq!(
        one.help(),
        "add `allow = [\"office\"]` or `routed = true` under `[interfaces.\"lan.5\"]` if peers \
         reach the containers on purpose, or `allow = []` if no peer does"
    );
    let many = NetworkWarning::PeersCutOff {
        bridges: vec!["podman1".to_owned(), "podman2".to_owned()],
        peers: ["a", "b", "c", "d", "e", "f"].map(str::to_owned).into(),
    };
    assert!(
        many.text()
            .starts_with("peers a, b, c, d and 2 more on WireGuard are in no"),
        "{}",
        many.text()
    );
    assert!(
        many.help()
            .contains("allow = [\"a\", \"b\", \"c\", \"d\", …]"),
        "{}",
        many.help()
    );
}

#[test]
fn a_registry_is_warned_of_the_hosts_own_networks() {
    let registry = fixtures::loaded(PEERS).registry;
    let with = |addresses: &[(u32, &str)]| {
        let addresses = addresses.iter();
        let parsed = addresses.map(|(ifindex, prefix)| (*ifindex, prefix.parse().unwrap()));
        host().with_addresses(parsed.collect())
    };
    let found = warnings_of(&registry, &with(&[(PODMAN1, "10.89.0.1/24")])).unwrap();
    assert_eq!(found, [cut_off(&["podman1"])]);
    let elsewhere = with(&[(2, "10.89.0.1/24")]);
    assert_eq!(warnings_of(&registry, &elsewhere).unwrap(), []);
}
