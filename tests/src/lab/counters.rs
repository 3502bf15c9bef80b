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

/// The lines of `counters --json`.
#[derive(Clone, Debug)]
pub struct Counters(pub Vec<Counter>);

impl Counters {
    /// Number of packets counted by a guard for a reason and port.
    ///
    /// Drops of packets without a registered port are counted without a port, and count here too.
    pub fn count(&self, guard: Guard, reason: Reason, port: Port<'_>) -> u64 {
        let portless = matches!(
            reason,
            Reason::LoopbackAddress | Reason::HeaderChain | Reason::Malformed
        );
        self.0
            .iter()
            .filter(|row| row.guard == guard.name() && row.reason == reason.name())
            .filter(|row| match row.port {
                Some(number) => number == port.1 && row.protocol.as_deref() == Some(port.0),
                None => portless,
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
