//! The table of what each guard holds alone, and where one stands alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::rows::{Shown, shown};
use super::seen::{Facts, KernelLine, LACKS, Seen, Status};
use super::tables::line;
use super::why::why_of;
use crate::lab::enforcer::Guards;
use crate::scenarios::attack::{Attack, Control, attack_of};

/// The end of the names of scenarios in which traffic passes both guards.
const NOT_HELD: &str = "_is_not_held";

/// A scenario that is no attack by data, and shows that one guard stands alone.
struct Told<'a> {
    scenario: &'a str,
    wire: &'static str,
    socket: &'static str,
    stands: &'static str,
    why: &'static str,
}

const TOLD: [Told<'_>; 1] = [Told {
    scenario: "a24_a_cgroup_namespace::is_told",
    wire: "held",
    socket: "open, and told",
    stands: "wire",
    why: "the socket guard covers the sockets of its own cgroup alone",
}];

/// A row of the table, without the attacks.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alone {
    number: u8,
    group: String,
    wire: String,
    socket: String,
    stands: String,
    why: String,
}

/// Whether a guard need not hold the attack, on some kernel.
pub(super) fn differs(attack: &Attack) -> bool {
    let both = attack.wire.is_some() && attack.socket.is_some();
    !both || attack.wire_needs.is_some() || attack.wire_with.is_some()
}

/// The number of attacks that each guard holds alone, and a row for each of the others; `names` are
/// the names of all scenarios.
pub(super) fn table(attacks: &[Attack], names: &[String], seen: &Seen) -> String {
    let mut rows: BTreeMap<Alone, Vec<&str>> = BTreeMap::new();
    for attack in attacks.iter().filter(|attack| differs(attack)) {
        let (group, last) = attack.name.split_once("::").unwrap_or((attack.name, ""));
        let row = Alone {
            number: attack_of(attack.name).unwrap_or_default(),
            group: group.to_owned(),
            wire: cell(attack, Guards::Wire, seen),
            socket: cell(attack, Guards::Socket, seen),
            stands: stands(attack, seen),
            why: why(attack).unwrap_or_default(),
        };
        rows.entry(row).or_default().push(last);
    }
    let open = names.iter().filter(|name| name.ends_with(NOT_HELD));
    let open: BTreeSet<&String> = open.collect();
    let open = open.into_iter().map(|name| Told {
        scenario: name,
        wire: "open",
        socket: "open",
        stands: "neither: no guard holds",
        why: why_of(name).unwrap_or_default(),
    });
    for told in TOLD.into_iter().chain(open) {
        rows.entry(told.row(seen)).or_default().push("");
    }
    let both = attacks.iter().filter(|attack| !differs(attack)).count();
    let mut text = format!(
        "{both} of {} variants are held by each guard alone. These are not:\n\n",
        attacks.len()
    );
    line(
        &mut text,
        [
            "attack",
            "wire guard alone",
            "socket guard alone",
            "stands alone",
            "why",
        ]
        .map(str::to_owned)
        .into_iter(),
    );
    text.push_str("| --- | --- | --- | --- | --- |\n");
    for (row, variants) in rows {
        let name = match variants.as_slice() {
            [""] => format!("`{}`", row.group),
            _ => format!("`{}`: {}", row.group, variants.join(", ")),
        };
        let cells = [name, row.wire, row.socket, row.stands, row.why];
        line(&mut text, cells.into_iter());
    }
    text
}

impl Told<'_> {
    fn row(&self, seen: &Seen) -> Alone {
        let passed = |facts: &Facts| shown(self.scenario, facts) == Shown::Passed;
        let kernels = seen.kernels.iter().filter(|(_, facts)| passed(facts));
        let kernels: Vec<&KernelLine> = kernels.map(|(line, _)| line).collect();
        let cell = |words: &str| match kernels.as_slice() {
            [] => "not tried".to_owned(),
            kernels => with_kernels(words, kernels),
        };
        Alone {
            number: attack_of(self.scenario).unwrap_or_default(),
            group: self.scenario.to_owned(),
            wire: cell(self.wire),
            socket: cell(self.socket),
            stands: self.stands.to_owned(),
            why: self.why.to_owned(),
        }
    }
}

