//! The cases of the benchmark, each with its base.

use anyhow::{Context, Result};
use enforcer::kernel::sandbox::Sandbox;
use enforcer_ebpf::Link;

use super::measure::{self, Sample};
use super::policies::{
    AT_ADDRESS_PORT, CONTAINER, FORWARDED, GUEST_MAC, LOCAL_PORT, NOWHERE, PEER, PEER_PORT,
    STRANGER, Size, UNREGISTERED_PORT,
};
use crate::test_run::network::{LOCAL_V4, On};
use crate::test_run::packet::{OWN_MAC, Packet};
use crate::test_run::run::{Arrival, Hook};

/// A path through a program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// The name in the report.
    pub(super) name: &'static str,
    program: Program,
    size: Size,
    on: On,
    source: &'static str,
    destination: &'static str,
    mac: [u8; 6],
    port: u16,
    passes: bool,
    /// The base of the comparison, by name, and the bound of the ratio.
    pub(super) base: Option<(&'static str, Option<f64>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Empty,
    Wire(Hook),
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty_xdp",
            Self::Wire(hook) => hook.program(Link::Ethernet),
        }
    }

    const fn hook(self) -> Hook {
        match self {
            Self::Empty => Hook::Xdp,
            Self::Wire(hook) => hook,
        }
    }
}

const EMPTY: &str = "empty XDP program";
const PASS: &str = "pass: unregistered port, 1 port registered";
const DROP: &str = "drop: interface without peers, 1 port registered";
const ONE_PREFIX: &str = "peer, 1 prefix";
const TCX: &str = "tcx pass: unregistered port";

/// The cases; a base stands before all its comparisons.
pub(super) const CASES: [Case; 23] = [
    case(EMPTY).program(Program::Empty).passes(),
    // The distance of this ratio from 1 is the noise.
    case("empty XDP program, again")
        .program(Program::Empty)
        .passes()
        .against(EMPTY),
    case(PASS)
        .port(UNREGISTERED_PORT)
        .passes()
        .at_most(1.25, EMPTY),
    case("pass: unregistered port, 4,096 registered")
        .under(Size::AllPorts)
        .port(UNREGISTERED_PORT)
        .passes()
        .at_most(1.05, PASS),
    case(DROP).at_most(1.5, EMPTY),
    case("drop: interface without peers, 4,096 registered")
        .under(Size::AllPorts)
        .at_most(1.05, DROP),
    case("drop: the service has peers on another interface")
        .under(Size::AllPrefixes)
        .port(PEER_PORT)
        .at_most(1.5, EMPTY),
    case(ONE_PREFIX).peer(Size::OnePrefix).against(EMPTY),
    case("peer, 10,000 prefixes of one length")
        .peer(Size::AllPrefixes)
        .at_most(1.3, ONE_PREFIX),
    case("peer, 10,000 prefixes of 8 lengths, last one fits")
        .peer(Size::EightLengths)
        .against(ONE_PREFIX),
    case("unknown peer, 10,000 prefixes of one length")
        .stranger(Size::AllPrefixes)
        .against(ONE_PREFIX),
    case("pass: container networks, unregistered port")
        .under(Size::Networks)
        .port(UNREGISTERED_PORT)
        .passes()
        .against(PASS),
    case("drop: container networks, registered port")
        .under(Size::Networks)
        .against(DROP),
    case("drop: a container's own address")
        .under(Size::Networks)
        .to(CONTAINER)
        .against(DROP),
    case("drop: [unregistered], registered port")
        .under(Size::Unregistered)
        .against(DROP),
    case("drop: [unregistered], unregistered port")
        .under(Size::Unregistered)
        .port(UNREGISTERED_PORT)
        .against(DROP),
    case("drop: `on`, another port")
        .under(Size::AtAddress)
        .against(DROP),
    case("drop: `on`, at another address")
        .under(Size::AtAddress)
        .port(AT_ADDRESS_PORT)
        .against(DROP),
    case("pass: rule 3, a guest's MAC")
        .to(NOWHERE)
        .to_mac(GUEST_MAC)
        .passes()
        .against(DROP),
    case("drop: an address that the FIB does not forward")
        .to(NOWHERE)
        .against(DROP),
    case("pass: rule 5, forwarded")
        .to(FORWARDED)
        .on(On::Wg0)
        .passes()
        .against(DROP),
    case(TCX)
        .program(Program::Wire(Hook::Tcx))
        .port(UNREGISTERED_PORT)
        .passes(),
    case("tcx drop: interface without peers")
        .program(Program::Wire(Hook::Tcx))
        .against(TCX),
];

