//! A drop as data.

use std::net::{IpAddr, Ipv6Addr};

use enforcer_ebpf::{Address, Family};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A drop, or a would-be drop under `audit`; the fields are the JSON of the design.
///
/// A record with `null` in every field but `time` and `merged` ends a flood, and `merged` is the
/// rest of the flood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The time, RFC 3339 in UTC.
    pub time: Timestamp,
    /// `wire` or `socket`.
    pub guard: Option<String>,
    /// The counted verdict: `drop`, in audit mode too.
    pub verdict: Option<String>,
    /// The reason.
    pub reason: Option<String>,
    /// Whether audit mode let the packet pass.
    pub audited: Option<bool>,
    /// The arriving interface, by the name of now.
    pub interface: Option<String>,
    /// The interface's ifindex.
    pub ifindex: Option<u32>,
    /// The source address.
    pub source: Option<IpAddr>,
    /// The source port, where the packet shows one.
    pub source_port: Option<u16>,
    /// The destination address.
    pub destination: Option<IpAddr>,
    /// The destination port.
    pub port: Option<u16>,
    /// The protocol.
    pub protocol: Option<String>,
    /// The service of the port at the destination.
    pub service: Option<String>,
    /// The number of drops since the record before that have no record of their own.
    pub merged: u64,
}

/// Returns an address in the standard library's type.
pub(crate) fn ip(address: &Address) -> IpAddr {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an IPv4 address has 32 bits"
    )]
    let low = address.low() as u32;
    match address.family() {
        Family::V4 => IpAddr::V4(low.into()),
        Family::V6 => {
            let bits = u128::from(address.high()) << 64 | u128::from(address.low());
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_every_field_of_the_design() {
        let json = serde_json::to_value(Record::default()).unwrap();
        let mut names: Vec<&str> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        let mut promised = [
            "time",
            "guard",
            "verdict",
            "reason",
            "audited",
            "interface",
            "ifindex",
            "source",
            "source_port",
            "destination",
            "port",
            "protocol",
            "service",
            "merged",
        ];
        promised.sort_unstable();
        assert_eq!(names, promised);
    }

    #[test]
    fn addresses_keep_their_family() {
        let of = |text: &str| ip(&Address::from(text.parse::<IpAddr>().unwrap())).to_string();
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), "::ffff:192.0.2.1");
        assert_eq!(of("2001:db8::1"), "2001:db8::1");
    }
}
