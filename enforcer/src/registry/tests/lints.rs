//! Warnings about a registry on a host.

use std::ops::RangeInclusive;

use super::super::{HostFacts, InterfaceWarning, lint};
use super::{accepts, summary};

const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;
/// The fate of replies at the port of a public service.
const PUBLIC: &str = "count as packets of this public service";

/// Checks the warnings on a host with these interfaces, each with whether it is WireGuard.
#[track_caller]
fn warns(text: &str, interfaces: &[(&str, bool)], expected: &[&str]) {
    let host = HostFacts {
        ephemeral: EPHEMERAL,
        interfaces: interfaces.iter().copied().collect(),
        warnings: Vec::new(),
    };
    let registry = accepts(text).registry;
    assert_eq!(summary(&lint(&registry, &host)), expected);
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
        &[],
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
            &format!(
                "5:10 tcp port 40000 lies in the ephemeral range 32768-60999 -- {}",
                HELP.replace("are dropped", PUBLIC)
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
protocol = ["sctp", "udp"]
[services.one]
ports = [4500, 5353, 5355, 5354, 1701, 5060]
protocol = "udp"
[services.tcp]
ports = [5353]
"#,
        &[],
        &[
            &format!(
                "2:10 udp ports 53 (DNS), 67 (DHCP server and relay), 68 (DHCP client), 123 (NTP), 137 (NetBIOS names), 138 (NetBIOS datagrams), 500 (IKE), 546 (DHCPv6 client) are also used by clients -- {HELP}"
            ),
            &format!("5:10 udp port 4500 (IPsec NAT traversal) is also used by clients -- {HELP}"),
            &format!("5:16 udp port 5353 (mDNS) is also used by clients -- {HELP}"),
            &format!("5:22 udp port 5355 (LLMNR) is also used by clients -- {HELP}"),
            &format!("5:34 udp port 1701 (L2TP) is also used by clients -- {HELP}"),
            &format!("5:40 udp port 5060 (SIP) is also used by clients -- {HELP}"),
        ],
    );
    warns(
        "[services.a]\nports = [53, 10000]\nprotocol = \"udp\"\npublic = true\n",
        &[],
        &[&format!(
            "2:10 udp port 53 (DNS) is also used by clients -- replies to this host's own clients come to the same port, and {PUBLIC}; leave the port out if none but this host's clients use it"
        )],
    );
}

#[test]
fn tcp_ports_of_the_kernel_s_nfs_client_are_named() {
    const HELP: &str = "an NFS mount binds such a port whatever is reserved, and the server's replies there would be dropped; prefer a port outside, or keep the client away with the sysctls sunrpc.min_resvport and sunrpc.max_resvport";
    const CLIENT: &str = "in the range 665-1023 of the kernel's NFS client (sunrpc)";
    warns(
        r#"
[services.a]
ports = [664, 665, "1000-1100", 1024]
[services.udp]
ports = [700]
protocol = ["udp", "sctp"]
[services.public]
ports = [993]
public = true
"#,
        &[],
        &[
            &format!("2:15 tcp port 665 lies {CLIENT} -- {HELP}"),
            &format!("2:20 tcp ports 1000-1023 lie {CLIENT} -- {HELP}"),
            &format!(
                "7:10 tcp port 993 lies {CLIENT} -- {}",
                HELP.replace("would be dropped", PUBLIC)
            ),
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
        &[("wg0", true), ("eth0", false)],
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
        &[("wg0", true)],
        &[
            "7:8 peer `unused` is in no `allow` -- add it to the service that it may reach, `allow = [\"unused\"]`, or remove it",
        ],
    );
}

#[test]
fn a_pattern_is_warned_of_where_one_match_can_be_spoofed() {
    let text = r#"
[services.a]
ports = [1]
allow = ["p"]
[peers.p]
interface = "w*"
addresses = ["any"]
"#;
    warns(text, &[("eth0", false), ("wg0", true)], &[]);
    warns(
        text,
        &[("eth0", false), ("wg0", true), ("wlan0", false)],
        &[
            "4:8 peer `p` is trusted by its address on `w*`, and `wlan0` is not WireGuard -- any neighbour on that network can use the address; reach the service through WireGuard, or know that the network is trusted",
        ],
    );
}

#[test]
fn a_peer_of_a_network_or_of_unregistered_ports_is_in_use() {
    let text = r#"
[services.a]
ports = [1]
[unregistered]
tcp = "drop"
allow = ["unregistered"]
[interfaces.podman1]
allow = ["network"]
[peers.network]
interface = "wg0"
addresses = ["any"]
[peers.unregistered]
interface = "wg0"
addresses = ["any"]
"#;
    warns(text, &[], &[]);
    let without = text.replace("allow = [\"network\"]", "");
    warns(
        &without,
        &[],
        &[
            "8:8 peer `network` is in no `allow` -- add it to the service that it may reach, `allow = [\"network\"]`, or remove it",
        ],
    );
}

#[test]
fn a_warning_about_an_interface_is_shown_at_its_table_or_at_a_peer_or_for_the_file() {
    let warned = |text: &str, peer: Option<&str>| {
        let warning = InterfaceWarning {
            names: vec!["br7".to_owned(), "podman1".to_owned()],
            peer: peer.map(str::to_owned),
            message: "m".to_owned(),
            help: "h".to_owned(),
        };
        let host = HostFacts {
            ephemeral: EPHEMERAL,
            interfaces: [].into(),
            warnings: vec![warning],
        };
        summary(&lint(&accepts(text).registry, &host))
    };
    const PEER: &str = "
[services.a]
ports = [1]
allow = [\"p\"]
[peers.p]
interface = \"wg0\"
addresses = [\"10.10.0.0/28\"]
";
    let table = format!("{PEER}[interfaces.\"podman*\"]\nmode = \"audit\"\n");
    assert_eq!(warned(&table, Some("p")), ["7:13 m -- h"]);
    assert_eq!(warned(PEER, Some("p")), ["4:8 m -- h"]);
    assert_eq!(warned(PEER, Some("nobody")), ["1:1 m -- h"]);
    assert_eq!(warned(PEER, None), ["1:1 m -- h"]);
}
