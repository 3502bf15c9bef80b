//! The command line, as seen by scripts: exit codes, JSON, refusals.

mod codes;
mod explain;
mod explain_host;
mod explain_live;
mod names;
mod paths;
mod policy;
mod refusals;
mod service;
mod streams;
mod views;
mod warnings;

use crate::scenario::host_only::COMMAND_LINE;
use crate::scenario::{Scenario, all_host_only};

pub(super) use explain_live::with_failpoints;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = codes::scenarios();
    scenarios.extend(explain::scenarios());
    scenarios.extend(explain_host::scenarios());
    scenarios.extend(explain_live::scenarios());
    let mut scenarios = all_host_only(scenarios, COMMAND_LINE);
    // Some of the policy and the views are for guests too, so each scenario there has a mark.
    scenarios.extend(policy::scenarios());
    scenarios.extend(all_host_only(refusals::scenarios(), COMMAND_LINE));
    scenarios.extend(all_host_only(names::scenarios(), COMMAND_LINE));
    scenarios.extend(all_host_only(paths::scenarios(), COMMAND_LINE));
    scenarios.extend(all_host_only(streams::scenarios(), COMMAND_LINE));
    scenarios.extend(views::scenarios());
    scenarios.extend(all_host_only(warnings::scenarios(), COMMAND_LINE));
    scenarios
}
