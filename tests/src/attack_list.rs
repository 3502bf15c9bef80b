//! The tables of `docs/attacks.md` that people write, and the test that they and the scenarios
//! agree.

#[cfg(test)]
use crate::scenarios::attack::attack_of;
use crate::{scenarios, system, test_run};

/// An attack of the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) number: u8,
    pub(crate) status: Status,
}

/// Status of an attack, by the last column of the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Known, and not held yet.
    Open,
    /// Held, as shown by scenarios with names of these prefixes.
    Built(Vec<String>),
}

/// The lines of a page without the parts that a run makes, between `<!-- NAME: begin -->` and
/// `<!-- NAME: end -->`.
fn by_hand(text: &str) -> impl Iterator<Item = &str> {
    let mut is_made = false;
    text.lines().filter(move |line| {
        let marks = |word: &str| line.starts_with("<!-- ") && line.ends_with(word);
        is_made = (is_made || marks(": begin -->")) && !marks(": end -->");
        !is_made
    })
}

/// The attacks of a Markdown text: table rows that begin like `| A5 |`. A row is either built or
/// open; anything else is an error.
pub(crate) fn parse(text: &str) -> Result<Vec<Listed>, String> {
    let mut listed = Vec::new();
    for line in by_hand(text) {
        let Some(row) = line.trim().strip_prefix('|') else {
            continue;
        };
        let mut cells = row
            .trim_end()
            .trim_end_matches('|')
            .split('|')
            .map(str::trim);
        let number = cells.next().and_then(|id| id.strip_prefix('A'));
        let Some(number) = number.and_then(|number| number.parse().ok()) else {
            continue;
        };
        let last = cells.next_back().unwrap_or_default();
        let status = match prefixes(last) {
            prefixes if !prefixes.is_empty() => Status::Built(prefixes),
            _ if last == "open" => Status::Open,
            _ => {
                return Err(format!(
                    "A{number} names no scenario, and is not open: {line}"
                ));
            }
        };
        if listed.iter().any(|one: &Listed| one.number == number) {
            return Err(format!("A{number} stands in the list twice"));
        }
        listed.push(Listed { number, status });
    }
    Ok(listed)
}

/// The words in backticks.
fn prefixes(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Every disagreement between the list and the scenarios.
#[cfg(test)]
fn differences(list: &[Listed], scenarios: &[String]) -> Vec<String> {
    let mut differences = Vec::new();
    for Listed { number, status } in list {
        let Status::Built(prefixes) = status else {
            continue;
        };
        for prefix in prefixes {
            if !scenarios.iter().any(|name| name.starts_with(prefix)) {
                differences.push(format!("A{number}: no scenario begins with `{prefix}`"));
            }
        }
    }
    for name in scenarios {
        let Some(number) = attack_of(name) else {
            continue;
        };
        match list.iter().find(|listed| listed.number == number) {
            None => differences.push(format!("{name}: A{number} is not in the list")),
            Some(listed) if listed.status == Status::Open => {
                differences.push(format!("{name}: the list calls A{number} open"));
            }
            Some(_) => {}
        }
    }
    differences
}

/// A row of the table of traffic that must go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// The traffic, in words.
    pub(crate) words: String,
    /// First parts of the scenarios' names.
    pub(crate) prefixes: Vec<String>,
}

/// The rows of the table of traffic that must go on, below the heading: rows that name a scenario.
pub(crate) fn traffic(text: &str) -> Vec<Traffic> {
    let lines = by_hand(text).skip_while(|line| !line.starts_with("## Traffic that must go on"));
    let rows = lines.filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit_once(" | "));
    let rows = rows.map(|(words, last)| Traffic {
        words: words.to_owned(),
        prefixes: prefixes(last),
    });
    rows.filter(|row| !row.prefixes.is_empty()).collect()
}

/// The name of every scenario: of the lab, of guests and of a whole system.
pub fn every_name() -> Vec<String> {
    let mut all = test_run::scenarios();
    all.extend(scenarios::all());
    all.extend(scenarios::for_guests());
    all.extend(scenarios::with_failpoints());
    let mut names: Vec<String> = all.iter().map(|one| one.name().to_owned()).collect();
    names.extend(system::names().map(str::to_owned));
    names
}

