//! Snapshots of the host.

use super::*;
use crate::registry::{Reader, Source, load};

fn host() -> HostSnapshot {
    let interface = |index, name: &str, kind: Option<&str>, up| Interface {
        index,
        name: name.to_owned(),
        kind: kind.map(str::to_owned),
        link_type: 1,
        up,
        ..Interface::default()
    };
    HostSnapshot::of(vec![
        (interface(2, "eth0", None, true), Answer::NotWireGuard),
        (interface(3, "eth1", None, false), Answer::NotWireGuard),
        (
            interface(4, "wg0", Some("wireguard"), true),
            Answer::Unknown("silent".to_owned()),
        ),
    ])
}

#[test]
fn interfaces_are_found_by_index_and_by_name() {
    let host = host();
    let name = |index| host.by_index(index).map(|it| it.name.as_str());
    assert_eq!([2, 4, 9].map(name), [Some("eth0"), Some("wg0"), None]);
    assert_eq!(host.by_name("eth1").map(|it| it.index), Some(3));
    assert!(host.by_name("eth").is_none());
    let indexes: Vec<u32> = host.iter().map(|it| it.index).collect();
    assert_eq!(indexes, [2, 3, 4]);
}

#[test]
fn a_wireguard_device_is_told_from_others_and_from_none() {
    let host = host();
    let seen = host.by_kind();
    let seen = ["wg0", "eth0", "wg9"].map(|name| seen.get(name).copied());
    assert_eq!(seen, [Some(true), Some(false), None]);
    assert_eq!(host.wireguard(2), Some(&Answer::NotWireGuard));
    assert_eq!(host.wireguard(9), None);
    let lan = Interface {
        index: 2,
        name: "eth0".to_owned(),
        alternative_names: vec!["lan".to_owned()],
        ..Interface::default()
    };
    let host = HostSnapshot::of(vec![(lan, Answer::NotWireGuard)]);
    assert_eq!(host.by_kind().get("lan"), Some(&false));
}

#[test]
fn a_snapshot_can_be_taken_as_if_no_interface_were_down() {
    let host = host();
    let planned = |host: &HostSnapshot| -> Vec<u32> {
        let plan = host.plan(|_| InterfaceOptions::default(), BTreeSet::new());
        plan.guards.iter().map(|guard| guard.ifindex).collect()
    };
    assert!(!planned(&host).contains(&3));
    assert!(planned(&host.as_if_up()).contains(&3));
    assert!(!host.by_name("eth1").unwrap().up, "the snapshot is another");
}

#[test]
fn the_embedded_registry_has_no_peer_by_key() {
    let registry = load(&Source::Embedded, &Reader::STRICT).unwrap().registry;
    assert_eq!(interfaces_with_keys(&registry), BTreeSet::new());
}

#[test]
fn root_a_snapshot_has_the_hosts_own_addresses() {
    use crate::netlink::tests::namespace::{in_new_namespace, run};
    in_new_namespace(|| {
        run("ip", "link add br0 up type bridge");
        run("ip", "link property add dev br0 altname cni-podman0");
        run("ip", "address add 10.88.0.1/16 dev br0");
        run("ip", "route add local 192.0.2.0/24 dev br0");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let host = runtime.unwrap().block_on(snapshot()).unwrap();
        let index = host.by_name("br0").unwrap().index;
        let found: Vec<IpNet> = host.addresses(index).collect();
        assert!(
            found.contains(&"10.88.0.1/16".parse().unwrap()),
            "{found:?}"
        );
        assert_eq!(host.addresses(1).next(), None, "lo is down");
        let table = host.local_table().unwrap();
        let contains = |address: &str| table.contains(address.parse().unwrap());
        assert!(contains("10.88.0.1") && contains("10.88.255.255"));
        assert!(contains("192.0.2.77"));
        assert!(!contains("10.88.0.2") && !contains("8.8.8.8"));
        let named = host.by_name("cni-podman0").map(|it| it.index);
        assert_eq!(named, Some(index));
    });
}

#[test]
fn an_unknown_host_has_an_unknown_local_table() {
    assert!(HostSnapshot::unknown().local_table().is_err());
    assert!(host().local_table().is_ok());
}
