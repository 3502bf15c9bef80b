//! The cases of the property tests, and their runner.

use enforcer_ebpf::{
    Address, Decision, Guard, Link, Packet, Protocol, Reason, VlanIds, at_socket, decide,
    destination, parse, source,
};
use proptest::{
    prelude::{Strategy as _, any},
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};

use crate::{
    frames::{Frame, choices::Choices},
    reference::{Answer, Arrival, Fib, LO, Reading, Registry, Socket},
    tables::{Tables, counter_of},
};

pub(crate) const CASES: u32 = 100_000;

/// A packet with all inputs of the verdict.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) frame: Frame,
    pub(crate) interface: u32,
    /// The packet type "looped back": no link-layer header.
    pub(crate) handed_back: bool,
    pub(crate) fib: Fib,
    /// Whether a UDP packet on the wire comes unasked to an unconnected socket.
    pub(crate) unasked: bool,
    /// The socket of the kernel's choice, independent of the packet.
    pub(crate) socket: Socket,
    pub(crate) registry: Registry,
}

impl Case {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut choices = Choices::new(bytes);
        let interface = choices.interface();
        let fib = choices.fib();
        let socket = choices.socket();
        let registry = choices.registry();
        let frame = Frame::arbitrary(&mut choices);
        Self {
            interface,
            handed_back: frame.link == Link::Ip && choices.chance(48),
            fib,
            unasked: choices.chance(160),
            socket,
            registry,
            frame,
        }
    }

    /// The guard's treatment of VLAN ids.
    pub(crate) fn ids(&self) -> VlanIds {
        let interface = self.registry.interface(self.interface);
        match interface.is_some_and(|interface| interface.looks_through) {
            true => VlanIds::LookThrough,
            false => VlanIds::Stop,
        }
    }

    pub(crate) fn parse(&self) -> Packet {
        parse(&self.frame.bytes[..], self.frame.link, self.ids())
    }

    pub(crate) fn strict(&self) -> Reading {
        Reading::strict(&self.frame.bytes, self.frame.link, self.ids())
    }

    pub(crate) fn lenient(&self) -> Reading {
        Reading::lenient(&self.frame.bytes, self.frame.link, self.ids())
    }

    pub(crate) fn arrival(&self) -> Arrival {
        let mac = match self.frame.link {
            Link::Ethernet => self.frame.bytes.first_chunk().copied(),
            Link::Ip => None,
        };
        Arrival {
            interface: self.interface,
            handed_back: self.handed_back,
            mac,
            fib: self.fib,
            unasked: self.unasked,
        }
    }

    /// The packet from the IP header on, as the socket guard sees it.
    pub(crate) fn ip(&self) -> &[u8] {
        self.frame
            .bytes
            .get(self.frame.header..)
            .unwrap_or_default()
    }

    pub(crate) fn wire_with(&self, registry: &Registry) -> Decision {
        let tables = self.tables(registry, &self.frame.bytes, None);
        let way = match (self.interface, self.handed_back) {
            (LO, _) => enforcer_ebpf::Arrival::Loopback,
            (_, true) => enforcer_ebpf::Arrival::MaybeOwn,
            (_, false) => enforcer_ebpf::Arrival::Received,
        };
        decide(&tables, Guard::Wire, way, &self.parse())
    }

    pub(crate) fn socket_with(&self, registry: &Registry) -> Decision {
        let tables = self.tables(registry, self.ip(), Some(self.socket));
        let (protocol, port) = self.socket.port;
        let packet = at_socket(protocol, port);
        decide(&tables, Guard::Socket, self.way_to_socket(), &packet)
    }

    pub(crate) fn way_to_socket(&self) -> enforcer_ebpf::Arrival {
        let interface = self.registry.interface(self.interface);
        if self.interface == LO {
            enforcer_ebpf::Arrival::Loopback
        } else if self.handed_back || interface.is_some_and(|interface| interface.is_vrf) {
            enforcer_ebpf::Arrival::MaybeOwn
        } else {
            enforcer_ebpf::Arrival::Received
        }
    }

    pub(crate) fn tables<'a>(
        &'a self,
        registry: &'a Registry,
        bytes: &'a [u8],
        socket: Option<Socket>,
    ) -> Tables<'a> {
        Tables {
            registry,
            bytes,
            arrival: self.arrival(),
            socket: socket.map(|socket| socket.state),
        }
    }

    /// The decision in the terms of the reference.
    pub(crate) fn answer(&self, decision: Decision) -> Answer {
        let counter = counter_of(&self.registry, decision.slot);
        Answer {
            verdict: decision.verdict(),
            reason: decision.reason,
            audited: decision.audited,
            rule: decision.rule(),
            // The slot of an uncounted decision has no meaning.
            counted: decision.is_counted().then_some(counter),
        }
    }
}

/// Runs a property over many cases; a failure is shrunk and shown with the frame as hex.
#[track_caller]
pub(crate) fn check(cases: u32, property: impl Fn(&Case) -> Result<(), TestCaseError>) {
    let cases = match std::env::var("ENFORCER_CASES") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => cases,
    };
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    // Enough bytes for all choices of a registry and of the longest chain.
    let strategy = proptest::collection::vec(any::<u8>(), 320).prop_map(|bytes| Case::of(&bytes));
    match TestRunner::new(config).run(&strategy, |case| property(&case)) {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => panic!("{why}\nframe: {}\n{case:?}", case.frame.hex()),
        Err(abort) => panic!("{abort}"),
    }
}

pub(crate) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), TestCaseError> {
    if holds {
        Ok(())
    } else {
        Err(TestCaseError::fail(why()))
    }
}

pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    implementation: T,
    reference: T,
) -> Result<(), TestCaseError> {
    ensure(implementation == reference, || {
        format!("{what}\n  implementation: {implementation:?}\n  expected:       {reference:?}")
    })
}

/// The outcome of the parser, in the terms of the reference.
pub(crate) fn packet_words(packet: &Packet) -> Result<(Protocol, u16), Reason> {
    packet
        .transport
        .protocol()
        .map(|protocol| (protocol, packet.transport.port))
}

/// Source and destination, where the parser found an IP header.
pub(crate) fn addresses_of(frame: &[u8], packet: &Packet) -> Option<(Address, Address)> {
    Some((
        source(frame, packet.ip_offset)?,
        destination(frame, packet.ip_offset)?,
    ))
}
