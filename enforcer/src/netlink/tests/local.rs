//! The routes to the host itself, and the notices that wake a reader.

use std::time::Duration;

use super::{
    super::{
        Protocol, Socket,
        local::{self, LOCAL_TABLE, LocalRoute},
    },
    attribute,
    kernel::block_on,
    namespace::{in_new_namespace, run},
};

/// `struct rtmsg` of a family, prefix length, table and type, and attributes.
fn message(family: u8, length: u8, table: u8, kind: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let header = vec![family, length, 0, 0, table, 2, 0, kind, 0, 0, 0, 0];
    [header, attributes.concat()].concat()
}

fn parsed(message: &[u8]) -> Option<(String, Option<u32>, u32)> {
    let route = local::parse(message).unwrap()?;
    Some((route.prefix.to_string(), route.ifindex, route.table))
}

#[test]
fn a_local_route_has_a_prefix_an_interface_and_a_table() {
    let to = attribute(1, &[192, 0, 2, 0]);
    let oif = attribute(4, &3u32.to_ne_bytes());
    let found = |prefix: &str, ifindex, table| Some((prefix.to_owned(), ifindex, table));
    let parts = [to.clone(), oif];
    let lan = |kind| parsed(&message(2, 24, 255, kind, &parts));
    for kind in [2, 3, 4] {
        assert_eq!(lan(kind), found("192.0.2.0/24", Some(3), 255), "{kind}");
    }
    // Unicast, multicast, blackhole.
    for kind in [1, 5, 6] {
        assert_eq!(lan(kind), None, "{kind}");
    }
    // RTA_TABLE has the whole number.
    let table = attribute(15, &1001u32.to_ne_bytes());
    let vrf = parsed(&message(2, 24, 252, 2, &[to, table]));
    assert_eq!(vrf, found("192.0.2.0/24", None, 1001));
    // Every address.
    assert_eq!(
        parsed(&message(2, 0, 255, 2, &[])),
        found("0.0.0.0/0", None, 255)
    );
    assert_eq!(
        parsed(&message(10, 0, 255, 2, &[])),
        found("::/0", None, 255)
    );
    let v6 = attribute(1, &[0xff; 16]);
    assert!(parsed(&message(10, 128, 255, 4, &[v6])).is_some());
    assert_eq!(parsed(&message(28, 20, 255, 2, &[])), None, "MPLS");
    assert!(local::parse(&message(2, 33, 255, 2, &[])).is_err());
    assert!(local::parse(&[2; 11]).is_err());
}

fn listed(tables: &[u32]) -> Vec<LocalRoute> {
    block_on(local::list(tables.iter().copied())).unwrap()
}

#[track_caller]
fn has(routes: &[LocalRoute], prefix: &str, table: u32) -> bool {
    let prefix = prefix.parse().unwrap();
    let found = |route: &LocalRoute| (route.prefix, route.table) == (prefix, table);
    routes.iter().any(found)
}

