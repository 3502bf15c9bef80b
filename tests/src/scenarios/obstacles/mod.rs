//! The fault matrix: each object that `run` needs, in each state of failure, with a neighbour who
//! tries a registered port without a pause. Nothing is accepted, and nothing goes unsaid.
//!
//! One file has the cells of an obstacle; `trial` is the one runner. `up` has the matrix of `up`. With the environment variable
//! `ENFORCER_MATRIX` each trial adds a line to a file, and `enforcer-tests matrix` makes the tables
//! of docs/failure-modes.md from these lines.

mod bpffs;
mod cell;
mod cgroup2;
mod files;
mod fragments;
mod inotify;
mod lock;
mod netlink;
mod notify;
mod proc_sys;
pub mod record;
mod refuse;
mod registry;
mod streams;
mod trial;
mod uapi;
pub mod up;

use cell::Cell;
pub(in crate::scenarios) use inotify::refuse_inotify;
use trial::Trial;

use crate::scenario::{Scenario, host_only};

/// Every cell, in the order of the table.
pub fn cells() -> Vec<Cell> {
    let mut cells = [
        registry::CELLS,
        fragments::CELLS,
        cgroup2::CELLS,
        bpffs::CELLS,
        streams::CELLS,
        notify::CELLS,
        lock::CELLS,
        uapi::CELLS,
        netlink::CELLS,
        inotify::CELLS,
        proc_sys::CELLS,
    ]
    .concat();
    cells.sort_by_key(|cell| (cell.obstacle, cell.state));
    cells
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let tried = cells().into_iter().filter(|cell| cell.body.is_some());
    tried.map(scenario).chain(up::scenarios()).collect()
}

fn scenario(cell: Cell) -> Scenario {
    let name = format!("obstacles::{}", cell.name);
    let scenario = Scenario::new(name, move |rig| Trial::of(&cell, rig));
    let scenario = scenario.needs_all(cell.needs);
    let scenario = match cell.alone {
        true => scenario.alone(),
        false => scenario,
    };
    match cell.in_guests {
        true => scenario,
        false => scenario.host_only(host_only::LOADER),
    }
}

#[cfg(test)]
mod tests {
    use super::cell::{Obstacle, State};
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/failure-modes.md");

    #[test]
    fn every_obstacle_has_every_state() {
        let cells = cells();
        for obstacle in Obstacle::ALL {
            for state in State::ALL {
                let here = |cell: &&Cell| (cell.obstacle, cell.state) == (obstacle, state);
                let count = cells.iter().filter(here).count();
                assert!(count > 0, "{} {}", obstacle.name(), state.name());
            }
        }
    }

    /// The rows of a table on the page, in fields.
    fn rows([begin, end]: [&str; 2]) -> Vec<Vec<&'static str>> {
        let table = PAGE.split_once(begin).unwrap().1;
        let table = table.split_once(end).unwrap().0;
        let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
        let fields = |line: &'static str| {
            let fields = line.split(" | ");
            fields.map(|field| field.trim_matches(['|', ' '])).collect()
        };
        rows.map(fields).collect()
    }

    #[test]
    fn every_cell_has_its_row_on_the_page_and_every_row_its_cell() {
        let (rows, cells) = (rows(record::MARKS), cells());
        assert_eq!(rows.len(), cells.len());
        for (row, cell) in rows.iter().zip(&cells) {
            let made = match cell.body {
                Some(_) => cell.made.to_owned(),
                None => format!("none: {}", cell.made),
            };
            assert_eq!(row[..3], [cell.obstacle.name(), cell.state.name(), &made]);
        }
    }

    #[test]
    fn every_cell_of_up_has_two_rows_on_the_page_and_every_row_its_cell() {
        let (rows, cells) = (rows(record::UP_MARKS), up::cells());
        assert_eq!(rows.len(), 2 * cells.len());
        for (row, (cell, pins)) in rows.iter().zip(record::rows_of_up(&cells)) {
            let expected = [
                cell.obstacle.name(),
                cell.state.name(),
                cell.made,
                pins.name(),
            ];
            assert_eq!(row[..4], expected);
            if let Ok(demand) = cell.demand(pins) {
                assert_eq!(row[4], demand.code.to_string(), "{}", cell.name);
            }
        }
    }
}
