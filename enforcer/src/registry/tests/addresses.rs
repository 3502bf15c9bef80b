//! Services at addresses of the host.

use std::fmt::Write as _;

use enforcer_ebpf::Protocol;

use super::super::{MAX_PORTS, MAX_PORTS_AT_ADDRESSES};
use super::{accepts, load_text, rejects, summary};

#[test]
fn two_services_share_a_port_at_two_addresses() {
    let registry = accepts(
        r#"
[services.lan]
ports = [9000]
on = ["192.168.1.10", "fd00::1"]
public = true
[services.wireguard]
ports = [9000]
on = ["10.10.0.1"]
"#,
    )
    .registry;
    let at = |address: &str| {
        let address = Some(address.parse().unwrap());
        let service = registry.service_at(Protocol::Tcp, 9000, address);
        service.map(|service| service.name.as_str())
    };
    assert_eq!(at("192.168.1.10"), Some("lan"));
    assert_eq!(at("fd00::1"), Some("lan"));
    assert_eq!(at("10.10.0.1"), Some("wireguard"));
    assert_eq!(at("192.168.1.11"), None);
    assert_eq!(
        registry.service_at(Protocol::Tcp, 9000, None).map(|_| ()),
        None
    );
    assert_eq!(registry.registered_ports().count(), 2);
    assert_eq!(
        registry.port_count(),
        1,
        "a pair of protocol and port counts once"
    );
}

#[test]
fn a_service_without_on_takes_every_other_address() {
    let registry = accepts(
        r#"
[services.a-lan]
ports = [9000]
on = ["192.168.1.10"]
[services.everywhere]
ports = ["8999-9001"]
[services.z-lan]
ports = [9000]
on = ["192.168.1.11"]
"#,
    )
    .registry;
    let at = |port, address: &str| {
        let address = Some(address.parse().unwrap());
        let service = registry.service_at(Protocol::Tcp, port, address);
        service.map(|service| service.name.as_str())
    };
    assert_eq!(at(9000, "192.168.1.10"), Some("a-lan"));
    assert_eq!(at(9000, "192.168.1.11"), Some("z-lan"));
    assert_eq!(at(9000, "192.168.1.12"), Some("everywhere"));
    assert_eq!(at(9001, "192.168.1.10"), Some("everywhere"));
    assert_eq!(at(9002, "192.168.1.10"), None);
}

#[test]
fn one_port_in_two_services_at_one_address() {
    rejects(
        r#"
[services.a]
ports = [9000]
protocol = ["tcp", "udp"]
on = ["192.168.1.10", "192.168.1.11", "fd00::1"]
[services.b]
ports = ["9000-9001"]
protocol = ["tcp", "udp"]
on = ["192.168.1.11", "fd00::1", "10.0.0.1"]
[services.c]
ports = [9000]
on = ["10.0.0.1"]
"#,
        &[
            "6:10 tcp and udp port 9000 is already registered for service `a` at 192.168.1.11, fd00::1, at r.toml:2:10 -- a port belongs to one service; give one of them another port, or other addresses with `on`",
            "10:10 tcp port 9000 is already registered for service `b` at 10.0.0.1, at r.toml:6:10 -- a port belongs to one service; give one of them another port, or other addresses with `on`",
        ],
    );
}

#[test]
fn many_common_addresses_are_counted() {
    let on = (1..=5).map(|last| format!("\"10.0.0.{last}\""));
    let on = on.collect::<Vec<_>>().join(", ");
    let text =
        format!("[services.a]\nports = [1]\non = [{on}]\n[services.b]\nports = [1]\non = [{on}]\n");
    rejects(
        &text,
        &[
            "5:10 tcp port 1 is already registered for service `a` at 10.0.0.1, 10.0.0.2, 10.0.0.3 and 2 more, at r.toml:2:10 -- a port belongs to one service; give one of them another port, or other addresses with `on`",
        ],
    );
}

#[test]
fn two_services_without_on_are_still_an_error() {
    rejects(
        r#"
[services.a]
ports = [1]
[services.at]
ports = [1]
on = ["10.0.0.1"]
[services.b]
ports = [1]
"#,
        &[
            "7:10 tcp port 1 is already registered for service `a`, at r.toml:2:10 -- a port belongs to one service; give one of them another port, or other addresses with `on`",
        ],
    );
}

