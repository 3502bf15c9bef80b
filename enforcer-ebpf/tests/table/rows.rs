//! The decision table, by hand from the design: the first matching row wins. A row has no condition
//! for the inputs that it does not name.

use enforcer_ebpf::{Reason, Verdict};

use crate::inputs::{Condition, Input};

/// A row of the table.
pub(crate) struct Row {
    pub(crate) why: &'static str,
    pub(crate) when: &'static [Condition],
    pub(crate) then: Expected,
    pub(crate) slot: Slot,
    pub(crate) mode: Whose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Reason,
    /// `None` for packets without a port.
    pub(crate) rule: Option<u8>,
}

/// The slot of the counters.
#[derive(Clone, Copy)]
pub(crate) enum Slot {
    Uncounted,
    NoPort,
    Unregistered,
    Network,
    Port,
    /// The registered port's, else that of packets without a port.
    PortOr0,
    /// The registered port's, else uncounted.
    PortOrUncounted,
}

/// The mode that a drop follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The row is a pass.
    Pass,
    Global,
    Service,
    Network,
    Unregistered,
}

const fn yes(input: Input) -> Condition {
    (input, 0b10)
}

const fn no(input: Input) -> Condition {
    (input, 0b01)
}

const WIRE: Condition = (Input::Guard, 0b01);
const SOCKET: Condition = (Input::Guard, 0b10);
const ON_LO: Condition = (Input::Arrival, 0b010);
const PERHAPS_OWN: Condition = (Input::Arrival, 0b100);
const FRAGMENT: Condition = (Input::Kind, 1 << 3);
const TAGGED: Condition = (Input::Kind, 1 << 4);
const OTHER_PROTOCOL: Condition = (Input::Kind, 1 << 5);
const HEADER_CHAIN: Condition = (Input::Kind, 1 << 6);
const MALFORMED: Condition = (Input::Kind, 1 << 7);
const OPEN: Condition = (Input::Port, 0b001);
const UNREGISTERED: Condition = (Input::Port, 0b010);
const BACK: Condition = (Input::Route, 0b010);
const ONWARD: Condition = (Input::Route, 0b100);
/// `forward = false` switches rules 3 and 5 off.
const RULES_3_AND_5: Condition = no(Input::JudgesAll);
const NOT_LOCAL: Condition = no(Input::IsLocal);
const OTHER_MAC: Condition = yes(Input::OtherMac);
const ANOTHERS: Condition = yes(Input::AnothersFragment);
const NETWORK: Condition = yes(Input::Network);

const fn row(
    why: &'static str,
    when: &'static [Condition],
    (verdict, reason, rule): (Verdict, Reason, u8),
    slot: Slot,
    mode: Whose,
) -> Row {
    let rule = match rule {
        0 => None,
        rule => Some(rule),
    };
    let then = Expected {
        verdict,
        reason,
        rule,
    };
    Row {
        why,
        when,
        then,
        slot,
        mode,
    }
}

const fn pass(
    why: &'static str,
    when: &'static [Condition],
    reason: Reason,
    rule: u8,
    slot: Slot,
) -> Row {
    row(why, when, (Verdict::Pass, reason, rule), slot, Whose::Pass)
}

const fn drop(
    why: &'static str,
    when: &'static [Condition],
    (reason, rule): (Reason, u8),
    slot: Slot,
    mode: Whose,
) -> Row {
    row(why, when, (Verdict::Drop, reason, rule), slot, mode)
}

