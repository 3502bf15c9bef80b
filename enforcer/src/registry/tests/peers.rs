//! Rejected peers.

use super::super::Identity;
use super::{accepts, rejects, summary};

#[test]
fn a_peer_with_neither_and_one_with_both() {
    rejects(
        r#"
[services.a]
ports = [1]
[peers.p]
interface = "wg0"
[peers.q]
interface = "wg0"
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
addresses = ["any"]
"#,
        &[
            "3:8 peer `p` has neither `public-key` nor `addresses` -- give one of them: a key for a WireGuard peer, or the addresses that it uses",
            "8:1 peer `q` has both `public-key` and `addresses` -- remove `addresses`, since the key's AllowedIPs are its addresses, or the key",
        ],
    );
}

#[test]
fn keys_that_are_none() {
    rejects(
        r#"
[services.a]
ports = [1]
[peers.p]
interface = "wg0"
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo"
[peers.q]
interface = "wg0"
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmp="
[peers.r]
interface = "wg0"
public-key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[peers.s]
interface = "wg0"
public-key = 1
"#,
        &[
            "5:14 invalid public key: it has 43 characters, not 44 -- `wg show INTERFACE peers` lists the public keys of an interface's peers",
            "8:14 invalid public key: it is not the base64 text of 32 bytes -- `wg show INTERFACE peers` lists the public keys of an interface's peers",
            "11:14 invalid public key: all its bytes are zero, which is no key -- `wg show INTERFACE peers` lists the public keys of an interface's peers",
            r#"14:14 `public-key` is an integer, not a string -- write `public-key = "…"`, with the key that `wg show` prints"#,
        ],
    );
}

#[test]
fn prefixes_that_are_none() {
    rejects(
        r#"
[services.a]
ports = [1]
[peers.p]
interface = "wg0"
addresses = ["10.10.0.0/33", "fd00::/129", "10.10.0", "fe80::1%wg0", "localhost", 1]
"#,
        &[
            "5:14 invalid address prefix `10.10.0.0/33` -- the length of an IPv4 prefix is 0 to 32",
            "5:30 invalid address prefix `fd00::/129` -- the length of an IPv6 prefix is 0 to 128",
            r#"5:44 invalid address prefix `10.10.0` -- write a prefix such as "10.10.0.0/28" or "fd00:10::/64", or one address"#,
            r#"5:55 invalid address prefix `fe80::1%wg0` -- write a prefix such as "10.10.0.0/28" or "fd00:10::/64", or one address"#,
            r#"5:70 invalid address prefix `localhost` -- write a prefix such as "10.10.0.0/28" or "fd00:10::/64", or one address"#,
            r#"5:83 an item of `addresses` is an integer, not a string -- write `addresses = ["10.10.0.0/28"]` or `addresses = ["any"]`"#,
        ],
    );
}

#[test]
fn host_bits() {
    rejects(
        r#"
[services.a]
ports = [1]
[peers.p]
interface = "wg0"
addresses = ["10.10.0.5/28", "fd00:10::1/64"]
"#,
        &[
            r#"5:14 address prefix `10.10.0.5/28` has host bits set -- write "10.10.0.0/28" for the network, or "10.10.0.5/32" for the one address"#,
            r#"5:30 address prefix `fd00:10::1/64` has host bits set -- write "fd00:10::/64" for the network, or "fd00:10::1/128" for the one address"#,
        ],
    );
}

#[test]
fn prefixes_that_never_match() {
    rejects(
        r#"
[services.a]
ports = [1]
[peers.p]
interface = "wg0"
addresses = ["::ffff:10.10.0.0/124", "127.0.0.1", "::1"]
"#,
        &[
            r#"5:14 address prefix `::ffff:10.10.0.0/124` is IPv4-mapped -- a mapped address inside an IPv6 header never matches; write "10.10.0.0/28""#,
            "5:38 address prefix `127.0.0.1/32` is a loopback address -- remove it: on lo everything passes, and on the wire a loopback address is always dropped",
            "5:51 address prefix `::1/128` is a loopback address -- remove it: on lo everything passes, and on the wire a loopback address is always dropped",
        ],
    );
}

#[test]
fn any_beside_prefixes() {
    rejects(
        r#"
[services.a]
ports = [1]
[peers.p]
interface = "wg0"
addresses = ["10.0.0.0/8", "any"]
"#,
        &[
            r#"5:28 `any` stands beside other prefixes -- write `addresses = ["any"]` alone, or only the prefixes"#,
        ],
    );
}

#[test]
fn no_addresses_and_a_wrong_type() {
    rejects(
        r#"
[services.a]
ports = [1]
[peers.p]
interface = "wg0"
addresses = []
[peers.q]
interface = "wg0"
addresses = "any"
"#,
        &[
            r#"5:13 `addresses` is empty -- write `addresses = ["10.10.0.0/28"]` or `addresses = ["any"]`"#,
            r#"8:13 `addresses` is a string, not a list -- write `addresses = ["10.10.0.0/28"]` or `addresses = ["any"]`"#,
        ],
    );
}

#[test]
fn a_peer_without_an_interface_or_on_none() {
    rejects(
        r#"
[services.a]
ports = [1]
[peers.p]
addresses = ["any"]
[peers.q]
interface = "lo"
addresses = ["any"]
[peers.r]
interface = "w*g"
addresses = ["any"]
[peers.s]
interface = "a long name"
addresses = ["any"]
[peers.t]
interface = 0
addresses = ["any"]
"#,
        &[
            r#"3:8 peer `p` has no `interface` -- write the interface that it comes through: `interface = "wg0"`"#,
            "6:13 a peer cannot be on `lo` -- remove the peer: programs on this host reach every service through lo",
            "9:13 invalid interface name `w*g` -- `*` stands for the rest of a name, at the end alone: \"br-*\"",
            "12:13 invalid interface name `a long name` -- an interface's name has 1 to 127 bytes, without spaces, `/` and `:`, as `ip link` shows it",
            r#"15:13 `interface` is an integer, not a string -- write `interface = "wg0"`"#,
        ],
    );
}

#[test]
fn a_peer_by_addresses_may_be_on_every_interface_of_a_pattern() {
    let loaded = accepts(
        r#"
[services.a]
ports = [1]
allow = ["p", "q"]
[peers.p]
interface = "br-*"
addresses = ["10.0.0.0/8"]
[peers.q]
interface = "*"
addresses = ["any"]
"#,
    );
    assert_eq!(summary(&loaded.warnings), [""; 0]);
    let interface = |name| loaded.registry.peer(name).unwrap().interface.as_str();
    assert_eq!((interface("p"), interface("q")), ("br-*", "*"));
}

#[test]
fn a_peer_by_key_is_on_one_interface() {
    const KEY: &str = "public-key = \"hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\"";
    let text = |interface: &str| {
        format!("[services.a]\nports = [1]\n[peers.p]\ninterface = \"{interface}\"\n{KEY}\n")
    };
    rejects(
        &text("wg*"),
        &[
            "4:13 peer `p` has a public key on the pattern `wg*` -- AllowedIPs belong to one device: name the device, and write one more peer for each further device",
        ],
    );
    let registry = accepts(&text("wg0")).registry;
    let identity = &registry.peer("p").unwrap().identity;
    assert!(matches!(identity, Identity::Key(_)));
}
