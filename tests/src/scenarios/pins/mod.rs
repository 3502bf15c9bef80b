//! The pin directory against strangers, accidents, and the end of what the pins guard.

mod cgroups;
mod folders;
mod missing;
mod namespaces;
mod rests;
mod strays;

use anyhow::{Result, ensure};

use crate::scenario::{Rig, Scenario};

use super::lifecycle::{from_lan, service};

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = folders::scenarios();
    scenarios.extend(missing::scenarios());
    scenarios.extend(cgroups::scenarios());
    scenarios.extend(namespaces::scenarios());
    scenarios.extend(rests::scenarios());
    scenarios.extend(strays::scenarios());
    scenarios
}

/// Insists on the words of `status` for people, and on the exit code.
fn expect_words(rig: &Rig<'_>, code: i32, words: &[&str]) -> Result<()> {
    let status = rig.enforcer.expect(&["status"], code)?;
    for word in words {
        ensure!(
            status.stdout.contains(word),
            "expected `status` to say `{word}`, but {status}"
        );
    }
    Ok(())
}
