//! Valid registries and their models.

use enforcer_ebpf::{Mode, Protocol};

use super::super::{
    Forward, HookChoice, HostFacts, Identity, Origin, Reader, Side, Source, lint, load,
};
use super::{accepts, summary};

const DESIGN: &str = r#"
mode = "enforce"

[services.elasticsearch]
ports = [9200]
allow = ["collector"]

[services.statsd]
ports = [8125]
protocol = "udp"
mode = "audit"

[services.traefik]
ports = [8080, 8443]
public = true

[services.minio]
ports = [9000]
on = ["192.168.1.10"]
public = true

[unregistered]
tcp = "drop"
sctp = "audit"
allow = ["office"]

[services.dns]
ports = ["5300-5301", 0x14b6]
protocol = ["udp", "tcp"]
allow = ["office", "collector"]

[peers.office]
interface = "wg0"
addresses = ["10.10.0.0/28", "fd00:10::/64", "10.10.0.77"]

[peers.collector]
interface = "wg0"
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="

[peers.everyone]
interface = "eth*"
addresses = ["any"]

[interfaces.eth1]
side = "outside"
forward = true
hook = "tcx"

[interfaces."podman*"]
allow = ["office"]
routed = false
mode = "audit"
"#;

#[test]
fn the_design_s_example_becomes_a_model_sorted_by_name() {
    let loaded = accepts(DESIGN);
    let registry = &loaded.registry;
    assert!(loaded.warnings.is_empty());
    assert_eq!(registry.mode(), Mode::Enforce);

    let names: Vec<_> = registry.services().iter().map(|it| &it.name).collect();
    assert_eq!(
        names,
        ["dns", "elasticsearch", "minio", "statsd", "traefik"]
    );
    let dns = registry.service("dns").unwrap();
    let ports = [5300, 5301, 5302];
    let expected = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .flat_map(|protocol| ports.map(|port| (protocol, port)));
    assert!(dns.ports.iter().copied().eq(expected));
    assert!(dns.allow.names().eq(["office", "collector"]));
    assert_eq!((dns.at.line(), dns.at.column()), (26, 11));
    assert_eq!(registry.mode_of(dns), Mode::Enforce);
    let statsd = registry.service("statsd").unwrap();
    assert_eq!(statsd.mode, Some(Mode::Audit));
    assert_eq!(registry.mode_of(statsd), Mode::Audit);
    assert!(registry.service("traefik").unwrap().public);
    assert!(registry.service("mysql").is_none());

    let names: Vec<_> = registry.peers().iter().map(|it| &it.name).collect();
    assert_eq!(names, ["collector", "everyone", "office"]);
    let addresses = |name| match &registry.peer(name).unwrap().identity {
        Identity::Addresses(nets) => nets.iter().map(ToString::to_string).collect(),
        Identity::Key(key) => vec![key.to_string()],
    };
    assert_eq!(
        addresses("office"),
        ["10.10.0.0/28", "fd00:10::/64", "10.10.0.77/32"]
    );
    assert_eq!(addresses("everyone"), ["0.0.0.0/0", "::/0"]);
    assert_eq!(
        addresses("collector"),
        ["hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="]
    );

    let eth1 = registry.interface_table(["eth1"].into_iter()).unwrap();
    assert_eq!(
        (eth1.side, eth1.forward, eth1.hook),
        (Some(Side::Outside), Forward::True, HookChoice::Tcx)
    );
    let podman = registry.interface_table(["podman0"].into_iter()).unwrap();
    assert_eq!(
        (podman.side, podman.forward, podman.hook),
        (None, Forward::Auto, HookChoice::Auto)
    );
    assert!(podman.allow.names().eq(["office"]));
    assert_eq!(podman.mode, Some(Mode::Audit));
    assert!(registry.interface_table(["eth10"].into_iter()).is_none());
}

#[test]
fn the_design_s_example_has_addresses_and_unregistered_ports() {
    let registry = accepts(DESIGN).registry;
    let minio = registry.service("minio").unwrap();
    let on: Vec<_> = minio.on.keys().map(ToString::to_string).collect();
    assert_eq!(on, ["192.168.1.10"]);
    let actions = Protocol::ALL.map(|protocol| registry.unregistered().action(protocol).name());
    assert_eq!(actions, ["drop", "pass", "audit"]);
}

#[test]
fn every_word_is_known() {
    let mut text = String::from("mode = \"audit\"\n");
    for (index, protocol) in ["tcp", "udp", "sctp"].into_iter().enumerate() {
        text += &format!("[services.s{index}]\nports = [1]\nprotocol = \"{protocol}\"\n");
    }
    for (index, hook) in ["auto", "xdp-native", "xdp-generic", "tcx"]
        .into_iter()
        .enumerate()
    {
        text += &format!("[interfaces.eth{index}]\nhook = \"{hook}\"\nside = \"inside\"\n");
    }
    let registry = accepts(&text).registry;
    assert_eq!(registry.mode(), Mode::Audit);
    let protocols = registry.registered_ports().map(|(protocol, _, _)| protocol);
    assert!(protocols.eq(Protocol::ALL));
    let hooks = registry.interfaces().iter().map(|table| table.hook);
    assert!(hooks.eq(HookChoice::ALL));
    assert!(
        registry
            .interfaces()
            .iter()
            .all(|table| table.side == Some(Side::Inside))
    );
}