pub(crate) const ROWS: &[Row] = &[
    // Rule 1.
    pass(
        "1: arrived on lo",
        &[ON_LO],
        Reason::Loopback,
        1,
        Slot::PortOrUncounted,
    ),
    pass(
        "1: handed back to this host, from an address of this host",
        &[PERHAPS_OWN, yes(Input::IsOwn)],
        Reason::Loopback,
        1,
        Slot::PortOrUncounted,
    ),
    // Rule 2.
    drop(
        "2: a loopback address on the wire",
        &[WIRE, yes(Input::LoopbackAddress)],
        (Reason::LoopbackAddress, 2),
        Slot::PortOr0,
        Whose::Global,
    ),
    // Rule 3, which is asked where rule 4 would decide, and below.
    pass(
        "3: to a container network, through another machine",
        &[WIRE, NETWORK, RULES_3_AND_5, OTHER_MAC, NOT_LOCAL],
        Reason::Forwarded,
        3,
        Slot::Uncounted,
    ),
    // Rule 4.
    pass(
        "4: to a container network, from one of its peers",
        &[WIRE, NETWORK, yes(Input::NetworkAllows)],
        Reason::Peer,
        4,
        Slot::Network,
    ),
    drop(
        "4: to a container network",
        &[WIRE, NETWORK],
        (Reason::ContainerNetwork, 4),
        Slot::Network,
        Whose::Network,
    ),
    // Packets without a port.
    pass(
        "a VLAN frame",
        &[TAGGED],
        Reason::Tagged,
        0,
        Slot::Uncounted,
    ),
    pass(
        "another protocol",
        &[OTHER_PROTOCOL],
        Reason::OtherProtocol,
        0,
        Slot::Uncounted,
    ),
    drop(
        "a fragment of another interface's peer, where all is judged",
        &[WIRE, FRAGMENT, ANOTHERS, yes(Input::JudgesAll)],
        (Reason::UnknownPeer, 0),
        Slot::NoPort,
        Whose::Global,
    ),
    drop(
        "a fragment of another interface's peer, to this host",
        &[WIRE, FRAGMENT, ANOTHERS, yes(Input::IsLocal)],
        (Reason::UnknownPeer, 0),
        Slot::NoPort,
        Whose::Global,
    ),
    pass(
        "a fragment of another interface's peer, to another machine",
        &[WIRE, FRAGMENT, ANOTHERS, OTHER_MAC],
        Reason::Fragment,
        0,
        Slot::Uncounted,
    ),
    pass(
        "a fragment of another interface's peer, on its way onward",
        &[WIRE, FRAGMENT, ANOTHERS, ONWARD],
        Reason::Fragment,
        0,
        Slot::Uncounted,
    ),
    pass(
        "a fragment of another interface's peer, back on a hub",
        &[WIRE, FRAGMENT, ANOTHERS, BACK, yes(Input::Hairpin)],
        Reason::Fragment,
        0,
        Slot::Uncounted,
    ),
    drop(
        "a fragment of another interface's peer, for this host",
        &[WIRE, FRAGMENT, ANOTHERS],
        (Reason::UnknownPeer, 0),
        Slot::NoPort,
        Whose::Global,
    ),
    pass(
        "any other later fragment",
        &[FRAGMENT],
        Reason::Fragment,
        0,
        Slot::Uncounted,
    ),
    pass(
        "3: a long chain to another machine",
        &[WIRE, HEADER_CHAIN, RULES_3_AND_5, OTHER_MAC, NOT_LOCAL],
        Reason::Forwarded,
        3,
        Slot::Uncounted,
    ),
    pass(
        "5: a long chain, on its way onward",
        &[WIRE, HEADER_CHAIN, RULES_3_AND_5, ONWARD, NOT_LOCAL],
        Reason::Forwarded,
        5,
        Slot::Uncounted,
    ),
    pass(
        "5: a long chain, back on a hub",
        &[
            WIRE,
            HEADER_CHAIN,
            RULES_3_AND_5,
            BACK,
            yes(Input::Hairpin),
            NOT_LOCAL,
        ],
        Reason::Forwarded,
        5,
        Slot::Uncounted,
    ),
    drop(
        "a long chain",
        &[HEADER_CHAIN],
        (Reason::HeaderChain, 0),
        Slot::NoPort,
        Whose::Global,
    ),
    pass(
        "3: a damaged header to another machine",
        &[WIRE, MALFORMED, RULES_3_AND_5, OTHER_MAC, NOT_LOCAL],
        Reason::Forwarded,
        3,
        Slot::Uncounted,
    ),
    pass(
        "5: a damaged header, on its way onward",
        &[WIRE, MALFORMED, RULES_3_AND_5, ONWARD, NOT_LOCAL],
        Reason::Forwarded,
        5,
        Slot::Uncounted,
    ),
    pass(
        "5: a damaged header, back on a hub",
        &[
            WIRE,
            MALFORMED,
            RULES_3_AND_5,
            BACK,
            yes(Input::Hairpin),
            NOT_LOCAL,
        ],
        Reason::Forwarded,
        5,
        Slot::Uncounted,
    ),
    drop(
        "a damaged header",
        &[MALFORMED],
        (Reason::Malformed, 0),
        Slot::NoPort,
        Whose::Global,
    ),
    // Rule 6, every other case: rules 3 and 5 are asked for drops alone.
    pass(
        "6: [unregistered] leaves the protocol alone",
        &[OPEN],
        Reason::Unregistered,
        6,
        Slot::Uncounted,
    ),
    pass(
        "6: no new connection",
        &[UNREGISTERED, no(Input::Opens)],
        Reason::Unregistered,
        6,
        Slot::Uncounted,
    ),
    pass(
        "6: an inside interface",
        &[UNREGISTERED, yes(Input::Inside)],
        Reason::Unregistered,
        6,
        Slot::Uncounted,
    ),
    // Rules 3 and 5, for a registered port or a connection that rule 6 is about.
    pass(
        "3: to another machine",
        &[WIRE, RULES_3_AND_5, NOT_LOCAL, OTHER_MAC],
        Reason::Forwarded,
        3,
        Slot::Uncounted,
    ),
    pass(
        "5: leaves by another interface",
        &[WIRE, RULES_3_AND_5, NOT_LOCAL, ONWARD],
        Reason::Forwarded,
        5,
        Slot::Uncounted,
    ),
    pass(
        "5: leaves by the same interface, on a hub",
        &[WIRE, RULES_3_AND_5, NOT_LOCAL, BACK, yes(Input::Hairpin)],
        Reason::Forwarded,
        5,
        Slot::Uncounted,
    ),
    // Rule 6.
    pass(
        "6: a peer of [unregistered]",
        &[UNREGISTERED, yes(Input::UnregisteredAllows)],
        Reason::Peer,
        6,
        Slot::Unregistered,
    ),
    drop(
        "6: a connection to a port without a service",
        &[UNREGISTERED],
        (Reason::UnregisteredPort, 6),
        Slot::Unregistered,
        Whose::Unregistered,
    ),
    // Rules 7 to 10.
    pass(
        "7: a public service",
        &[yes(Input::Public)],
        Reason::Public,
        7,
        Slot::Port,
    ),
    pass(
        "8: an allowed peer",
        &[yes(Input::Peer)],
        Reason::Peer,
        8,
        Slot::Port,
    ),
    // Asked for drops alone, as rules 3 and 5 are.
    pass(
        "5: the accepted side of a transparent proxy",
        &[SOCKET, yes(Input::Proxied)],
        Reason::Forwarded,
        5,
        Slot::Uncounted,
    ),
    drop(
        "9: another source, where a peer of the service could be",
        &[yes(Input::Carried)],
        (Reason::UnknownPeer, 9),
        Slot::Port,
        Whose::Service,
    ),
    drop(
        "10: every other case",
        &[],
        (Reason::UntrustedInterface, 10),
        Slot::Port,
        Whose::Service,
    ),
];
