//! The cases of the property tests, and their runner.

use enforcer_ebpf::{Decision, Guard, Packet, Protocol, Reason, at_socket, decide, parse};
use proptest::{
    prelude::{Strategy as _, any},
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};

use crate::{
    frames::{Frame, choices::Choices},
    reference::{Answer, LO, Registry},
    tables::Tables,
};

pub(crate) const CASES: u32 = 100_000;

/// A packet with all inputs of the verdict.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) frame: Frame,
    pub(crate) interface: u32,
    /// The FIB's answer.
    pub(crate) forwarded: bool,
    /// The socket of the kernel's choice, independent of the packet.
    pub(crate) socket: (Protocol, u16),
    pub(crate) registry: Registry,
}

impl Case {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut choices = Choices::new(bytes);
        Self {
            interface: choices.interface(),
            forwarded: choices.chance(128),
            socket: choices.socket(),
            registry: choices.registry(),
            frame: Frame::arbitrary(&mut choices),
        }
    }

    pub(crate) fn parse(&self) -> Packet {
        parse(&self.frame.bytes[..], self.frame.link)
    }

    /// The packet from the IP header on, as the socket guard sees it.
    pub(crate) fn ip(&self) -> &[u8] {
        self.frame
            .bytes
            .get(self.frame.header..)
            .unwrap_or_default()
    }

    pub(crate) fn wire_with(&self, registry: &Registry) -> Decision {
        let tables = self.tables(registry, &self.frame.bytes);
        decide(&tables, Guard::Wire, self.interface == LO, &self.parse())
    }

    pub(crate) fn socket_with(&self, registry: &Registry) -> Decision {
        let tables = self.tables(registry, self.ip());
        let packet = at_socket(self.socket.0, self.socket.1);
        decide(&tables, Guard::Socket, self.interface == LO, &packet)
    }

    pub(crate) fn tables<'a>(&'a self, registry: &'a Registry, bytes: &'a [u8]) -> Tables<'a> {
        Tables {
            registry,
            interface: self.interface,
            bytes,
            forwarded: self.forwarded,
        }
    }

    /// The decision in the terms of the reference.
    pub(crate) fn answer(&self, decision: Decision) -> Answer {
        let port = self.tables(&self.registry, &[]).port_of(decision.slot);
        Answer {
            verdict: decision.verdict(),
            reason: decision.reason,
            audited: decision.audited,
            counted: decision.is_counted(),
            rule: decision.rule(),
            // The slot of an uncounted decision has no meaning.
            port: port.filter(|_| decision.is_counted()),
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
    let strategy = proptest::collection::vec(any::<u8>(), 224).prop_map(|bytes| Case::of(&bytes));
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
