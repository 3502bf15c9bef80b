//! A drop as a line for people.

use std::{fmt::Write as _, net::IpAddr};

use jiff::tz::TimeZone;

use crate::{commands::output::padded, inspect::events::Record, printable::name};

/// The header above the lines of [`line()`].
pub(super) const HEADER: &str =
    "TIME          GUARD   INTERFACE   SERVICE                  REASON               SOURCE";

/// Returns a drop as a line, with the time in a time zone.
pub(super) fn line(record: &Record, zone: TimeZone) -> String {
    let time = record.time.to_zoned(zone).strftime("%H:%M:%S%.3f");
    let mut line = format!("{time:<13}", time = time.to_string());
    // Writing to a string does not fail.
    let Some(reason) = &record.reason else {
        _ = write!(line, " and {} more drops", record.merged);
        return line;
    };
    let dash = |text: &Option<String>| match text {
        Some(text) => name(text).into_owned(),
        None => "-".to_owned(),
    };
    let port = match (record.port, &record.protocol) {
        (Some(port), Some(protocol)) => format!(" {port}/{protocol}"),
        _ => String::new(),
    };
    let service = dash(&record.service) + &port;
    let (guard, interface) = (dash(&record.guard), dash(&record.interface));
    let source = source(record);
    let (interface, service) = (padded(&interface, 11), padded(&service, 24));
    _ = write!(
        line,
        " {guard:<7} {interface} {service} {reason:<20} {source}"
    );
    if record.audited == Some(true) {
        line += " (audit: passed)";
    }
    if record.merged > 0 {
        _ = write!(line, " (and {} more before)", record.merged);
    }
    line
}

fn source(record: &Record) -> String {
    match (record.source, record.source_port) {
        (Some(source @ IpAddr::V6(_)), Some(port)) => format!("[{source}]:{port}"),
        (Some(source), Some(port)) => format!("{source}:{port}"),
        (Some(source), None) => source.to_string(),
        (None, _) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::snapshots::assert_snapshot;

    fn drop() -> Record {
        Record {
            time: "2026-03-04T05:06:07.89Z".parse().unwrap(),
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
        }
    }

    fn rest() -> Record {
        Record {
            merged: 12,
            ..Record::default()
        }
    }

    #[test]
    fn lines() {
        let audited = Record {
            guard: Some("socket".into()),
            interface: Some("eth\u{1b}[2J".into()),
            source: Some("192.0.2.7".parse().unwrap()),
            source_port: None,
            port: None,
            service: None,
            reason: Some("malformed".into()),
            audited: Some(true),
            merged: 0,
            ..drop()
        };
        let records = [drop(), audited, rest()];
        let lines = records
            .map(|record| line(&record, TimeZone::UTC))
            .join("\n");
        assert_snapshot("events", |_| format!("{HEADER}\n{lines}"));
    }

    #[test]
    fn lines_say_what_happened() {
        let last = line(&rest(), TimeZone::UTC);
        assert!(last.ends_with(" and 12 more drops"), "{last}");
        let line = line(&drop(), TimeZone::UTC);
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
}
