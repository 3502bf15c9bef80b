//! The tables of attacks and of traffic by kernel line: a row each, and numbers of variants.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::rows::Row;
use super::seen::{Seen, Status};
use crate::lab::enforcer::Guards;
use crate::scenarios::attack::{Attack, Control};

/// The releases that ran, and a row for each attack of the list.
pub(super) fn attacks(rows: &[Row], attacks: &[Attack], seen: &Seen) -> String {
    let mut text = releases(seen);
    text.push_str(&head(
        "id",
        &["variants", "on two kernels or more", "control"],
        seen,
        &["dropped as"],
    ));
    for row in rows {
        let own: Vec<&Attack> = attacks.iter().filter(|one| row.has(one.name)).collect();
        let cells = [
            row.title.clone(),
            row.variants.len().to_string(),
            on_two_kernels(row, seen),
            control(&own, row.variants.len()),
        ];
        let last = std::iter::once(reasons(&own, seen));
        let cells = cells.into_iter().chain(by_kernel(row, seen)).chain(last);
        line(&mut text, cells);
    }
    text
}

/// A row for each line of traffic that must go on.
pub(super) fn traffic(rows: &[Row], seen: &Seen) -> String {
    let mut text = head(
        "traffic",
        &["variants", "on two kernels or more"],
        seen,
        &[],
    );
    for row in rows {
        let cells = [
            row.title.clone(),
            row.variants.len().to_string(),
            on_two_kernels(row, seen),
        ];
        line(&mut text, cells.into_iter().chain(by_kernel(row, seen)));
    }
    text
}

/// The releases of each kernel line.
fn releases(seen: &Seen) -> String {
    let mut text = String::from("Kernels of these runs:\n\n");
    for (line, facts) in &seen.kernels {
        let releases: Vec<&str> = facts.releases.iter().map(String::as_str).collect();
        let _ = writeln!(text, "- {line}: {}", releases.join(", "));
    }
    text + "\n"
}

/// The head of a table, with a column for each kernel line.
pub(super) fn head(first: &str, before: &[&str], seen: &Seen, after: &[&str]) -> String {
    let lines = seen.kernels.keys().map(ToString::to_string);
    let before = before.iter().map(|word| (*word).to_owned());
    let after = after.iter().map(|word| (*word).to_owned());
    let words = std::iter::once(first.to_owned());
    let words: Vec<String> = words.chain(before).chain(lines).chain(after).collect();
    let mut text = String::new();
    line(&mut text, words.iter().cloned());
    line(&mut text, words.iter().map(|_| "---".to_owned()));
    text
}

/// Adds a row to a table.
pub(super) fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Number of variants with two kernels or more, with the kernels of the row where these are fewer.
fn on_two_kernels(row: &Row, seen: &Seen) -> String {
    let kernels: Vec<String> = seen
        .kernels
        .iter()
        .filter(|(_, facts)| row.count(facts).0 > 0)
        .map(|(line, _)| line.to_string())
        .collect();
    match kernels.as_slice() {
        [] => "**no run**".to_owned(),
        [line] => format!("**{line} alone**"),
        _ => row.on_two_kernels(seen).to_string(),
    }
}

fn by_kernel<'a>(row: &'a Row, seen: &'a Seen) -> impl Iterator<Item = String> + 'a {
    seen.kernels.values().map(|facts| match row.count(facts) {
        (0, 0) => "-".to_owned(),
        (passed, 0) => passed.to_string(),
        (passed, left_out) => format!("{passed} ({left_out} left out)"),
    })
}

