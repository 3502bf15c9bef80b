//! `ip_local_reserved_ports`, written by other programs as well.

use anyhow::{Context, Result, ensure};

use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::scenario::{Rig, Scenario};

use super::timing::{figure, within};

const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("live::reserved_ports_are_put_back", put_back)]
}

/// systemd-sysctl writes the values of its files at every start, and knows nothing of the
/// enforcer's.
fn put_back(rig: &Rig<'_>) -> Result<()> {
    let host = &rig.lab.host;
    let read = || host.read_sysctl(RESERVED);
    let has = |port: &str| -> Result<bool> {
        let list = read()?;
        Ok(list.split(',').any(|range| match range.split_once('-') {
            Some((first, last)) => {
                let number = |text: &str| text.parse::<u16>().unwrap_or(0);
                (number(first)..=number(last)).contains(&number(port))
            }
            None => range == port,
        }))
    };
    host.sysctl(RESERVED, "5000-5005")?;
    let run = rig.enforcer.run(&[])?;
    ensure!(has("9200")? && has("5003")?, "after the start: {}", read()?);
    for theirs in ["6000-6010", "7000", ""] {
        host.sysctl(RESERVED, if theirs.is_empty() { "\n" } else { theirs })?;
        let took = within(SETTLE, "our ports beside theirs", || {
            Ok(has("9200")? && has("9001")? && has("8443")?)
        })
        .with_context(|| format!("after `{theirs}`, at `{}`", read().unwrap_or_default()))?;
        figure("reserved_ports_are_put_back", &format!("after {took:.1?}"));
        let first = theirs.split(['-', ',']).next().unwrap_or_default();
        ensure!(
            theirs.is_empty() || has(first)?,
            "what they wrote (`{theirs}`) is gone: {}",
            read()?
        );
        ensure!(!has("5003")?, "what they took back stays: {}", read()?);
    }
    // Another policy: the ports are added, and the last policy's removed.
    host.sysctl(RESERVED, "6000-6010")?;
    let other = REGISTRY.replace("ports = [9200]", "ports = [9201]");
    rig.enforcer.registry(&other)?;
    within(SETTLE, "the port of another policy", || {
        Ok(has("9201")? && !has("9200")? && has("6005")?)
    })
    .with_context(|| format!("at `{}`", read().unwrap_or_default()))?;
    drop(run);
    rig.enforcer.down()?;
    let left = read()?;
    ensure!(
        left == "6000-6010",
        "expected theirs to be left, but saw `{left}`"
    );
    Ok(())
}
