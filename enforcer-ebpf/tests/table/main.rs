//! The decision against a table written by hand from the design, for every combination of its
//! inputs.
//!
//! [`rows::ROWS`] is the table: conditions, and a verdict; the first matching row wins. The inputs
//! and their values are those of [`Input`]. A combination is a value for each input, and no
//! combination is left out:
//! - Combinations that differ only in inputs that neither the decision nor the table reads are
//!   compared at once, and all of them are counted. Reads are observed, not assumed: an input has
//!   no value until the first read, and a read without a value splits the combinations by all
//!   values of that input.
//! - Combinations that contradict themselves ([`Inputs::is_impossible`]) have no verdict in the
//!   design. The test counts them apart.
//!
//! The two numbers together are the product of the numbers of values.

mod inputs;
mod rows;

use std::collections::BTreeMap;

use enforcer_ebpf::{Decision, Mode, Packet, Protocol, Transport, decide, unregistered_slot};
use inputs::{INPUTS, Input, Inputs, KINDS, SLOT};
use rows::{Expected, ROWS, Row, Slot, Whose};

#[test]
fn the_decision_is_the_table_for_every_combination() {
    let mut tally = Tally::default();
    // No input has a value yet: a single class with all combinations.
    let mut open = vec![Inputs::default()];
    while let Some(inputs) = open.pop() {
        match compare(&inputs) {
            Step::Split(input) => open.extend(inputs.split(input)),
            Step::Impossible => tally.impossible += inputs.combinations(),
            Step::Equal(row) => {
                tally.classes += 1;
                *tally.rows.entry(row).or_default() += inputs.combinations();
            }
        }
    }
    let compared: u64 = tally.rows.values().sum();
    println!(
        "{compared} combinations compared in {} classes, {} impossible ones",
        tally.classes, tally.impossible
    );
    for (number, row) in ROWS.iter().enumerate() {
        let count = tally.rows.get(&number).copied().unwrap_or_default();
        println!("{count:>12}  {}", row.why);
        assert!(count > 0, "no combination reaches {:?}", row.why);
    }
    let all: u64 = INPUTS
        .iter()
        .map(|input| u64::from(input.values()))
        .product();
    assert_eq!(compared + tally.impossible, all);
    assert_eq!(all, ALL_COMBINATIONS);
}

/// The product of the numbers of values, by hand: guard, arrival, loopback address, kind, port,
/// public, peers of the service, its mode, mode of `[unregistered]`, container network, its mode,
/// whether it allows the source, six answers of yes and no about the packet, the source in
/// `[unregistered]`, the route, four settings of the interface, two sets of peers, the global mode.
const ALL_COMBINATIONS: u64 =
    2 * 3 * 2 * 8 * 3 * (2 * 2 * 2) * 2 * (2 * 2 * 2) * 64 * 2 * 3 * 16 * 4 * 2;

#[derive(Default)]
struct Tally {
    classes: u64,
    impossible: u64,
    /// The number of combinations that each row decides.
    rows: BTreeMap<usize, u64>,
}

enum Step {
    /// The input was read and has no value.
    Split(Input),
    Impossible,
    /// Decision and table agree, by the row of this index.
    Equal(usize),
}

/// Compares the decision with the table for a class of combinations.
fn compare(inputs: &Inputs) -> Step {
    if inputs.is_impossible() {
        return Step::Impossible;
    }
    let packet = inputs.packet();
    let decision = decide(inputs, inputs.guard(), inputs.arrival(), &packet);
    if let Some(input) = inputs.missing() {
        return Step::Split(input);
    }
    let (number, row) = first_match(inputs);
    let expected = Answer::of_row(row, inputs, &packet);
    if let Some(input) = inputs.missing() {
        return Step::Split(input);
    }
    assert_eq!(
        Answer::of_decision(&decision),
        expected,
        "row: {}\ninputs: {inputs:#?}",
        row.why
    );
    Step::Equal(number)
}

fn first_match(inputs: &Inputs) -> (usize, &'static Row) {
    ROWS.iter()
        .enumerate()
        .find(|(_, row)| row.when.iter().all(|condition| inputs.meets(*condition)))
        .expect("the last row has no condition")
}

/// All that a decision says.
#[derive(Debug, PartialEq)]
struct Answer {
    expected: Expected,
    counted: bool,
    audited: bool,
    drops: bool,
    /// The slot of the counters, where the decision is counted.
    slot: Option<u16>,
}

impl Answer {
    fn of_decision(decision: &Decision) -> Self {
        Self {
            expected: Expected {
                verdict: decision.verdict(),
                reason: decision.reason,
                rule: decision.rule(),
            },
            counted: decision.is_counted(),
            audited: decision.audited,
            drops: decision.drops(),
            slot: decision.is_counted().then_some(decision.slot),
        }
    }

    fn of_row(row: &Row, inputs: &Inputs, packet: &Packet) -> Self {
        let slot = match row.slot {
            Slot::Uncounted => None,
            Slot::NoPort => Some(0),
            Slot::Unregistered => packet.transport.protocol().ok().map(unregistered_slot),
            Slot::Network => Some(4),
            Slot::Port => Some(SLOT),
            Slot::PortOr0 if inputs.is_registered(packet) => Some(SLOT),
            Slot::PortOr0 => Some(0),
            Slot::PortOrUncounted => inputs.is_registered(packet).then_some(SLOT),
        };
        let mode = match row.mode {
            Whose::Pass => Mode::Enforce,
            Whose::Global => inputs.mode_of(Input::Mode),
            Whose::Service => inputs.mode_of(Input::ServiceMode),
            Whose::Network => inputs.mode_of(Input::NetworkMode),
            Whose::Unregistered => inputs.mode_of(Input::UnregisteredMode),
        };
        let is_drop = row.mode != Whose::Pass;
        Self {
            expected: row.then,
            counted: slot.is_some(),
            audited: is_drop && mode == Mode::Audit,
            drops: is_drop && mode == Mode::Enforce,
            slot,
        }
    }
}

#[test]
fn the_table_names_each_protocols_slot() {
    let slots = Protocol::ALL.map(unregistered_slot);
    assert_eq!(slots, [1, 2, 3]);
    for (kind, protocol) in KINDS.into_iter().zip(Protocol::ALL) {
        assert_eq!(Transport { kind, port: 1 }.protocol(), Ok(protocol));
    }
}
