//! `net.ipv4.ip_local_reserved_ports`: registered ports are not given to outgoing connections.
//!
//! A reply to an outgoing connection whose local port is registered would be judged as traffic for
//! the service, and dropped. So the loader merges the registered ports into the admin's own list,
//! remembers the added ports, and takes back only those.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
};

use anyhow::{Context as _, Result, ensure};

use crate::failpoint::{Call, through};

/// The path of the list.
pub(crate) const PATH: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Merges `wanted` into the list, removes the unwanted ports of `ours`, and returns
/// the ports that the loader added.
///
/// `remember` gets them before the list is written: after a crash in between, the loader remembers
/// too many ports, and never loses one.
///
/// # Errors
/// The list cannot be read or written, or differs from the written one.
pub(crate) fn merge(
    wanted: &BTreeSet<u16>,
    ours: &BTreeSet<u16>,
    remember: impl FnOnce(&BTreeSet<u16>),
) -> Result<BTreeSet<u16>> {
    let before = read()?;
    let admins: BTreeSet<u16> = before.difference(ours).copied().collect();
    let added: BTreeSet<u16> = wanted.difference(&admins).copied().collect();
    remember(&added);
    let after: BTreeSet<u16> = admins.union(wanted).copied().collect();
    if after != before {
        write(&after)?;
    }
    Ok(added)
}

fn read() -> Result<BTreeSet<u16>> {
    let mut file = through(Call::ReadReserved, || File::open(PATH))
        .with_context(|| format!("failed to open {PATH}"))?;
    // One read into a buffer for the longest possible list (65,536 single ports): the kernel cuts
    // the list to the size of the read, in the middle of a number.
    let mut text = vec![0; 1 << 19];
    let length = file
        .read(&mut text)
        .with_context(|| format!("failed to read {PATH}"))?;
    let text = str::from_utf8(&text[..length]).context("the list is not text")?;
    parse(text).with_context(|| format!("failed to understand {PATH}: {}", text.trim()))
}

/// Writes the list as ranges, in the kernel's own format, and verifies the result by a read.
fn write(ports: &BTreeSet<u16>) -> Result<()> {
    let what = || format!("failed to write {PATH}");
    let mut file = OpenOptions::new()
        .write(true)
        .open(PATH)
        .with_context(what)?;
    let text = format(ports) + "\n";
    let mut rest = text.as_bytes();
    // One write takes about a page; the kernel goes on where the descriptor stands.
    while !rest.is_empty() {
        let taken = through(Call::WriteReserved, || file.write(rest)).with_context(what)?;
        ensure!(taken > 0, "{}: the kernel took nothing more", what());
        rest = &rest[taken..];
    }
    ensure!(
        read()? == *ports,
        "{PATH} is not what was written to it: something else writes it at the same time"
    );
    Ok(())
}

fn parse(text: &str) -> Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        ports.extend(first.trim().parse::<u16>()?..=last.trim().parse::<u16>()?);
    }
    Ok(ports)
}

fn format(ports: &BTreeSet<u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &port in ports {
        match ranges.last_mut() {
            Some((_, last)) if u32::from(*last) + 1 == u32::from(port) => *last = port,
            _ => ranges.push((port, port)),
        }
    }
    let ranges: Vec<String> = ranges
        .into_iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    ranges.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_survive_a_round_trip() {
        for text in ["", "1", "1-3", "1,3", "8080,9000-9001,65534-65535"] {
            assert_eq!(format(&parse(text).unwrap()), text);
        }
        assert_eq!(parse("\n").unwrap().len(), 0);
        assert!(parse("1,x").is_err());
        assert!(parse("65536").is_err());
    }
}
