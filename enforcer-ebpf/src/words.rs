//! The words of the contract: protocols, modes, guards, verdicts and reasons.
//!
//! The same enums serve the kernel programs, the counters, `explain` and the tests. No enum is ever
//! read from a map as bytes: maps hold integers, and `from_*` functions turn integers into words.

use core::fmt;

/// A transport protocol of registered ports.
///
/// The discriminants index the port table; see [`crate::layout::port_index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// IP protocol 6; MPTCP subflows travel as TCP (RFC 8684).
    Tcp = 0,
    /// IP protocol 17, and UDP-Lite (136, RFC 3828), judged as UDP.
    Udp = 1,
    /// IP protocol 132 (RFC 9260).
    Sctp = 2,
}

impl Protocol {
    /// Every protocol, in the order of the discriminants.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The protocol of an IP protocol number, `None` where no port can be registered.
    #[inline(always)]
    pub const fn from_ip_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 | 136 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// The protocol of a discriminant, as maps hold it.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Tcp),
            1 => Some(Self::Udp),
            2 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// The name in the registry and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether drops are carried out or only counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Drops are carried out.
    #[default]
    Enforce,
    /// Verdicts are computed and counted as under `enforce`, and every packet passes.
    Audit,
}

impl Mode {
    /// The name in the registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A layer that judges packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// XDP or tcx on one interface.
    Wire,
    /// cgroup_skb/ingress at the sockets of one network namespace.
    Socket,
}

impl Guard {
    /// Both guards, wire first: the order in which a packet meets them.
    pub const ALL: [Self; 2] = [Self::Wire, Self::Socket];

    /// The name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Socket => "socket",
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The verdict on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The packet goes on to the next program on its way.
    Pass,
    /// The packet ends here.
    Drop,
}

impl Verdict {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The reason for a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Rule 1: the packet arrived on the loopback interface.
    Loopback = 0,
    /// Rule 2: a loopback address on the wire.
    LoopbackAddress = 1,
    /// Rule 4: the destination lies in a container network.
    ContainerNetwork = 2,
    /// Rule 6: a connection to a port that no service has.
    UnregisteredPort = 3,
    /// Rule 7: the service is public.
    Public = 4,
    /// Rule 8: a peer that the service allows; also a peer that a container network or
    /// `[unregistered]` allows (rules 4 and 6).
    Peer = 5,
    /// Rule 9: the interface carries peers of the service, but the source is no such peer; also a
    /// later fragment with the source of another interface's peer.
    UnknownPeer = 6,
    /// Rule 10: the interface carries no peer of the service.
    UntrustedInterface = 7,
    /// More headers than a guard reads, or a chain that goes on behind the first fragment.
    HeaderChain = 8,
    /// The packet ends before its ports, or has an invalid header.
    Malformed = 9,
    /// The port is not registered, and rule 6 leaves the packet alone. Not counted.
    Unregistered = 10,
    /// Rules 3 and 5: the packet is not for this host. Not counted.
    Forwarded = 11,
    /// A later fragment: the first fragment was judged. Not counted.
    Fragment = 12,
    /// A VLAN frame, judged on the VLAN device, or a frame for a macvlan child. Not counted.
    Tagged = 13,
    /// Not TCP, UDP, UDP-Lite or SCTP over IP. Not counted.
    OtherProtocol = 14,
}

impl Reason {
    /// Every reason, in the order of the discriminants.
    pub const ALL: [Self; 15] = [
        Self::Loopback,
        Self::LoopbackAddress,
        Self::ContainerNetwork,
        Self::UnregisteredPort,
        Self::Public,
        Self::Peer,
        Self::UnknownPeer,
        Self::UntrustedInterface,
        Self::HeaderChain,
        Self::Malformed,
        Self::Unregistered,
        Self::Forwarded,
        Self::Fragment,
        Self::Tagged,
        Self::OtherProtocol,
    ];