/// What a guard alone made of an attack, with the kernel lines of each outcome.
fn cell(attack: &Attack, guards: Guards, seen: &Seen) -> String {
    let mut outcomes: BTreeMap<String, Vec<&KernelLine>> = BTreeMap::new();
    for (line, facts) in &seen.kernels {
        let words = match facts.status(attack, guards) {
            Status::Held(reasons) => format!("held: {}", reasons.join(", ")),
            Status::Open => "open".to_owned(),
            Status::Unanswered => "no answer, no drop".to_owned(),
            Status::LeftOut(why) => left_out(&why),
            Status::Untried => continue,
        };
        outcomes.entry(words).or_default().push(line);
    }
    let outcomes = outcomes.iter().map(|(words, on)| with_kernels(words, on));
    let outcomes: Vec<String> = outcomes.collect();
    match outcomes.is_empty() {
        true => "not tried".to_owned(),
        false => outcomes.join("; "),
    }
}

/// Short words for the reason of a scenario that was left out.
fn left_out(why: &str) -> String {
    match why.strip_prefix(LACKS) {
        Some(feature) => format!("no {feature}"),
        None => "refused by the kernel".to_owned(),
    }
}

fn with_kernels(words: &str, kernels: &[&KernelLine]) -> String {
    let mut text = String::new();
    for (index, line) in kernels.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{line}");
    }
    format!("{words} ({text})")
}

/// The guard that stands alone, by what was seen.
fn stands(attack: &Attack, seen: &Seen) -> String {
    let on = |guards: Guards, wanted: fn(&Status) -> bool| -> Vec<&KernelLine> {
        let kernels = seen.kernels.iter();
        let kernels = kernels.filter(|(_, facts)| wanted(&facts.status(attack, guards)));
        kernels.map(|(line, _)| line).collect()
    };
    let is_held: fn(&Status) -> bool = |status| matches!(status, Status::Held(_));
    let [wire, socket] = [Guards::Wire, Guards::Socket].map(|one| on(one, is_held));
    let is_open: fn(&Status) -> bool = |status| *status == Status::Open;
    let is_silent: fn(&Status) -> bool = |status| *status == Status::Unanswered;
    let alone = |name: &str, other: Guards| {
        if !on(other, is_open).is_empty() {
            name.to_owned()
        } else if !on(other, is_silent).is_empty() {
            format!("{name} and stack")
        } else {
            format!("{name}; the other was not tried")
        }
    };
    match (wire.is_empty(), socket.is_empty()) {
        (true, true) => {
            let quiet = [Guards::Wire, Guards::Socket].map(|one| on(one, is_silent));
            let is_refused = quiet.iter().all(|on| !on.is_empty());
            let words = if is_refused { "stack" } else { "not shown" };
            words.to_owned()
        }
        (false, true) => alone("wire", Guards::Socket),
        (true, false) => alone("socket", Guards::Wire),
        (false, false) => {
            let opened = on(Guards::Socket, is_open);
            let by_wire = wire.iter().filter(|on| opened.contains(on));
            let by_socket = socket.iter().filter(|on| !wire.contains(on));
            let parts = [
                ("wire", by_wire.copied().collect::<Vec<_>>()),
                ("socket", by_socket.copied().collect()),
            ];
            let parts = parts.iter().filter(|(_, on)| !on.is_empty());
            let parts: Vec<String> = parts.map(|(name, on)| with_kernels(name, on)).collect();
            match parts.is_empty() {
                true => "neither: both hold".to_owned(),
                false => parts.join("; "),
            }
        }
    }
}