/// The controls of attacks, as their data demand them.
fn control(attacks: &[&Attack], variants: usize) -> String {
    let count = |wanted: fn(Control) -> bool| {
        let controls = attacks.iter().map(|attack| attack.control);
        controls.filter(|control| wanted(*control)).count()
    };
    let parts = [
        (count(|control| control == Control::Reached), "reached"),
        (
            count(|control| matches!(control, Control::RefusedByTheStack(_))),
            "refused by the stack",
        ),
        (
            count(|control| matches!(control, Control::UpToTheKernel(_))),
            "up to the kernel",
        ),
        (variants.saturating_sub(attacks.len()), "in own steps"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    parts.join(", ")
}

/// The reasons that each guard alone counted.
fn reasons(attacks: &[&Attack], seen: &Seen) -> String {
    let of = |guards: Guards| -> BTreeSet<String> {
        let statuses = attacks.iter().flat_map(|attack| {
            let kernels = seen.kernels.values();
            kernels.map(move |facts| facts.status(attack, guards))
        });
        let held = statuses.filter_map(|status| match status {
            Status::Held(reasons) => Some(reasons),
            _ => None,
        });
        held.flatten()
            .flat_map(|reason| {
                let words = reason.split(" or ").map(str::to_owned);
                words.collect::<Vec<_>>()
            })
            .collect()
    };
    let guards = [("W", of(Guards::Wire)), ("S", of(Guards::Socket))];
    let guards = guards
        .into_iter()
        .filter(|(_, reasons)| !reasons.is_empty());
    let guards: Vec<String> = guards
        .map(|(letter, reasons)| {
            let reasons: Vec<String> = reasons.into_iter().collect();
            format!("{letter}: {}", reasons.join(", "))
        })
        .collect();
    guards.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Port;
    use enforcer_ebpf::Reason;

    fn seen() -> Seen {
        let mut seen = Seen::default();
        let log = "guest: up 6.1.0-56 after 4 s
test a01_x::tcp::each_guard_alone ... ok
test a01_x::sctp::each_guard_alone ... ignored (this kernel has no SCTP)
test goes_on::loopback::ipv4 ... ok
";
        seen.add(log).unwrap();
        seen.add(&log.replace("6.1.0-56", "7.2.12")).unwrap();
        seen
    }

    fn row(title: &str, prefix: &str) -> Row {
        let names = [
            "a01_x::tcp::both",
            "a01_x::sctp::both",
            "a09_boot::x",
            "goes_on::loopback::ipv4",
        ];
        let names = names.map(str::to_owned);
        Row::new(title.to_owned(), vec![prefix.to_owned()], &names)
    }

    fn attack() -> Attack {
        Attack::new("a01_x::tcp", Port("tcp", 9200), |_| {
            anyhow::bail!("no stage")
        })
        .held_by_wire(Reason::LoopbackAddress)
        .held_by_socket(Reason::UntrustedInterface)
    }

    #[test]
    fn an_attack_has_numbers_by_kernel_and_reasons() {
        let rows = [row("A1", "a01_"), row("A9", "a09_")];
        let table = attacks(&rows, &[attack()], &seen());
        let expected = "Kernels of these runs:

- 6.1: 6.1.0-56
- 7.2: 7.2.12

| id | variants | on two kernels or more | control | 6.1 | 7.2 | dropped as |
| --- | --- | --- | --- | --- | --- | --- |
| A1 | 2 | 1 | 1 reached, 1 in own steps | 1 (1 left out) | 1 (1 left out) | W: loopback-address; S: untrusted-interface |
| A9 | 1 | **no run** | 1 in own steps | - | - |  |
";
        assert_eq!(table, expected);
    }

    #[test]
    fn a_row_of_one_kernel_says_so() {
        let mut seen = seen();
        seen.add("guest: up 7.2.12 after\ntest a09_boot::x ... ok")
            .unwrap();
        let table = attacks(&[row("A9", "a09_")], &[], &seen);
        assert!(table.contains("| A9 | 1 | **7.2 alone** |"), "{table}");
    }

    #[test]
    fn traffic_has_numbers_by_kernel() {
        let table = traffic(&[row("lo", "goes_on::loopback::")], &seen());
        assert!(table.ends_with("| lo | 1 | 1 | 1 | 1 |\n"), "{table}");
    }
}
