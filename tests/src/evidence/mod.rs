//! The parts of `docs/attacks.md` that runs make: attacks held by kernel line, what each guard
//! holds alone, and traffic that went on.
//!
//! With `ENFORCER_ATTACKS=FILE` a run adds a line to the file for each scenario and each attempt
//! of an attack ([`record`]), and tries each guard alone where the attack's data demand nothing of
//! the guard. Guests have no such file: their output is read instead (`log`). `enforcer-tests
//! attacks` puts the tables of both into the page.

mod alone;
mod by_name;
mod log;
pub mod record;
mod rows;
mod seen;
mod tables;
mod why;

use anyhow::{Context, Result, anyhow, bail};

use crate::attack_list::{self, Status as Listing};
use crate::scenarios::attack::Attack;
use rows::Row;
use seen::Seen;

/// Names of the parts between the markers `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
const PARTS: [&str; 4] = [
    "attacks by kernel",
    "guards alone",
    "traffic by kernel",
    "by name",
];

/// What runs left behind.
#[derive(Debug, Default)]
pub struct Runs {
    /// Records and logs, with their names; a later input replaces an earlier one.
    pub inputs: Vec<(String, String)>,
    /// Release of the kernel of logs that name none.
    pub unnamed: Option<String>,
}

/// The page with the parts of these runs, and a note for each oddity of the runs.
///
/// `names` are the names of all scenarios.
///
/// # Errors
/// An input is neither record nor log; a scenario of the page failed; the page lacks a marker.
pub fn render(
    runs: &Runs,
    page: &str,
    attacks: &[Attack],
    names: &[String],
) -> Result<(String, Vec<String>)> {
    let mut seen = Seen {
        unnamed: runs.unnamed.clone(),
        ..Seen::default()
    };
    for (name, text) in &runs.inputs {
        seen.add(text)
            .with_context(|| format!("failed to read {name}"))?;
    }
    let list = rows_of_attacks(page, names)?;
    let traffic = rows_of_traffic(page, names);
    let is_listed = |name: &str| list.iter().chain(&traffic).any(|row| row.has(name));
    let failures = seen.failures(is_listed);
    if !failures.is_empty() {
        bail!(
            "runs with failures make no page: mend, or repeat and give the repetition as a later \
             input: {}",
            failures.join(", ")
        );
    }
    let parts = [
        tables::attacks(&list, attacks, &seen),
        alone::table(attacks, names, &seen),
        tables::traffic(&traffic, &seen),
        by_name::tables(&list, &traffic, attacks, &seen),
    ];
    let mut page = page.to_owned();
    for (name, part) in PARTS.iter().zip(parts) {
        page = between(&page, name, &part)?;
    }
    Ok((page, notes(&seen, is_listed)))
}

/// The rows of the attack list.
fn rows_of_attacks(page: &str, names: &[String]) -> Result<Vec<Row>> {
    let listed = attack_list::parse(page).map_err(|error| anyhow!(error))?;
    let rows = listed.into_iter().filter_map(|one| match one.status {
        Listing::Built(prefixes) => Some(Row::new(format!("A{}", one.number), prefixes, names)),
        Listing::Open => None,
    });
    Ok(rows.collect())
}

/// The rows of the traffic that must go on.
fn rows_of_traffic(page: &str, names: &[String]) -> Vec<Row> {
    let rows = attack_list::traffic(page).into_iter();
    rows.map(|row| Row::new(row.words, row.prefixes, names))
        .collect()
}

fn between(page: &str, name: &str, part: &str) -> Result<String> {
    let [begin, end] = ["begin", "end"].map(|word| format!("<!-- {name}: {word} -->"));
    let missing = |marker: &str| format!("the page has no line `{marker}`");
    let (before, rest) = page
        .split_once(begin.as_str())
        .with_context(|| missing(&begin))?;
    let (_, after) = rest
        .split_once(end.as_str())
        .with_context(|| missing(&end))?;
    Ok(format!("{before}{begin}\n{part}{end}{after}"))
}

