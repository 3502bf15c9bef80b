//! The facts of a cell: a line of JSON for each trial, and the table made of the lines.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::up::cell::{After, Pins, UpCell};

/// The environment variable with the name of the file for the lines.
pub const FILE: &str = "ENFORCER_MATRIX";
/// The lines before and after the table of `run`.
pub const MARKS: [&str; 2] = ["<!-- fault matrix: begin -->", "<!-- fault matrix: end -->"];
/// The lines before and after the table of `up`.
pub const UP_MARKS: [&str; 2] = [
    "<!-- fault matrix of up: begin -->",
    "<!-- fault matrix of up: end -->",
];

/// The facts of a trial.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The scenario.
    pub name: String,
    /// Attempts that succeeded after the bound.
    accepted: usize,
    /// The bound from exec to guards, in milliseconds: at boot.
    bound: Option<u64>,
    /// The time from exec to the last accepted attempt, in milliseconds: at boot.
    guards: Option<u64>,
    /// The words of `run`.
    says: String,
    /// The cure, and the time until all was in force again.
    heals: String,
    /// The exit code of an `up`, and the time until then, in milliseconds.
    #[serde(default)]
    ended: Option<(i32, u64)>,
    /// Whether the trial went as it must.
    passed: bool,
}

impl Record {
    pub(super) fn of(cell: &Cell) -> Self {
        Self {
            name: cell.name.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn of_up(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn ended(&mut self, code: i32, after: Duration) {
        self.ended = Some((code, milliseconds(after)));
    }

    pub(super) fn boot(&mut self, bound: Duration) {
        self.bound = Some(milliseconds(bound));
    }

    pub(super) fn guards_after(&mut self, time: Duration) {
        self.guards = Some(milliseconds(time));
    }

    pub(super) fn accepted(&mut self, number: usize) {
        self.accepted = number;
    }

    /// Notes a line, with the lab's own folder left out.
    pub(super) fn says(&mut self, line: &str, scratch: &Path) {
        let scratch = format!("{}/", scratch.display());
        let line = line.replace(&scratch, "");
        let short: String = line.chars().take(120).collect();
        let cut = if short.len() < line.len() { "…" } else { "" };
        self.says = format!("“{}{cut}”", short.trim());
    }

    pub(super) fn says_nothing(&mut self, why: &str) {
        why.clone_into(&mut self.says);
    }

    pub(super) fn heals(&mut self, how: &str, time: Duration) {
        self.heals = format!("{how}: {:.1} s", time.as_secs_f64());
    }

    /// Adds the line to the file, if there is one.
    pub(super) fn write(&mut self, passed: bool) -> Result<()> {
        self.passed = passed;
        let Some(path) = std::env::var_os(FILE) else {
            return Ok(());
        };
        let line = serde_json::to_string(self)? + "\n";
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(line.as_bytes())?;
        Ok(())
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Puts the tables of these lines between the markers of a page.
///
/// # Errors
/// A line is none of ours; the page has no markers.
pub fn render(lines: &str, page: &str, cells: &[Cell], up: &[UpCell]) -> Result<String> {
    let records = lines.lines().map(serde_json::from_str);
    let records: Vec<Record> = records.collect::<Result<_, _>>()?;
    let page = between(page, MARKS, &table_of_run(&records, cells)?)?;
    between(&page, UP_MARKS, &table_of_up(&records, up)?)
}

fn between(page: &str, [begin, end]: [&str; 2], table: &str) -> Result<String> {
    let (before, rest) = page.split_once(begin).context("no begin of the table")?;
    let (_, after) = rest.split_once(end).context("no end of the table")?;
    Ok(format!("{before}{begin}\n{table}{end}{after}"))
}

/// The last record of a scenario that passed. A later line replaces an earlier line.
fn passed<'a>(records: &'a [Record], name: &str) -> Option<&'a Record> {
    let record = records.iter().rev().find(|record| record.name == name);
    record.filter(|record| record.passed)
}

fn table_of_run(records: &[Record], cells: &[Cell]) -> Result<String> {
    let mut table = String::from(
        "| obstacle | state | trial | accepted | guards after | `run` says | heals |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for cell in cells {
        let (obstacle, state, made) = (cell.obstacle.name(), cell.state.name(), cell.made);
        if cell.body.is_none() {
            writeln!(table, "| {obstacle} | {state} | none: {made} | | | | |")?;
            continue;
        }
        let Some(record) = passed(records, cell.name) else {
            writeln!(
                table,
                "| {obstacle} | {state} | {made} | not shown yet | | | |"
            )?;
            continue;
        };
        let guards = match record.guards {
            Some(guards) => format!("{:.2} s", Duration::from_millis(guards).as_secs_f64()),
            None => "held before".to_owned(),
        };
        writeln!(
            table,
            "| {obstacle} | {state} | {made} | {} | {guards} | {} | {} |",
            record.accepted,
            record.says.replace('|', "\\|"),
            record.heals
        )?;
    }
    Ok(table)
}

fn table_of_up(records: &[Record], cells: &[UpCell]) -> Result<String> {
    let mut table = String::from(
        "| obstacle | state | trial | pins before | exit | after | accepted | result | `up` says |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (cell, pins) in rows_of_up(cells) {
        let (obstacle, state) = (cell.obstacle.name(), cell.state.name());
        let row = format!("| {obstacle} | {state} | {} | {} |", cell.made, pins.name());
        let demand = match cell.demand(pins) {
            Ok(demand) => demand,
            Err(why) => {
                writeln!(table, "{row} | | | | none: {why} |")?;
                continue;
            }
        };
        let record = passed(records, &cell.name(pins));
        let Some((record, (code, after))) = record.and_then(|it| Some((it, it.ended?))) else {
            writeln!(table, "{row} not shown yet | | | | |")?;
            continue;
        };
        let accepted = match (demand.after, pins) {
            (After::Nothing, Pins::None) => "as before".to_owned(),
            _ => record.accepted.to_string(),
        };
        writeln!(
            table,
            "{row} {code} | {:.1} s | {accepted} | {} | {} |",
            Duration::from_millis(after).as_secs_f64(),
            demand.after.name(),
            record.says.replace('|', "\\|")
        )?;
    }
    Ok(table)
}

/// The rows of the table of `up`: each cell without pins, and over pins.
pub fn rows_of_up(cells: &[UpCell]) -> impl Iterator<Item = (&UpCell, Pins)> {
    let both = |cell| Pins::ALL.map(|pins| (cell, pins));
    cells.iter().flat_map(both)
}