/// Why one guard stands alone.
fn why(attack: &Attack) -> Option<String> {
    if let Control::RefusedByTheStack(why) = attack.control {
        return Some(format!("the stack refuses too: {why}"));
    }
    why_of(attack.name).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack_list::every_name;
    use crate::lab::{Feature, Port};
    use crate::scenarios::attacks;
    use enforcer_ebpf::Reason::UntrustedInterface;

    #[test]
    fn every_attack_of_one_guard_has_a_reason_and_every_reason_an_attack() {
        let attacks = attacks::all();
        for attack in attacks.iter().filter(|attack| differs(attack)) {
            assert!(
                why(attack).is_some(),
                "{}: add a reason to WHY",
                attack.name
            );
        }
        for (start, _) in crate::evidence::why::WHY {
            let mut differing = attacks.iter().filter(|attack| differs(attack));
            assert!(
                differing.any(|attack| attack.name.starts_with(start)),
                "{start}"
            );
        }
        let names = every_name();
        for told in &TOLD {
            assert!(names.iter().any(|name| name == told.scenario));
        }
    }

    fn attack(name: &'static str) -> Attack {
        Attack::new(name, Port("udp", 8125), |_| anyhow::bail!("no stage"))
    }

    fn tried(attack: &str, guards: &str, outcome: &str, drops: &str) -> String {
        format!(
            r#"{{"kernel":"6.18.1","attempt":{{"attack":"{attack}","guards":"{guards}","demanded":false,"control":"reached","outcome":"{outcome}","drops":[{drops}]}}}}"#
        ) + "\n"
    }

    const DROP: &str = r#"{"guard":"wire","reason":"untrusted-interface"}"#;

    #[test]
    fn the_guard_that_is_not_named_shows_what_was_seen() {
        let dup = attack("a38_what_the_host_puts_on_lo::nft_dup").held_by_wire(UntrustedInterface);
        let quiet = attack("a15_sctp::an_init_without_a_listener")
            .held_by_wire(UntrustedInterface)
            .refused_by_the_stack("no listener");
        let both = attack("a05_x").held_by_both(UntrustedInterface);
        let mut seen = Seen::default();
        let text = tried(dup.name, "wire", "silence", DROP)
            + &tried(dup.name, "socket", "reached", "")
            + &tried(quiet.name, "wire", "silence", DROP)
            + &tried(quiet.name, "socket", "silence", "");
        seen.add(&text).unwrap();
        seen.add(&format!(
            "guest: up 6.1.0 after\ntest {}::each_guard_alone ... ok\n",
            dup.name
        ))
        .unwrap();
        let names = [
            "a38_x::mpls_is_not_held".to_owned(),
            "a38_x::mpls_is_not_held".to_owned(),
        ];
        seen.add(&format!(
            "guest: up 7.2.1 after\ntest {} ... ok\n",
            names[0]
        ))
        .unwrap();
        let table = table(&[dup, quiet, both], &names, &seen);
        assert!(table.starts_with("1 of 3 variants are held"), "{table}");
        let rows = [
            "| `a38_what_the_host_puts_on_lo`: nft_dup | held: untrusted-interface (6.1, 6.18) \
             | open (6.18) | wire | the socket guard takes",
            "| `a15_sctp`: an_init_without_a_listener | held: untrusted-interface (6.18) \
             | no answer, no drop (6.18) | wire and stack | the stack refuses too: no listener |",
            "| `a24_a_cgroup_namespace::is_told` | not tried | not tried | wire |",
            "| `a38_x::mpls_is_not_held` | open (7.2) | open (7.2) | neither: no guard holds |",
        ];
        for row in rows {
            assert!(table.contains(row), "{row}\n{table}");
        }
    }

    #[test]
    fn a_guard_may_stand_alone_on_some_kernels() {
        let dup = attack("a38_what_the_host_puts_on_lo::synproxy").held_by_wire(UntrustedInterface);
        let mut seen = Seen::default();
        let held =
            tried(dup.name, "wire", "silence", DROP) + &tried(dup.name, "socket", "silence", DROP);
        let open =
            tried(dup.name, "wire", "silence", DROP) + &tried(dup.name, "socket", "reached", "");
        seen.add(&(held + &open.replace("6.18.1", "6.12.1")))
            .unwrap();
        let table = table(&[dup], &[], &seen);
        assert!(
            table.contains("(6.18); open (6.12) | wire (6.12) |"),
            "{table}"
        );
    }

    #[test]
    fn a_guard_that_a_kernel_lacks_leaves_the_other_alone_there() {
        let relayed = attack("a35_relayed_multicast::of_a_container")
            .held_by_both(UntrustedInterface)
            .wire_with(Feature::Tcx);
        let log = format!("test {}::each_guard_alone ... ok\n", relayed.name);
        let no_tcx = "test a16_x ... ignored (this kernel has no tcx)\n";
        let mut seen = Seen::default();
        seen.add(&format!("guest: up 6.1.0 after\n{log}{no_tcx}"))
            .unwrap();
        seen.add(&format!("guest: up 6.12.1 after\n{log}")).unwrap();
        let table = table(&[relayed], &[], &seen);
        let row = "| held: untrusted-interface (6.12); no tcx (6.1) \
                   | held: untrusted-interface (6.1, 6.12) | socket (6.1) |";
        assert!(table.contains(row), "{table}");
    }
}