/// What the maker of the page should know of the runs.
fn notes(seen: &Seen, is_listed: impl Fn(&str) -> bool) -> Vec<String> {
    let others = seen.failures(|name| !is_listed(name));
    let others = others
        .iter()
        .map(|failure| format!("{failure} failed; the page does not speak of this scenario"));
    let repeated = seen
        .repeated
        .iter()
        .map(|(line, name)| format!("{name} on {line} failed, and passed in a later input"));
    others.chain(repeated).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::attacks;

    const PAGE: &str = include_str!("../../../docs/attacks.md");

    fn part(name: &str) -> &'static str {
        let [begin, end] = ["begin", "end"].map(|word| format!("<!-- {name}: {word} -->"));
        let rest = PAGE.split_once(begin.as_str()).unwrap().1;
        rest.split_once(end.as_str()).unwrap().0
    }

    /// The cells of each row of the tables in a part, without heads and rules.
    fn cells(name: &str) -> Vec<Vec<&'static str>> {
        let lines: Vec<&str> = part(name).lines().collect();
        let is_head = |index: usize| {
            let below = lines.get(index + 1);
            below.is_some_and(|below| below.starts_with("| ---"))
        };
        let rows = lines.iter().enumerate().filter(|(index, line)| {
            line.starts_with('|') && !line.starts_with("| ---") && !is_head(*index)
        });
        let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim);
        rows.map(|(_, line)| cells(line).collect()).collect()
    }

    #[test]
    fn the_tables_name_every_attack_and_all_traffic() {
        let names = attack_list::every_name();
        let pairs = [
            (PARTS[0], rows_of_attacks(PAGE, &names).unwrap()),
            (PARTS[2], rows_of_traffic(PAGE, &names)),
        ];
        for (part, rows) in pairs {
            let made: Vec<&str> = cells(part).iter().map(|cells| cells[0]).collect();
            let listed: Vec<&str> = rows.iter().map(|row| row.title.as_str()).collect();
            assert_eq!(made, listed, "make the page anew: {part}");
        }
    }

    #[test]
    fn every_row_has_as_many_cells_as_the_row_above() {
        let count = |line: &str| line.matches('|').count();
        for name in PARTS {
            let lines: Vec<&str> = part(name).lines().collect();
            for pair in lines.windows(2).filter(|pair| pair[0].starts_with('|')) {
                let ends = pair[1].is_empty();
                assert!(ends || count(pair[0]) == count(pair[1]), "{name}: {pair:?}");
            }
        }
    }

    #[test]
    fn an_attack_with_one_guard_stands_in_the_table_of_guards_alone() {
        let table = part(PARTS[1]);
        for attack in attacks::all() {
            let last = attack.name.rsplit("::").next().unwrap();
            let is_named = table.contains(last);
            assert!(is_named || !alone::differs(&attack), "{}", attack.name);
        }
    }

    const SMALL: &str = "
| A1 | one | CVE | W | `a01_x` |

<!-- attacks by kernel: begin -->
| A1 | former |
<!-- attacks by kernel: end -->
<!-- guards alone: begin -->
<!-- guards alone: end -->

## Traffic that must go on

| lo | `goes_on::loopback::` |
<!-- traffic by kernel: begin -->
<!-- traffic by kernel: end -->
<!-- by name: begin -->
<!-- by name: end -->
the end
";
    const LOG: &str = "guest: up 6.1.0-56 after 4 s
test a01_x ... ok
test goes_on::loopback::ipv4 ... ok
test cli::x ... ok
";

    fn rendered(log: &str, page: &str) -> Result<(String, Vec<String>)> {
        let names = ["a01_x", "goes_on::loopback::ipv4", "cli::x"].map(str::to_owned);
        let runs = Runs {
            inputs: vec![("vm.log".to_owned(), log.to_owned())],
            unnamed: None,
        };
        render(&runs, page, &[], &names)
    }

    #[test]
    fn tables_stand_between_the_markers() {
        let (page, notes) = rendered(LOG, SMALL).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        assert!(page.ends_with("<!-- by name: end -->\nthe end\n"), "{page}");
        assert!(!page.contains("former"), "{page}");
        let (again, _) = rendered(LOG, &page).unwrap();
        assert_eq!(again, page);
    }

    #[test]
    fn a_failed_scenario_of_the_page_refuses_the_page() {
        for name in ["a01_x", "goes_on::loopback::ipv4"] {
            let failed = LOG.replace(&format!("{name} ... ok"), &format!("{name} ... FAILED"));
            let error = rendered(&failed, SMALL).unwrap_err().to_string();
            assert!(error.contains(&format!("{name} on 6.1")), "{error}");
        }
    }

    #[test]
    fn a_failure_elsewhere_is_noted() {
        let failed = LOG.replace("cli::x ... ok", "cli::x ... FAILED");
        let (_, notes) = rendered(&failed, SMALL).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].starts_with("cli::x on 6.1 failed"), "{notes:?}");
    }

    #[test]
    fn a_page_without_a_marker_is_refused() {
        let page = SMALL.replace("<!-- guards alone: end -->", "");
        let error = rendered(LOG, &page).unwrap_err().to_string();
        assert!(error.contains("<!-- guards alone: end -->"), "{error}");
    }
}
