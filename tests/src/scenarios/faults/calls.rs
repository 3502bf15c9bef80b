//! Number of bpf(2) system calls, by us and by aya, in the shipped binary.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::lab::session::is_guest;
use crate::lab::syscalls::count_bpf;

use crate::scenario::Rig;

/// Upper bound of the calls, whatever the registry.
const LIMIT: usize = 300;

const SMALL: &str = "[services.elasticsearch]\nports = [9200]\n";

/// A registry of the largest size: 4,096 ports from `first`, 256 peers and 10,000 prefixes.
fn largest(first: u32) -> Result<String> {
    let mut text = String::new();
    let mut prefix = 0..10_000u32;
    for number in 0..256 {
        let port = first + number * 16;
        let last = port + 15;
        writeln!(
            text,
            "[services.s{number}]\nports = [\"{port}-{last}\"]\nallow = [\"p{number}\"]"
        )?;
        let share = if number < 10_000 % 256 { 40 } else { 39 };
        let prefixes: Vec<String> = prefix
            .by_ref()
            .take(share)
            .map(|n| format!("\"10.{}.{}.{number}/32\"", n >> 8, n & 0xff))
            .collect();
        let prefixes = prefixes.join(", ");
        writeln!(
            text,
            "[peers.p{number}]\ninterface = \"wg0\"\naddresses = [{prefixes}]"
        )?;
    }
    ensure!(prefix.next().is_none(), "not all prefixes were given away");
    Ok(text)
}

pub(super) fn few_calls(rig: &Rig<'_>) -> Result<()> {
    let mut table = String::new();
    let mut registries = vec![("small", SMALL.to_owned(), SMALL.replace("9200", "9300"))];
    // The size adds work of the loader's alone, the same on every kernel.
    if !is_guest() {
        registries.push(("largest", largest(10_000)?, largest(20_000)?));
    }
    for (name, registry, other) in registries {
        for (what, command, registry) in [
            ("up from nothing", "up", &registry),
            ("up over a set of other ports", "up", &other),
            ("reload with other ports", "reload", &registry),
            ("status", "status", &registry),
            ("down", "down", &registry),
        ] {
            rig.enforcer.registry(registry)?;
            let (calls, code) = count_bpf(rig.enforcer.command(&[command])?)?;
            ensure!(
                code == 0,
                "`{command}` with the {name} registry ended with {code}"
            );
            writeln!(table, "{name} registry, {what}: {calls} bpf() calls")?;
            ensure!(calls > 0 && calls < LIMIT, "at least {LIMIT}:\n{table}");
        }
    }
    eprint!("{table}");
    Ok(())
}