#[test]
fn the_nearest_interface_table_wins() {
    let registry = accepts(
        r#"
[services.a]
ports = [1]
[interfaces."*"]
[interfaces."eth*"]
[interfaces."eth1*"]
[interfaces.eth1]
"#,
    )
    .registry;
    let pattern = |name| {
        registry
            .interface_table([name].into_iter())
            .unwrap()
            .pattern
            .as_str()
    };
    assert_eq!(pattern("eth1"), "eth1");
    assert_eq!(pattern("eth10"), "eth1*");
    assert_eq!(pattern("eth"), "eth*");
    assert_eq!(pattern("wg0"), "*");
}

#[test]
fn what_does_not_contradict_itself_is_accepted() {
    // An empty allow, one port for two protocols of two services, defaults spelt out.
    let registry = accepts(
        r#"
[services.a]
ports = [1]
public = true
[services.b]
ports = [1]
protocol = "udp"
public = false
allow = []
[peers]
[interfaces]
"#,
    )
    .registry;
    assert_eq!(registry.registered_ports().count(), 2);
    assert!(registry.peers().is_empty() && registry.interfaces().is_empty());
}

#[test]
fn what_is_said_twice_is_taken_once_with_a_warning() {
    let loaded = accepts(
        r#"
[services.a]
ports = [1, "1-3", "2-4"]
protocol = ["tcp", "udp", "tcp"]
allow = ["p", "p"]
[peers.p]
interface = "wg0"
addresses = ["10.0.0.1", "10.0.0.1/32", "10.0.0.0/8"]
[peers.q]
interface = "wg0"
addresses = ["any", "any"]
"#,
    );
    assert_eq!(
        summary(&loaded.warnings),
        [
            "2:13 port 1 is listed twice, first at r.toml:2:10 -- remove one of them",
            "2:20 ports 2-3 are listed twice, first at r.toml:2:13 -- remove one of them",
            "3:27 `tcp` is listed twice -- remove one",
            "4:15 peer `p` is listed twice -- remove one",
            "7:26 `10.0.0.1/32` is listed twice -- remove one",
            "10:21 `any` is listed twice -- remove one",
        ]
    );
    let registry = loaded.registry;
    assert_eq!(registry.registered_ports().count(), 8);
    assert!(registry.service("a").unwrap().allow.names().eq(["p"]));
    for peer in registry.peers() {
        assert!(matches!(&peer.identity, Identity::Addresses(nets) if nets.len() == 2));
    }
}

#[test]
fn doubtful_texts_are_accepted_with_a_warning() {
    let loaded = accepts(
        r#"
[services.a]
ports = [1]
[peers.p]
interface = "wg0"
addresses = ["0.0.0.0", "ff02::1"]
[peers.q]
interface = "wg0"
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
[peers.r]
interface = "wg0"
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
[peers.s]
interface = "wg1"
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
[interfaces.lo]
side = "inside"
"#,
    );
    assert_eq!(
        summary(&loaded.warnings),
        [
            "5:14 `0.0.0.0/32` is one address, which hosts do not send from -- for all addresses of the family write \"0.0.0.0/0\", for all of both \"any\"",
            "5:25 `ff02::1/128` is multicast, which is never a source address -- write the addresses that the peer sends from",
            "9:8 peer `r` has the same public key as peer `q`, at r.toml:6:8 -- if they are one peer, keep one of the names; else correct the key",
            "15:13 the table `[interfaces.lo]` has no effect -- remove it: lo is never guarded, everything on it passes",
        ]
    );
}

#[test]
fn the_embedded_registry_is_the_port_table() {
    let loaded = load(&Source::Embedded, &Reader::STRICT).unwrap();
    assert_eq!(loaded.origin, Origin::Embedded);
    assert!(loaded.warnings.is_empty());
    let host = HostFacts {
        ephemeral: 32768..=60999,
        interfaces: [("eth0", false)].into(),
        warnings: Vec::new(),
    };
    assert!(lint(&loaded.registry, &host).is_empty());
    assert_eq!(loaded.registry.mode(), Mode::Enforce);
    let table: Vec<_> = loaded
        .registry
        .registered_ports()
        .map(|(protocol, port, service)| (service.name.as_str(), protocol, port, service.public))
        .collect();
    let expected = [
        ("elasticsearch", 9200),
        ("gitea", 3001),
        ("grafana", 3000),
        ("hashivault", 8200),
        ("influxdb3", 8087),
        ("mattermost", 8065),
        ("minio", 9000),
        ("minio", 9001),
        ("redis", 6379),
        ("traefik", 8080),
        ("traefik", 8443),
    ]
    .map(|(name, port)| (name, Protocol::Tcp, port, name == "traefik"));
    assert_eq!(table, expected);
    assert!(loaded.registry.peers().is_empty());
}
