//! The JSON promised to scripts, field by field.
//!
//! Unknown and missing fields are errors: a drift from the contract fails every scenario that reads
//! the report.

use serde::Deserialize;

/// A line of `counters --json`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Counter {
    pub service: Option<String>,
    pub protocol: Option<String>,
    pub port: Option<u16>,
    pub guard: String,
    pub verdict: String,
    pub reason: String,
    pub audited: bool,
    pub packets: u64,
    pub bytes: u64,
}

/// A line of `events --json`. All but `time` and `merged` are null in the last line of a flood.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Event {
    pub time: String,
    pub guard: Option<String>,
    pub verdict: Option<String>,
    pub reason: Option<String>,
    pub audited: Option<bool>,
    pub interface: Option<String>,
    pub ifindex: Option<u32>,
    pub source: Option<String>,
    pub source_port: Option<u16>,
    pub destination: Option<String>,
    pub port: Option<u16>,
    pub protocol: Option<String>,
    pub service: Option<String>,
    pub merged: u64,
}

/// `status --json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Status {
    pub schema: u32,
    pub state: String,
    pub generation: u64,
    pub services: u64,
    pub registered_ports: u64,
    pub guards: Vec<GuardLine>,
    pub uncovered: Vec<Uncovered>,
    pub peers: Vec<PeerLine>,
    pub bypassed: Vec<Bypassed>,
    pub container_networks: Vec<NetworkLine>,
    pub unregistered: Unregistered,
    pub confirm: Option<Pending>,
    pub rolled_back: bool,
}

/// A container network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct NetworkLine {
    pub interface: String,
    pub prefix: String,
    pub mode: String,
    pub routed: bool,
}

/// The action on ports without a service, by protocol.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Unregistered {
    pub tcp: String,
    pub udp: String,
    pub sctp: String,
}

/// A pending policy, rolled back unless confirmed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Pending {
    pub seconds_left: u64,
}

/// An attached guard.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct GuardLine {
    pub guard: String,
    pub hook: String,
    pub interface: Option<String>,
    pub ifindex: Option<u32>,
    pub peers: u64,
}

/// An outside interface without a guard.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Uncovered {
    pub interface: String,
    pub why: String,
}

/// A peer of the registry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct PeerLine {
    pub name: String,
    pub state: String,
}

/// Drops by the socket guard behind a wire guard.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Bypassed {
    pub interface: String,
    pub packets: u64,
}

/// `explain --json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Explanation {
    pub schema: u32,
    pub verdict: String,
    pub reason: String,
    pub service: Option<String>,
    pub peer: Option<String>,
    pub rule: u32,
    pub r#where: Option<Vec<Line>>,
    pub live: Option<Live>,
}

/// A deciding line of the registry.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Line {
    pub file: String,
    pub line: u64,
    pub what: String,
}

/// Verdict of the wire guard's program on the packet.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Live {
    pub verdict: Option<String>,
    pub reason: Option<String>,
    pub agrees: Option<bool>,
    pub hook: Option<String>,
    pub why: Option<String>,
}

/// `check --json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Checked {
    pub schema: u32,
    pub errors: Vec<Finding>,
    pub warnings: Vec<Finding>,
    /// The number of findings beyond the told ones; left out for none.
    #[serde(default)]
    pub more: usize,
}

/// An error or warning about a registry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract names the fields")]
pub struct Finding {
    pub file: String,
    pub line: Option<u64>,
    pub column: Option<u64>,
    pub message: String,
    pub help: Option<String>,
}