#[test]
fn addresses_that_no_host_has() {
    rejects(
        r#"
[services.a]
ports = [1]
on = ["192.168.1.0/24", "127.0.0.1", "::1", "224.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "eth0", 1]
[services.b]
ports = [2]
on = []
[services.c]
ports = [3]
on = "10.0.0.1"
"#,
        &[
            r#"3:7 invalid address `192.168.1.0/24` -- `on` takes single addresses, without a prefix length: write "192.168.1.0""#,
            "3:25 address `127.0.0.1` is a loopback address -- remove it: on lo everything passes, and on the wire a loopback address is always dropped",
            "3:38 address `::1` is a loopback address -- remove it: on lo everything passes, and on the wire a loopback address is always dropped",
            r#"3:45 address `224.0.0.1` is multicast, and no address of a host -- write an address of this host, as `ip address` shows it, such as "192.168.1.10" or "fd00::1""#,
            "3:58 address `0.0.0.0` is the unspecified address -- leave `on` out for a service at every address",
            "3:69 address `::` is the unspecified address -- leave `on` out for a service at every address",
            r#"3:75 address `::ffff:10.0.0.1` is IPv4-mapped -- packets on the wire carry the IPv4 address: write "10.0.0.1""#,
            r#"3:94 invalid address `eth0` -- write an address of this host, as `ip address` shows it, such as "192.168.1.10" or "fd00::1""#,
            r#"3:102 an item of `on` is an integer, not a string -- write `on = ["192.168.1.10", "fd00::1"]`, with addresses of this host"#,
            r#"6:6 `on` is empty -- write `on = ["192.168.1.10", "fd00::1"]`, with addresses of this host, or leave `on` out for every address"#,
            r#"9:6 `on` is a string, not a list -- write `on = ["192.168.1.10", "fd00::1"]`, with addresses of this host"#,
        ],
    );
}

#[test]
fn what_is_said_twice_is_taken_once_with_a_warning() {
    let loaded = accepts(
        r#"
[services.a]
ports = [1, 1]
on = ["fd00::1", "FD00:0::1", "10.0.0.1"]
"#,
    );
    assert_eq!(
        summary(&loaded.warnings),
        [
            "2:13 port 1 is listed twice, first at r.toml:2:10 -- remove one of them",
            "3:18 `FD00:0::1` is listed twice -- remove one",
        ]
    );
    let service = loaded.registry.service("a").unwrap();
    let columns: Vec<_> = service.on.values().map(|at| at.column()).collect();
    assert_eq!(columns, [31, 7]);
    let on_at = service.on_at.as_ref().unwrap();
    assert_eq!((on_at.line(), on_at.column()), (3, 1));
}

/// Returns services with `on`, each with `ports` ports at `addresses` addresses.
fn services(count: usize, ports: usize, addresses: usize) -> String {
    let mut text = String::new();
    for index in 0..count {
        let on = (0..addresses).map(|it| format!("\"10.{index}.{}.{}\"", it / 256, it % 256));
        let on = on.collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            text,
            "[services.s{index}]\nports = [\"1-{ports}\"]\non = [{on}]"
        );
    }
    text
}

#[test]
fn ports_at_single_addresses_are_limited() {
    let most = accepts(&services(1, 16, MAX_PORTS_AT_ADDRESSES / 16));
    assert_eq!(most.registry.registered_ports().count(), 16);
    let errors = load_text(&services(2, 16, MAX_PORTS_AT_ADDRESSES / 32 + 1))
        .unwrap_err()
        .errors;
    assert_eq!(
        summary(&errors),
        [
            "5:10 services with `on` have more than 8,192 ports at single addresses -- the limit is 8,192 in all, counted for each protocol and address; leave `on` out where every address may be the service's"
        ]
    );
}

#[test]
fn a_port_counts_once_for_each_service() {
    let ports = MAX_PORTS / 2;
    let most = accepts(&services(2, ports, 2));
    assert_eq!(most.registry.registered_ports().count(), MAX_PORTS);
    let text = services(2, ports, 2) + "[services.z]\nports = [1]\n";
    let errors = load_text(&text).unwrap_err().errors;
    assert_eq!(errors.total(), 1);
    assert_eq!(errors[0].message(), "more than 4,096 ports are registered");
    assert_eq!(errors[0].line(), 8);
}