/// A SYN from the LAN to the localhost-only service under the smallest registry, on XDP.
const fn case(name: &'static str) -> Case {
    Case {
        name,
        program: Program::Wire(Hook::Xdp),
        size: Size::OnePort,
        on: On::Eth0,
        source: STRANGER,
        destination: LOCAL_V4,
        mac: OWN_MAC,
        port: LOCAL_PORT,
        passes: false,
        base: None,
    }
}

impl Case {
    const fn program(mut self, program: Program) -> Self {
        self.program = program;
        self
    }

    const fn under(mut self, size: Size) -> Self {
        self.size = size;
        self
    }

    const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    const fn passes(mut self) -> Self {
        self.passes = true;
        self
    }

    const fn to(mut self, destination: &'static str) -> Self {
        self.destination = destination;
        self
    }

    const fn to_mac(mut self, mac: [u8; 6]) -> Self {
        self.mac = mac;
        self
    }

    const fn on(mut self, on: On) -> Self {
        self.on = on;
        self
    }

    /// A packet from an allowed peer, to the peer's service.
    const fn peer(mut self, size: Size) -> Self {
        self = self.stranger(size).passes();
        self.source = PEER;
        self
    }

    /// A packet from another address, where the peers of the service are.
    const fn stranger(mut self, size: Size) -> Self {
        self.on = On::Wg0;
        self.under(size).port(PEER_PORT)
    }

    /// Compares with another case.
    const fn against(mut self, base: &'static str) -> Self {
        self.base = Some((base, None));
        self
    }

    /// Sets a bound for the ratio to another case.
    const fn at_most(mut self, times: f64, base: &'static str) -> Self {
        self.base = Some((base, Some(times)));
        self
    }

    /// The program's expected return value.
    const fn verdict(&self) -> u32 {
        self.program.hook().verdict(self.passes)
    }

    fn frame(&self) -> Vec<u8> {
        Packet::tcp(self.source, self.destination, self.port)
            .to(self.mac)
            .tail(0)
            .build(Link::Ethernet)
            .bytes
    }
}

/// Each policy in maps of its own, with the programs that its cases need.
pub(super) struct Prepared(Vec<(Size, Sandbox)>);

impl Prepared {
    /// Makes and fills the maps, and loads the programs.
    pub(super) fn new() -> Result<Self> {
        let prepare = |size: Size| {
            let mut bench = size.prepare()?;
            let mut loaded: Vec<&str> = Vec::new();
            for case in CASES.iter().filter(|case| case.size == size) {
                let name = case.program.name();
                if !loaded.contains(&name) {
                    bench.load(name)?;
                    loaded.push(name);
                }
            }
            Ok((size, bench))
        };
        Size::ALL
            .into_iter()
            .map(prepare)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Samples a case.
    pub(super) fn sample(&self, case: &Case, repeat: u32) -> Result<Sample> {
        let mut all = self.0.iter();
        let (_, bench) = all
            .find(|(size, _)| *size == case.size)
            .context("every policy is prepared")?;
        let frame = case.frame();
        let arrival = Arrival::new(&frame, case.on.ifindex());
        let program = bench.program(case.program.name())?;
        measure::sample(program, &arrival, repeat, case.verdict())
            .with_context(|| format!("failed to measure `{}`", case.name))
    }
}
