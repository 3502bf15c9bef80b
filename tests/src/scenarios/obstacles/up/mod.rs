//! The fault matrix of `up`: the objects that `up` needs, with a neighbour who tries registered
//! ports without a pause. A first `up` guards or fails with a reason; over pins nothing is accepted,
//! and bad input changes nothing.

mod attempt;
pub mod cell;
mod files;
mod kernel;
mod others;

use attempt::Attempt;
use cell::{Demand, Pins, UpCell};

use crate::scenario::{Scenario, host_only};

/// Every cell, in the order of the table.
pub fn cells() -> Vec<UpCell> {
    let mut cells = [files::CELLS, kernel::CELLS, others::CELLS].concat();
    cells.sort_by_key(|cell| (cell.obstacle, cell.state));
    cells
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for cell in cells() {
        for pins in Pins::ALL {
            let demand = cell.demand(pins);
            scenarios.extend(demand.ok().map(|demand| scenario(cell, pins, demand)));
        }
    }
    scenarios
}

fn scenario(cell: UpCell, pins: Pins, demand: Demand) -> Scenario {
    let name = format!("obstacles::{}", cell.name(pins));
    Scenario::new(name, move |rig| Attempt::of(&cell, pins, demand, rig))
        .needs_all(cell.needs)
        .host_only(host_only::LOADER)
}
