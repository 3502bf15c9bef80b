//! Addresses of this host in a service's `on`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::Fault;
use super::read::TableReader;
use super::source::Span;
use super::suggest::quoted;

const EXAMPLE: &str = "`on = [\"192.168.1.10\", \"fd00::1\"]`, with addresses of this host";
const HELP: &str = "write an address of this host, as `ip address` shows it, such as \"192.168.1.10\" or \"fd00::1\"";

/// Reads the value of `on`: the addresses and the span of each item.
pub(super) fn read(
    reader: &mut TableReader<'_>,
    value: &Spanned<DeValue<'_>>,
) -> BTreeMap<IpAddr, Span> {
    let mut addresses = BTreeMap::new();
    let Some(items) = reader.array("`on`", value, EXAMPLE) else {
        return addresses;
    };
    if items.is_empty() {
        let help = format!("write {EXAMPLE}, or leave `on` out for every address");
        reader.error(value.span(), Fault::new("`on` is empty", help));
    }
    for item in items {
        let Some(text) = reader.string("an item of `on`", item, EXAMPLE) else {
            continue;
        };
        let Some(address) = reader.noted(item.span(), parse(text)) else {
            continue;
        };
        let at = reader.place(item.span());
        if let Some(first) = addresses.insert(address, at) {
            addresses.insert(address, first);
            let message = format!("{} is listed twice", quoted(text));
            reader.warning(item.span(), Fault::new(message, "remove one"));
        }
    }
    addresses
}

/// Parses an address that a host may have on the wire: unicast, without a prefix length.
///
/// The standard library refuses leading zeros, which some tools take for octal.
fn parse(text: &str) -> Result<IpAddr, Fault> {
    let address: IpAddr = text.parse().map_err(|_| invalid(text))?;
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return Err(Fault::new(
            format!("address {} is IPv4-mapped", quoted(text)),
            format!("packets on the wire carry the IPv4 address: write \"{v4}\""),
        ));
    }
    let (what, help) = match address {
        address if address.is_loopback() => (
            "a loopback address",
            "remove it: on lo everything passes, and on the wire a loopback address is always dropped",
        ),
        address if address.is_multicast() => ("multicast, and no address of a host", HELP),
        address if address.is_unspecified() => (
            "the unspecified address",
            "leave `on` out for a service at every address",
        ),
        // RFC 1122, section 3.2.1.3: "this network", and the limited broadcast.
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4 == Ipv4Addr::BROADCAST => {
            ("no address of a host", HELP)
        }
        address => return Ok(address),
    };
    Err(Fault::new(
        format!("address {} is {what}", quoted(text)),
        help,
    ))
}

fn invalid(text: &str) -> Fault {
    let address = text.split(['/', '%']).next().unwrap_or(text);
    let help = match address.parse::<IpAddr>() {
        Ok(address) if text.contains('/') => {
            format!("`on` takes single addresses, without a prefix length: write \"{address}\"")
        }
        Ok(address) => {
            format!("an address counts on every interface that has it: write \"{address}\"")
        }
        Err(_) => HELP.to_owned(),
    };
    Fault::new(format!("invalid address {}", quoted(text)), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_hosts_are_taken() {
        for text in [
            "192.168.1.10",
            "10.88.0.1",
            "fd00::1",
            "fe80::1",
            "2001:db8::1",
            "1.0.0.0",
            "255.255.255.254",
        ] {
            assert_eq!(parse(text), Ok(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn other_addresses_are_refused_with_a_reason() {
        for (text, message) in [
            ("", "invalid address ``"),
            ("localhost", "invalid address `localhost`"),
            ("192.168.1", "invalid address `192.168.1`"),
            ("192.168.1.010", "invalid address `192.168.1.010`"),
            ("192.168.1.0/24", "invalid address `192.168.1.0/24`"),
            ("fe80::1%eth0", "invalid address `fe80::1%eth0`"),
            ("127.0.0.2", "address `127.0.0.2` is a loopback address"),
            ("::1", "address `::1` is a loopback address"),
            (
                "::ffff:127.0.0.1",
                "address `::ffff:127.0.0.1` is IPv4-mapped",
            ),
            (
                "224.0.0.251",
                "address `224.0.0.251` is multicast, and no address of a host",
            ),
            (
                "ff02::fb",
                "address `ff02::fb` is multicast, and no address of a host",
            ),
            ("0.0.0.0", "address `0.0.0.0` is the unspecified address"),
            ("::", "address `::` is the unspecified address"),
            ("0.1.2.3", "address `0.1.2.3` is no address of a host"),
            (
                "255.255.255.255",
                "address `255.255.255.255` is no address of a host",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().message, message);
        }
    }

    #[test]
    fn a_prefix_and_a_zone_name_the_address() {
        let help = |text| parse(text).unwrap_err().help.unwrap();
        assert!(help("192.168.1.10/24").ends_with("write \"192.168.1.10\""));
        assert!(help("fe80::1%eth0").ends_with("write \"fe80::1\""));
        assert!(help("::ffff:10.0.0.1").ends_with("write \"10.0.0.1\""));
        assert_eq!(help("host/24"), HELP);
    }
}
