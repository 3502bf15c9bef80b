//! Lines of `counters --json`, added up.

use enforcer_ebpf::{Guard, Reason, Verdict};

use super::report::Counter;

/// A registered port, as counters name it.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a>(pub &'a str, pub u16);

impl std::fmt::Display for Port<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

/// The reason of counted packets, as `counters --json` names the reason.
///
/// The names are those of the design, so that a scenario may name a reason before the crate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Because {
    name: &'static str,
    or: Option<&'static str>,
}

impl Because {
    /// Rule 4: the destination lies in a container network.
    pub const CONTAINER_NETWORK: Self = Self::named("container-network");
    /// Rule 6: a port without a registry entry.
    pub const UNREGISTERED_PORT: Self = Self::named("unregistered-port");

    const fn named(name: &'static str) -> Self {
        Self { name, or: None }
    }

    /// Accepts another reason too, where the design leaves a guard the choice.
    pub const fn or(self, other: Reason) -> Self {
        Self {
            or: Some(other.name()),
            ..self
        }
    }

    fn covers(self, name: &str) -> bool {
        self.name == name || self.or == Some(name)
    }
}

impl From<Reason> for Because {
    fn from(reason: Reason) -> Self {
        Self::named(reason.name())
    }
}

impl std::fmt::Display for Because {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)?;
        self.or.map_or(Ok(()), |other| write!(f, " or {other}"))
    }
}

/// Reasons of packets that may show no registered port: a later fragment, counted as an unknown
/// peer's, shows no port at all, and a peer may be one of a container network or of
/// `[unregistered]`.
const PORTLESS: [&str; 7] = [
    "loopback-address",
    "container-network",
    "unregistered-port",
    "peer",
    "unknown-peer",
    "header-chain",
    "malformed",
];

/// The lines of `counters --json`.
#[derive(Clone, Debug)]
pub struct Counters(pub Vec<Counter>);

impl Counters {
    /// Number of packets counted by a guard for a reason and port.
    ///
    /// Packets without a registered port are counted without a port, and count here too.
    pub fn count(&self, guard: Guard, reason: impl Into<Because>, port: Port<'_>) -> u64 {
        let reason = reason.into();
        self.0
            .iter()
            .filter(|row| row.guard == guard.name() && reason.covers(&row.reason))
            .filter(|row| match row.port {
                Some(number) => number == port.1 && row.protocol.as_deref() == Some(port.0),
                None => PORTLESS.contains(&row.reason.as_str()),
            })
            .map(|row| row.packets)
            .sum()
    }

    /// Number of packets with this verdict, of any reason and port.
    pub fn total(&self, guard: Guard, verdict: Verdict) -> u64 {
        self.0
            .iter()
            .filter(|row| row.guard == guard.name() && row.verdict == verdict.name())
            .map(|row| row.packets)
            .sum()
    }
}

impl std::fmt::Display for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("  (none)");
        }
        for row in &self.0 {
            let port = row.port.map_or("-".to_owned(), |port| port.to_string());
            writeln!(
                f,
                "  {:<14} {:<5} {port:>5} {:<7} {:<5} {:<20} {:>6}",
                row.service.as_deref().unwrap_or("-"),
                row.protocol.as_deref().unwrap_or("-"),
                row.guard,
                row.verdict,
                row.reason,
                row.packets
            )?;
        }
        Ok(())
    }
}
