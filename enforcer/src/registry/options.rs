//! The options of an `[interfaces]` table.

use std::fmt;

use enforcer_ebpf::Mode;

use super::model::Allow;
use super::source::Span;

/// The side of the host that an interface faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Between the host and containers on this host: no wire guard.
    Inside,
    /// Towards other hosts: the interface gets a wire guard.
    Outside,
}

impl Side {
    pub(super) const ALL: [Self; 2] = [Self::Inside, Self::Outside];

    /// Returns the name used by the registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The operator's choice of a hook for a wire guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HookChoice {
    /// The loader chooses.
    #[default]
    Auto,
    /// XDP in the driver.
    XdpNative,
    /// XDP in the stack, after the driver.
    XdpGeneric,
    /// tcx, the tc ingress hook of Linux 6.6.
    Tcx,
}

impl HookChoice {
    pub(super) const ALL: [Self; 4] = [Self::Auto, Self::XdpNative, Self::XdpGeneric, Self::Tcx];

    /// Returns the name used by the registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::Tcx => "tcx",
        }
    }
}

impl fmt::Display for HookChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The treatment of packets that this host forwards or bridges for others: rules 3 and 5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Forward {
    /// Packets for others pass. On an Ethernet interface a packet that would leave again by the
    /// interface of its arrival is judged.
    #[default]
    Auto,
    /// As `auto`, and the interface of the arrival counts as a way out: a router on a stick.
    True,
    /// Rules 3 and 5 are off: every packet is judged, whatever its destination.
    False,
}

impl Forward {
    /// Returns the value in the registry's syntax.
    pub const fn toml(self) -> &'static str {
        match self {
            Self::Auto => "\"auto\"",
            Self::True => "true",
            Self::False => "false",
        }
    }
}

/// An `[interfaces]` table: options for the interfaces that match a pattern.
#[derive(Clone, Debug)]
pub struct InterfaceTable {
    /// An interface name, or the start of names followed by `*`.
    pub pattern: String,
    /// The side, where the operator overrides the loader's choice.
    pub side: Option<Side>,
    /// The treatment of forwarded packets: rules 3 and 5.
    pub forward: Forward,
    /// The span of the key `forward`, whatever the value.
    pub forward_at: Option<Span>,
    /// The hook to use.
    pub hook: HookChoice,
    /// Whether the interface is the bridge of a container network, where the operator overrides
    /// the recognition by name.
    pub containers: Option<bool>,
    /// The span of the key `containers`, whatever the value.
    pub containers_at: Option<Span>,
    /// Whether others reach the container network on purpose: rule 4 is off.
    pub routed: bool,
    /// The span of the key `routed`, whatever the value.
    pub routed_at: Option<Span>,
    /// The peers that may reach the container network.
    pub allow: Allow,
    /// The container network's mode, if set.
    pub mode: Option<Mode>,
    /// The span of the key `mode`.
    pub mode_at: Option<Span>,
    /// The span of the table's name.
    pub at: Span,
}