/// Waits for a route in the local table: IPv6 adds an address later than the command.
fn until_listed(prefix: &str) {
    for _ in 0..100 {
        if has(&listed(&[LOCAL_TABLE]), prefix, LOCAL_TABLE) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no route to {prefix}");
}

#[test]
fn root_local_routes_of_the_asked_tables_are_listed() {
    in_new_namespace(|| {
        for arguments in [
            "link set lo up",
            "link add veth0 up type veth peer name veth1",
            "link set veth1 up",
            "address add 192.0.2.1/24 dev veth0",
            "address add 2001:db8::1/64 dev veth0 nodad",
            // AnyIP.
            "route add local 198.51.100.0/24 dev lo",
            "route add local 2001:db8:9::/64 dev lo",
            "route add 203.0.113.0/24 dev veth0",
            // A table as of a VRF, and one as for TPROXY.
            "route add local 10.9.8.7 dev lo table 1001",
            "route add local default dev lo table 100",
        ] {
            run("ip", arguments);
        }
        until_listed("2001:db8::1/128");
        let routes = listed(&[LOCAL_TABLE, 1001, 4242]);
        for (prefix, table) in [
            ("127.0.0.0/8", 255),
            ("127.0.0.1/32", 255),
            ("::1/128", 255),
            ("192.0.2.1/32", 255),
            ("192.0.2.255/32", 255),
            ("2001:db8::1/128", 255),
            ("198.51.100.0/24", 255),
            ("2001:db8:9::/64", 255),
            ("10.9.8.7/32", 1001),
        ] {
            assert!(
                has(&routes, prefix, table),
                "{prefix} in {table}: {routes:#?}"
            );
        }
        let tables = routes
            .iter()
            .all(|route| [255, 1001].contains(&route.table));
        assert!(tables, "{routes:#?}");
        assert!(!has(&routes, "203.0.113.0/24", 254));
        assert!(has(&listed(&[100]), "0.0.0.0/0", 100), "the control");
        assert_eq!(listed(&[4242]), [], "no such table");
    });
}

/// Returns whether a notice arrived within a second; IPv6 adds an address later than the command.
async fn wakes(socket: &mut Socket) -> bool {
    let notices = socket.notices(|_| true);
    let waited = tokio::time::timeout(Duration::from_secs(2), notices).await;
    waited.is_ok_and(|found| found.unwrap())
}

/// Takes all notices that arrived.
fn drain(socket: &mut Socket) {
    while let Some(received) = socket.receive_now() {
        received.unwrap();
    }
}

/// Commands, and whether each wakes the reader.
const COMMANDS: [(&str, &str, bool); 15] = [
    ("ip", "route add 203.0.113.0/24 dev veth1", false),
    ("ip", "route add 2001:db8:7::/64 dev veth1", false),
    ("ip", "route add blackhole 203.0.113.9", false),
    ("ip", "route del 203.0.113.0/24", false),
    (
        "ip",
        "neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev veth1",
        false,
    ),
    (
        "bridge",
        "fdb add 02:00:00:00:00:05 dev veth0 master static",
        false,
    ),
    ("ip", "address add 192.0.2.7/24 dev veth1", true),
    ("ip", "address del 192.0.2.7/24 dev veth1", true),
    ("ip", "address add 2001:db8::7/64 dev veth1 nodad", true),
    ("ip", "address del 2001:db8::7/64 dev veth1", true),
    // Another length of a prefix: another broadcast address.
    ("ip", "address add 192.0.2.1/25 dev veth1", true),
    ("ip", "route add local 198.51.100.0/24 dev lo", true),
    ("ip", "route del local 198.51.100.0/24 dev lo", true),
    (
        "bridge",
        "fdb add 02:00:00:00:00:06 dev veth0 master permanent",
        true,
    ),
    ("bridge", "fdb del 02:00:00:00:00:06 dev veth0 master", true),
];

#[test]
fn root_only_what_the_host_takes_for_its_own_wakes_a_reader() {
    in_new_namespace(|| {
        for arguments in [
            "link set lo up",
            "link add veth0 type veth peer name veth1",
            "link add br0 type bridge",
            // No link-local addresses, whose routes come a second later (RFC 4862, 5.4).
            "link set veth0 addrgenmode none",
            "link set veth1 addrgenmode none",
            "link set br0 addrgenmode none",
            "link set veth0 up",
            "link set veth1 up",
            "link set br0 up",
            "link set veth0 master br0",
        ] {
            run("ip", arguments);
        }
        // IPv6 tells of an address once the link is ready (net/core/link_watch.c).
        while !run("ip", "link show veth1").contains("state UP") {
            std::thread::sleep(Duration::from_millis(20));
        }
        run("ip", "address add 192.0.2.1/24 dev veth1");
        run("ip", "address add 2001:db8::1/64 dev veth1 nodad");
        until_listed("2001:db8::1/128");
        // Addresses of the link itself come seconds later.
        std::thread::sleep(Duration::from_millis(2500));
        block_on(async {
            let mut own = local::listen().unwrap();
            // The kernel finishes with new links in the background (net/core/link_watch.c).
            while wakes(&mut own).await {}
            // The same groups, without the filter: the control.
            let mut all = Socket::listen(Protocol::Route, 1 << 2 | 1 << 6 | 1 << 10).unwrap();
            for (program, arguments, wakes_own) in COMMANDS {
                drain(&mut own);
                drain(&mut all);
                run(program, arguments);
                assert!(
                    wakes(&mut all).await,
                    "{arguments}: the kernel told nothing"
                );
                let own = match wakes_own {
                    true => wakes(&mut own).await,
                    // A notice comes to both sockets at once (do_one_broadcast).
                    false => own.receive_now().is_some(),
                };
                assert_eq!(own, wakes_own, "{arguments}");
            }
        });
    });
}
