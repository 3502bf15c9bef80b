//! A drop in words.

use std::{fmt::Write as _, net::IpAddr, net::Ipv6Addr};

use enforcer_ebpf::{Address, Family};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// A drop, or what would have been one under `audit`; the fields are the JSON of the design.
///
/// Where all but `time` and `merged` is null, a flood has ended, and `merged` is the rest of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, RFC 3339 in UTC.
    pub time: Timestamp,
    /// `wire` or `socket`.
    pub guard: Option<String>,
    /// `drop`, in audit mode too: what was counted.
    pub verdict: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Whether the packet passed all the same.
    pub audited: Option<bool>,
    /// The interface that it arrived on, by the name that it has now.
    pub interface: Option<String>,
    /// Its index.
    pub ifindex: Option<u32>,
    /// The source address.
    pub source: Option<IpAddr>,
    /// The source port, where the packet shows it.
    pub source_port: Option<u16>,
    /// The destination address.
    pub destination: Option<IpAddr>,
    /// The destination port.
    pub port: Option<u16>,
    /// The protocol.
    pub protocol: Option<String>,
    /// The service that the port belongs to.
    pub service: Option<String>,
    /// How many drops were counted since the record before and have none of their own.
    pub merged: u64,
}

/// The header above the lines of [`Record::line`].
pub const HEADER: &str =
    "TIME          GUARD   INTERFACE   SERVICE                  REASON               SOURCE";

impl Record {
    /// A line for people, in local time.
    pub fn line(&self) -> String {
        let zone = TimeZone::system();
        let time = self.time.to_zoned(zone).strftime("%H:%M:%S%.3f");
        let mut line = format!("{time:<13}", time = time.to_string());
        if let Some(reason) = &self.reason {
            let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let port = match (self.port, &self.protocol) {
                (Some(port), Some(protocol)) => format!(" {port}/{protocol}"),
                _ => String::new(),
            };
            let service = dash(&self.service) + &port;
            let (guard, interface) = (dash(&self.guard), dash(&self.interface));
            let source = match (self.source, self.source_port) {
                (Some(source @ IpAddr::V6(_)), Some(port)) => format!("[{source}]:{port}"),
                (Some(source), Some(port)) => format!("{source}:{port}"),
                (Some(source), None) => source.to_string(),
                (None, _) => "-".to_owned(),
            };
            // Writing to a string does not fail.
            let _ = write!(
                line,
                " {guard:<7} {interface:<11} {service:<24} {reason:<20} {source}"
            );
            if self.audited == Some(true) {
                line += " (audit: passed)";
            }
            if self.merged > 0 {
                let _ = write!(line, " (and {} more before)", self.merged);
            }
        } else {
            let _ = write!(line, " and {} more drops", self.merged);
        }
        line
    }
}

/// An address as the standard library has it.
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
    fn lines_say_what_happened() {
        let rest = Record {
            merged: 12,
            ..Record::default()
        };
        assert!(
            rest.line().ends_with(" and 12 more drops"),
            "{}",
            rest.line()
        );
        let drop = Record {
            guard: Some("wire".into()),
            reason: Some("untrusted-interface".into()),
            interface: Some("eth0".into()),
            source: Some("2001:db8::7".parse().unwrap()),
            source_port: Some(4711),
            port: Some(6379),
            protocol: Some("tcp".into()),
            service: Some("redis".into()),
            merged: 3,
            ..Record::default()
        };
        let line = drop.line();
        for part in [
            "wire",
            "eth0",
            "redis 6379/tcp",
            "[2001:db8::7]:4711",
            "(and 3 more before)",
        ] {
            assert!(line.contains(part), "{line}");
        }
        let column = |name: &str| HEADER.find(name).unwrap();
        assert_eq!(line.find("eth0"), Some(column("INTERFACE")));
        assert_eq!(line.find("untrusted"), Some(column("REASON")));
        assert_eq!(line.find('['), Some(column("SOURCE")));
    }

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
