//! The ports that a policy guards and the next one does not.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::Protocol;

use super::tables::PolicyTables;
use crate::note::{Note, NoteKind};

/// Returns a note for each service with ports that the next policy does not register: these are
/// open from the switch on. A port that another service takes over is not among them.
pub(crate) fn released(now: &PolicyTables, next: &PolicyTables) -> Vec<Note> {
    let mut services: BTreeMap<&str, BTreeMap<Protocol, BTreeSet<u16>>> = BTreeMap::new();
    for &(protocol, port) in now.ports.keys() {
        if next.ports.contains_key(&(protocol, port)) {
            continue;
        }
        let name = now.service_of(protocol, port).unwrap_or("(unknown)");
        let of_service = services.entry(name).or_default();
        of_service.entry(protocol).or_default().insert(port);
    }
    let note = |(name, ports): (&str, BTreeMap<Protocol, BTreeSet<u16>>)| {
        let count: usize = ports.values().map(BTreeSet::len).sum();
        let are = match count {
            1 => "is",
            _ => "are",
        };
        let of_protocols: Vec<String> = ports.iter().map(listed).collect();
        let text = format!(
            "service {name}: {} {are} guarded no longer",
            of_protocols.join(" and ")
        );
        Note::new(NoteKind::PortsReleased, text)
    };
    services.into_iter().map(note).collect()
}

/// Returns ports in words, such as "tcp ports 80, 9000-9001".
fn listed((protocol, ports): (&Protocol, &BTreeSet<u16>)) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &port in ports {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            _ => ranges.push((port, port)),
        }
    }
    let words = ranges.iter().map(|&(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let words: Vec<String> = words.collect();
    let noun = match ports.len() {
        1 => "port",
        _ => "ports",
    };
    format!("{protocol} {noun} {}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{PolicyHost, Slots, compile, tests::registry};

    fn tables(text: &str) -> PolicyTables {
        compile(&registry(text), &PolicyHost::of(&[]), &Slots::new()).unwrap()
    }

    #[test]
    fn each_port_that_goes_is_named() {
        let now = "[services.a]\nports = [1, \"5-7\", 9]\nprotocol = [\"tcp\", \"udp\"]\n\
                   [services.b]\nports = [65535]\n[services.c]\nports = [3]\n";
        for (next, expected) in [
            (now, &[][..]),
            (
                "[services.c]\nports = [3]\n",
                &[
                    "service a: tcp ports 1, 5-7, 9 and udp ports 1, 5-7, 9 are guarded no longer",
                    "service b: tcp port 65535 is guarded no longer",
                ][..],
            ),
            (
                "[services.a]\nports = [1, \"5-7\"]\nprotocol = [\"tcp\", \"udp\"]\n\
                 [services.new]\nports = [9, 65535, 3, 4]\n",
                &["service a: udp port 9 is guarded no longer"][..],
            ),
        ] {
            let notes = released(&tables(now), &tables(next));
            let texts: Vec<&str> = notes.iter().map(|note| note.text.as_str()).collect();
            assert_eq!(texts, expected, "{next}");
            assert!(
                notes
                    .iter()
                    .all(|note| note.kind == NoteKind::PortsReleased)
            );
        }
    }
}
