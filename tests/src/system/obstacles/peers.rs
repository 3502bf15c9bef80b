//! WireGuard daemons that take connections and never answer.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{REGISTRY, clean_up, registry, start_behind, time_to_guards};
use crate::lab::Netns;
use crate::system::host::Host;
use crate::system::scenario::SystemScenario;

/// Limit for the keys of all peers.
const KEYS: Duration = Duration::from_secs(1);

/// Number of devices, and of peers in all.
const DEVICES: usize = 8;
const PEERS: usize = 256;

/// Folder of the daemons' sockets.
const SOCKETS: &str = "/run/wireguard";

/// Time that one of two starts may take longer than the other, beside a quarter: an emulated
/// processor is not even.
const TOLERANCE: Duration = Duration::from_millis(300);

pub(super) fn scenarios() -> Vec<SystemScenario> {
    vec![
        SystemScenario {
            name: "obstacles::peers_on_hung_daemons",
            body: |host| {
                start_behind(host, KEYS, |host, undo| {
                    undo.keep(HungDaemons::start(&host.own)?);
                    Ok(())
                })
            },
        },
        SystemScenario {
            name: "obstacles::peers_on_hung_daemons_delay_no_guard",
            body: no_delay,
        },
    ]
}

/// Devices without a driver behind, their sockets, and a registry with peers by key on all.
pub(in crate::system) struct HungDaemons {
    /// Bound, and never accepted from.
    sockets: Vec<(UnixListener, PathBuf)>,
}

impl HungDaemons {
    pub(in crate::system) fn start(own: &Netns) -> Result<Self> {
        fs::create_dir_all(SOCKETS)?;
        let mut daemons = Self {
            sockets: Vec::new(),
        };
        for number in 0..DEVICES {
            own.ip(&format!("tuntap add t{number} mode tun"))?;
            let path = PathBuf::from(format!("{SOCKETS}/t{number}.sock"));
            fs::remove_file(&path).ok();
            let socket = UnixListener::bind(&path).context("failed to make a daemon's socket")?;
            daemons.sockets.push((socket, path));
        }
        registry(&peers())?;
        Ok(daemons)
    }
}

impl Drop for HungDaemons {
    fn drop(&mut self) {
        for (_, path) in &self.sockets {
            fs::remove_file(path).ok();
        }
        if let Ok(own) = Netns::own() {
            for number in 0..DEVICES {
                own.ip(&format!("tuntap del t{number} mode tun")).ok();
            }
        }
    }
}

/// Returns the registry's lines: a service for all peers, and a key for each.
fn peers() -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let names: Vec<_> = (0..PEERS).map(|peer| format!("\"p{peer}\"")).collect();
    let mut text = format!(
        "\n[services.inner]\nports = [15000]\nallow = [{}]\n",
        names.join(", ")
    );
    for peer in 0..PEERS {
        let (high, low) = (peer / DIGITS.len(), peer % DIGITS.len());
        let device = peer % DEVICES;
        let key = [DIGITS[high], DIGITS[low]].map(char::from);
        let rest = "A".repeat(41);
        write!(
            text,
            "[peers.p{peer}]\ninterface = \"t{device}\"\npublic-key = \"{}{}{rest}=\"\n",
            key[0], key[1]
        )
        .ok();
    }
    text
}

/// Compares starts of the unit with the same registry: daemons that hang, and no daemons.
fn no_delay(host: &Host) -> Result<()> {
    let times = times(host);
    clean_up(host)?;
    let [without, with] = times?;
    println!(
        "256 peers by key: {without:?} to the guards without daemons, {with:?} with hung ones"
    );
    ensure!(
        with <= without * 5 / 4 + TOLERANCE,
        "hung daemons delayed the guards from {without:?} to {with:?}"
    );
    Ok(())
}

/// Returns the shortest of three starts without and with hung daemons, by turns.
fn times(host: &Host) -> Result<[Duration; 2]> {
    let mut best = [Duration::MAX; 2];
    for _ in 0..3 {
        registry(&peers())?;
        best[0] = best[0].min(start(host)?);
        let daemons = HungDaemons::start(&host.own)?;
        best[1] = best[1].min(start(host)?);
        drop(daemons);
        fs::remove_file(REGISTRY)?;
    }
    Ok(best)
}

/// Returns the time of a start from nothing to READY, when the guards hold.
fn start(host: &Host) -> Result<Duration> {
    host.guards_off()?;
    host.start_service()?;
    time_to_guards(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_a_key_of_its_own() {
        let text = peers();
        let keys: std::collections::BTreeSet<_> = text
            .lines()
            .filter(|line| line.starts_with("public-key"))
            .collect();
        assert_eq!(keys.len(), PEERS);
        assert!(
            keys.iter()
                .all(|key| key.len() == "public-key = \"\"".len() + 44)
        );
    }
}
