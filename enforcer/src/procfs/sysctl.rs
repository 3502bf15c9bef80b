//! Settings of the network namespace: /proc/sys/net.

use std::{fs, io, ops::RangeInclusive};

use anyhow::{Context as _, Result};

/// The range of automatic ports, which TCP, UDP and SCTP share.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Whether netfilter's IP hooks run on the members of bridges; absent without br_netfilter.
pub(crate) const BRIDGE_NF_CALL: [&str; 2] = [
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
];

/// Whether these hooks look through VLAN tags; absent without br_netfilter.
pub(crate) const BRIDGE_FILTER_VLAN_TAGGED: &str =
    "/proc/sys/net/bridge/bridge-nf-filter-vlan-tagged";

/// Returns the ports that the kernel assigns to outgoing connections.
///
/// # Errors
/// The setting cannot be read, or is not a range.
pub(crate) fn local_port_range() -> Result<RangeInclusive<u16>> {
    let text = fs::read_to_string(PORT_RANGE);
    let text = text.with_context(|| format!("failed to read {PORT_RANGE}"))?;
    parse_range(&text)
        .with_context(|| format!("failed to understand {PORT_RANGE}: {}", text.trim()))
}

/// Returns whether a setting differs from 0; false for an absent one.
///
/// # Errors
/// The setting is there, and cannot be read.
pub(crate) fn is_on(path: &str) -> io::Result<bool> {
    match fs::read_to_string(path) {
        Ok(value) => Ok(value.trim() != "0"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether an interface forwards packets of IPv4, or of IPv6; false for an interface
/// without the protocol.
///
/// # Errors
/// The setting is there, and cannot be read.
pub(crate) fn forwards(interface: &str, is_ipv6: bool) -> io::Result<bool> {
    let protocol = if is_ipv6 { "ipv6" } else { "ipv4" };
    is_on(&format!(
        "/proc/sys/net/{protocol}/conf/{interface}/forwarding"
    ))
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    Some(numbers.next()?..=numbers.next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_numbers() {
        assert_eq!(parse_range("32768\t60999\n"), Some(32768..=60999));
        for bad in ["", "32768\n", "a b", "70000 80000"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
        assert!(local_port_range().is_ok());
    }

    #[test]
    fn an_absent_setting_is_off() {
        assert!(!is_on("/proc/sys/net/no/such/setting").unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("setting");
        for (text, expected) in [("0\n", false), ("1\n", true), ("2\n", true)] {
            fs::write(&path, text).unwrap();
            assert_eq!(is_on(path.to_str().unwrap()).unwrap(), expected, "{text}");
        }
        assert!(is_on(folder.path().to_str().unwrap()).is_err());
    }

    #[test]
    fn root_interfaces_forward_each_protocol_apart() {
        use crate::netlink::tests::namespace::in_new_namespace;
        in_new_namespace(|| {
            for is_ipv6 in [false, true] {
                let on = if is_ipv6 { "ipv6" } else { "ipv4" };
                for protocol in ["ipv4", "ipv6"] {
                    let path = format!("/proc/sys/net/{protocol}/conf/lo/forwarding");
                    fs::write(path, if protocol == on { "1" } else { "0" }).unwrap();
                }
                assert!(forwards("lo", is_ipv6).unwrap());
                assert!(!forwards("lo", !is_ipv6).unwrap());
            }
            assert!(!forwards("none", false).unwrap());
        });
    }
}
