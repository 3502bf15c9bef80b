//! Warnings about a registry on a host.

use std::ops::RangeInclusive;

use super::super::lint;
use super::{accepts, summary};

const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

#[track_caller]
fn warns(text: &str, is_wireguard: impl Fn(&str) -> Option<bool>, expected: &[&str]) {
    let registry = accepts(text).registry;
    assert_eq!(
        summary(&lint(&registry, &EPHEMERAL, is_wireguard)),
        expected
    );
}

#[test]
fn ephemeral_ports_are_one_warning_for_each_range() {
    const HELP: &str = "this host's own connections use such ports: enforcer reserves them, but replies to an explicit bind or a NAT source port there are dropped; prefer a port outside";
    warns(
        r#"
[services.a]
ports = [32767, 32768, "60999-61010", "32000-33000", 61000]
protocol = ["udp", "tcp"]
[services.public]
ports = [40000]
public = true
"#,
        |_| None,
        &[
            &format!(
                "2:17 tcp and udp port 32768 lies in the ephemeral range 32768-60999 -- {HELP}"
            ),
            &format!(
                "2:24 tcp and udp port 60999 lies in the ephemeral range 32768-60999 -- {HELP}"
            ),
            &format!(
                "2:39 tcp and udp ports 32768-33000 lie in the ephemeral range 32768-60999 -- {HELP}"
            ),
        ],
    );
}

#[test]
fn udp_ports_of_the_host_s_own_clients_are_named() {
    const HELP: &str = "replies to this host's own clients come to the same port, and would be dropped; allow the servers as peers, or leave the port out";
    warns(
        r#"
[services.range]
ports = ["50-600"]
protocol = ["tcp", "udp"]
[services.one]
ports = [4500, 5353, 5355, 5354]
protocol = "udp"
[services.tcp]
ports = [5353]
[services.public]
ports = [10000]
protocol = "udp"
public = true
"#,
        |_| None,
        &[
            &format!(
                "2:10 udp ports 53 (DNS), 67 (DHCP server and relay), 68 (DHCP client), 123 (NTP), 500 (IKE), 546 (DHCPv6 client) are also used by clients -- {HELP}"
            ),
            &format!("5:10 udp port 4500 (IPsec NAT traversal) is also used by clients -- {HELP}"),
            &format!("5:16 udp port 5353 (mDNS) is also used by clients -- {HELP}"),
            &format!("5:22 udp port 5355 (LLMNR) is also used by clients -- {HELP}"),
        ],
    );
}

#[test]
fn peers_by_address_are_warned_of_where_addresses_can_be_spoofed() {
    warns(
        r#"
[services.a]
ports = [1]
allow = ["eth", "key", "unsure", "wg"]
[peers.wg]
interface = "wg0"
addresses = ["any"]
[peers.unsure]
interface = "vpn"
addresses = ["any"]
[peers.eth]
interface = "eth0"
addresses = ["any"]
[peers.key]
interface = "eth0"
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
"#,
        |interface| match interface {
            "wg0" => Some(true),
            "eth0" => Some(false),
            _ => None,
        },
        &[
            "10:8 peer `eth` is trusted by its address on `eth0`, which is not WireGuard -- any neighbour on that network can use the address; reach the service through WireGuard, or know that the network is trusted",
        ],
    );
}

#[test]
fn a_peer_that_nobody_allows_is_warned_of() {
    warns(
        r#"
[services.a]
ports = [1]
allow = ["used"]
[peers.used]
interface = "wg0"
addresses = ["any"]
[peers.unused]
interface = "wg0"
addresses = ["any"]
"#,
        |_| Some(true),
        &[
            "7:8 peer `unused` is allowed by no service -- add it to the service that it may reach, `allow = [\"unused\"]`, or remove it",
        ],
    );
}