    /// The verdict of this reason, before the mode applies.
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::LoopbackAddress
            | Self::ContainerNetwork
            | Self::UnregisteredPort
            | Self::UnknownPeer
            | Self::UntrustedInterface
            | Self::HeaderChain
            | Self::Malformed => Verdict::Drop,
            Self::Loopback
            | Self::Public
            | Self::Peer
            | Self::Unregistered
            | Self::Forwarded
            | Self::Fragment
            | Self::Tagged
            | Self::OtherProtocol => Verdict::Pass,
        }
    }

    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::LoopbackAddress => "loopback-address",
            Self::ContainerNetwork => "container-network",
            Self::UnregisteredPort => "unregistered-port",
            Self::Public => "public",
            Self::Peer => "peer",
            Self::UnknownPeer => "unknown-peer",
            Self::UntrustedInterface => "untrusted-interface",
            Self::HeaderChain => "header-chain",
            Self::Malformed => "malformed",
            Self::Unregistered => "unregistered",
            Self::Forwarded => "forwarded",
            Self::Fragment => "fragment",
            Self::Tagged => "tagged",
            Self::OtherProtocol => "other-protocol",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_have_their_ip_numbers_and_codes() {
        for number in 0..=u8::MAX {
            let protocol = match number {
                6 => Some(Protocol::Tcp),
                17 | 136 => Some(Protocol::Udp),
                132 => Some(Protocol::Sctp),
                _ => None,
            };
            assert_eq!(Protocol::from_ip_number(number), protocol);
        }
        for code in 0..=u8::MAX {
            let protocol = Protocol::ALL.get(usize::from(code)).copied();
            assert_eq!(Protocol::from_code(code), protocol);
        }
    }

    #[test]
    fn names_are_those_of_registry_and_json() {
        assert_eq!(Protocol::ALL.map(Protocol::name), ["tcp", "udp", "sctp"]);
        assert_eq!(Guard::ALL.map(Guard::name), ["wire", "socket"]);
        let modes = [Mode::Enforce, Mode::Audit];
        assert_eq!(modes.map(Mode::name), ["enforce", "audit"]);
        let verdicts = [Verdict::Pass, Verdict::Drop];
        assert_eq!(verdicts.map(Verdict::name), ["pass", "drop"]);
        let reasons = [
            "loopback",
            "loopback-address",
            "container-network",
            "unregistered-port",
            "public",
            "peer",
            "unknown-peer",
            "untrusted-interface",
            "header-chain",
            "malformed",
            "unregistered",
            "forwarded",
            "fragment",
            "tagged",
            "other-protocol",
        ];
        assert_eq!(Reason::ALL.map(Reason::name), reasons);
    }

    #[test]
    fn words_are_displayed_as_their_names_and_padded() {
        assert_eq!(format!("[{:5}]", Protocol::Udp), "[udp  ]");
        assert_eq!(format!("[{:7}]", Guard::Wire), "[wire   ]");
        assert_eq!(format!("[{:>6}]", Mode::Audit), "[ audit]");
        assert_eq!(format!("[{:5}]", Verdict::Drop), "[drop ]");
        assert_eq!(format!("[{:7}]", Reason::Public), "[public ]");
    }

    #[test]
    fn seven_reasons_drop() {
        let drops: Vec<Reason> = Reason::ALL
            .into_iter()
            .filter(|reason| reason.verdict() == Verdict::Drop)
            .collect();
        let expected = [
            Reason::LoopbackAddress,
            Reason::ContainerNetwork,
            Reason::UnregisteredPort,
            Reason::UnknownPeer,
            Reason::UntrustedInterface,
            Reason::HeaderChain,
            Reason::Malformed,
        ];
        assert_eq!(drops, expected);
        // Maps and events hold the discriminants.
        let codes: Vec<u8> = Reason::ALL.iter().map(|reason| *reason as u8).collect();
        assert_eq!(codes, (0..15).collect::<Vec<u8>>());
    }
}