/// Every disagreement between the prefixes and the scenarios of legitimate traffic.
#[cfg(test)]
fn traffic_differences(listed: &[String], scenarios: &[String]) -> Vec<String> {
    let is_traffic = |name: &&String| name.starts_with("goes_on::");
    let unlisted = scenarios.iter().filter(is_traffic).filter_map(|name| {
        let known = listed.iter().any(|prefix| name.starts_with(prefix));
        (!known).then(|| format!("{name}: the list has no such traffic"))
    });
    let untried = listed.iter().filter_map(|prefix| {
        let tried = scenarios.iter().any(|name| name.starts_with(prefix));
        (!tried).then(|| format!("no scenario begins with `{prefix}`"))
    });
    unlisted.chain(untried).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "
# Attacks

| # | attack | known from | scenarios |
| --- | --- | --- | --- |
| A5 | weak host model | CVE-2019-14899 | `a05_weak_host_model`, `a05_wireguard` |
| A17 | an index of another namespace | | `goes_on::a17_` |

## Open

| # | attack | known from | status |
| --- | --- | --- | --- |
| A23 | a tap on a LAN bridge | seen | open |
";

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn page() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/attacks.md");
        std::fs::read_to_string(path).unwrap()
    }

    fn traffic_prefixes(text: &str) -> Vec<String> {
        let rows = traffic(text).into_iter();
        rows.flat_map(|row| row.prefixes).collect()
    }

    #[test]
    fn the_list_and_the_traffic_agree() {
        let listed = traffic_prefixes(&page());
        assert!(listed.len() > 20, "only {} kinds of traffic", listed.len());
        let differences = traffic_differences(&listed, &every_name());
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    #[test]
    fn traffic_without_a_row_and_rows_without_traffic_are_told() {
        let page = "| `goes_on::early` |\n## Traffic that must go on\n| traffic | scenarios |\n\
                    | --- | --- |\n| peers | `goes_on::a_peer::`, `goes_on::none` |\n";
        let listed = traffic_prefixes(page);
        assert_eq!(listed, ["goes_on::a_peer::", "goes_on::none"]);
        let scenarios = names(&["goes_on::a_peer::tcp", "goes_on::other", "a05_x"]);
        let expected = [
            "goes_on::other: the list has no such traffic",
            "no scenario begins with `goes_on::none`",
        ];
        assert_eq!(traffic_differences(&listed, &scenarios), expected);
    }

    #[test]
    fn the_list_and_the_scenarios_agree() {
        let list = parse(&page()).unwrap();
        assert!(!list.is_empty(), "the page lists no attack");
        let names = every_name();
        let differences = differences(&list, &names);
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    #[test]
    fn rows_are_attacks_with_their_last_column() {
        let built = |prefixes: &[&str]| Status::Built(names(prefixes));
        let expected = [
            (5, built(&["a05_weak_host_model", "a05_wireguard"])),
            (17, built(&["goes_on::a17_"])),
            (23, Status::Open),
        ];
        let expected = expected.map(|(number, status)| Listed { number, status });
        assert_eq!(parse(SAMPLE).unwrap(), expected);
    }

    #[test]
    fn parts_that_a_run_makes_are_no_rows() {
        let made = "<!-- attacks: begin -->\n| A5 | 3 |\n<!-- attacks: end -->\n";
        assert_eq!(parse(&format!("{SAMPLE}{made}")), parse(SAMPLE));
        let page = format!("## Traffic that must go on\n{made}| peers | `goes_on::a_peer` |\n");
        let expected = Traffic {
            words: "peers".to_owned(),
            prefixes: names(&["goes_on::a_peer"]),
        };
        assert_eq!(traffic(&page), [expected]);
    }

    #[test]
    fn a_row_without_a_scenario_is_an_error() {
        assert!(parse("| A5 | weak host model | |").is_err());
        assert!(parse("| A5 | weak host model | a05_weak_host_model |").is_err());
        assert!(parse("| A5 | one | open |\n| A5 | two | open |").is_err());
    }

    #[test]
    fn each_difference_is_named() {
        let list = parse(SAMPLE).unwrap();
        let agreeing = [
            "a05_weak_host_model::ipv4",
            "a05_wireguard::ipv4",
            "goes_on::a17_x::tcp",
        ];
        assert_eq!(differences(&list, &names(&agreeing)), [""; 0]);
        let differing = [
            "a05_weak_host_model::ipv4",
            "a23_tap",
            "a24_x",
            "goes_on::a17_x",
        ];
        let expected = [
            "A5: no scenario begins with `a05_wireguard`",
            "a23_tap: the list calls A23 open",
            "a24_x: A24 is not in the list",
        ];
        assert_eq!(differences(&list, &names(&differing)), expected);
    }
}
