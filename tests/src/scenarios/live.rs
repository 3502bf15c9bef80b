//! The policy follows the host while `run` lives.
//!
//! Promises with a time limit are polled until the limit. Printed figures are measurements of this
//! machine at this moment, under whatever other load.

mod concurrent;
mod crowd;
mod edits;
mod held_up;
mod hotplug;
mod interfaces;
mod masters;
mod mixed;
mod newcomers;
mod plug;
pub(super) mod process;
mod reloads;
mod reserved;
mod sleep;
mod soak;
mod timing;
mod traffic;
mod tunnels;

use crate::scenario::Scenario;

pub(super) use plug::look_again;
pub(super) use process::most_resident;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = interfaces::scenarios();
    scenarios.extend(masters::scenarios());
    scenarios.extend(hotplug::scenarios());
    scenarios.extend(crowd::scenarios());
    scenarios.extend(edits::scenarios());
    scenarios.extend(held_up::scenarios());
    scenarios.extend(concurrent::scenarios());
    scenarios.extend(reserved::scenarios());
    scenarios.extend(reloads::scenarios());
    scenarios.extend(mixed::scenarios());
    scenarios.extend(newcomers::scenarios());
    scenarios.extend(sleep::scenarios());
    scenarios.extend(soak::scenarios());
    scenarios.extend(tunnels::scenarios());
    scenarios
}
