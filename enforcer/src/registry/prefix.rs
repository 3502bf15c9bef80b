//! Address prefixes in a peer's `addresses`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::diagnostic::Fault;
use super::suggest::quoted;

const HELP: &str = "write a prefix such as \"10.10.0.0/28\" or \"fd00:10::/64\", or one address";

/// Returns all addresses of both families, the meaning of `any`.
pub(super) fn any() -> [IpNet; 2] {
    // A length of 0 fits every family.
    [
        IpNet::new_assert(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        IpNet::new_assert(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    ]
}

/// Parses a prefix without host bits, or a single address, as in WireGuard's AllowedIPs.
///
/// The standard library parses the address and refuses leading zeros, which some tools take for
/// octal.
pub(super) fn parse(text: &str) -> Result<IpNet, Fault> {
    let invalid = || Fault::new(format!("invalid address prefix {}", quoted(text)), HELP);
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let full = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => full,
        Some(digits) => prefix_length(digits).ok_or_else(invalid)?,
    };
    let net = IpNet::new(address, length).map_err(|_| {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        Fault::new(
            format!("invalid address prefix {}", quoted(text)),
            format!("the length of an {family} prefix is 0 to {full}"),
        )
    })?;
    if net.trunc() != net {
        return Err(Fault::new(
            format!("address prefix {} has host bits set", quoted(text)),
            format!(
                "write \"{}\" for the network, or \"{address}/{full}\" for the one address",
                net.trunc()
            ),
        ));
    }
    refuse_what_never_matches(net)?;
    Ok(net)
}

fn prefix_length(digits: &str) -> Option<u8> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits == "0" || !digits.starts_with('0');
    (plain && canonical).then(|| digits.parse().ok()).flatten()
}

/// Refuses prefixes that no packet of a peer can match.
fn refuse_what_never_matches(net: IpNet) -> Result<(), Fault> {
    if let IpNet::V6(v6) = net
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.addr().to_ipv4_mapped()
    {
        return Err(Fault::new(
            format!("address prefix `{net}` is IPv4-mapped"),
            format!(
                "a mapped address inside an IPv6 header never matches; write \"{v4}/{}\"",
                v6.prefix_len() - 96
            ),
        ));
    }
    let loopback = match net {
        IpNet::V4(v4) => v4.addr().is_loopback() && v4.prefix_len() >= 8,
        IpNet::V6(v6) => v6.addr().is_loopback() && v6.prefix_len() == 128,
    };
    if loopback {
        return Err(Fault::new(
            format!("address prefix `{net}` is a loopback address"),
            "remove it: on lo everything passes, and on the wire a loopback address is always dropped",
        ));
    }
    Ok(())
}

/// Returns a warning for a valid prefix that is probably a mistake.
pub(super) fn doubt(net: IpNet) -> Option<Fault> {
    let single = net.prefix_len() == net.max_prefix_len();
    if single && net.addr().is_unspecified() {
        let all = if net.addr().is_ipv4() {
            "0.0.0.0/0"
        } else {
            "::/0"
        };
        return Some(Fault::new(
            format!("`{net}` is one address, which hosts do not send from"),
            format!("for all addresses of the family write \"{all}\", for all of both \"any\""),
        ));
    }
    let (multicast, least) = match net {
        IpNet::V4(v4) => (v4.addr().is_multicast(), 4),
        IpNet::V6(v6) => (v6.addr().is_multicast(), 8),
    };
    (multicast && net.prefix_len() >= least).then(|| {
        Fault::new(
            format!("`{net}` is multicast, which is never a source address"),
            "write the addresses that the peer sends from",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(text: &str) -> String {
        parse(text).unwrap_err().help.unwrap()
    }

    #[test]
    fn prefixes_and_single_addresses_are_taken() {
        for (text, shown) in [
            ("10.10.0.0/28", "10.10.0.0/28"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("10.10.0.5", "10.10.0.5/32"),
            ("fd00:10::5", "fd00:10::5/128"),
            ("FD00:10::/64", "fd00:10::/64"),
            // Wider than the special ranges: they also match addresses that do arrive.
            ("0.0.0.0/1", "0.0.0.0/1"),
            ("::/64", "::/64"),
            ("::ffff:0:0/80", ""),
        ] {
            match parse(text) {
                Ok(net) => assert_eq!(net.to_string(), shown),
                Err(fault) => assert!(shown.is_empty(), "{text}: {fault:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in [
            "",
            "/",
            "any",
            "10.10.0.0/",
            "10.10.0.0/33",
            "fd00::/129",
            "10.10.0/24",
            "010.0.0.0/8",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/256",
            " 10.0.0.0/8",
            "10.0.0.0/8 ",
            "fe80::1%wg0",
            "[fd00::1]/128",
            "10.0.0.0/8/8",
            "::1::2/64",
            "example.org",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn host_bits_are_shown_cleared() {
        assert_eq!(
            help("10.10.0.5/28"),
            "write \"10.10.0.0/28\" for the network, or \"10.10.0.5/32\" for the one address"
        );
        assert_eq!(
            help("fd00:10::1/64"),
            "write \"fd00:10::/64\" for the network, or \"fd00:10::1/128\" for the one address"
        );
    }

    #[test]
    fn mapped_and_loopback_prefixes_are_refused() {
        assert!(help("::ffff:10.10.0.0/124").ends_with("write \"10.10.0.0/28\""));
        assert!(help("::ffff:0:0/96").ends_with("write \"0.0.0.0/0\""));
        for text in [
            "127.0.0.1",
            "127.0.0.0/8",
            "127.8.0.0/16",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn doubtful_prefixes_are_named() {
        for text in [
            "0.0.0.0",
            "::",
            "224.0.0.0/4",
            "239.1.1.1",
            "ff00::/8",
            "ff02::1",
        ] {
            assert!(doubt(parse(text).unwrap()).is_some(), "{text:?}");
        }
        for text in ["0.0.0.0/0", "::/0", "192.0.0.0/2", "10.0.0.1", "fd00::/8"] {
            assert!(doubt(parse(text).unwrap()).is_none(), "{text:?}");
        }
    }
}
