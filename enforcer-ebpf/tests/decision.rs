//! Parser and decision against a second implementation and against properties of the design.
//!
//! `ENFORCER_CASES` sets the number of cases (usually 100,000).
#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, and means the functions alone"
)]

mod case;
mod frames;
mod properties;
mod reference;
mod tables;

use std::{cell::RefCell, collections::BTreeMap};

use case::{CASES, Case, addresses_of, check, packet_words, same};
use enforcer_ebpf::{Guard, Packet, Reason, Verdict, VlanIds, opens, parse};
use frames::named::named;
use proptest::test_runner::TestCaseError;
use reference::{Answer, Counter, Reading};

#[test]
fn both_implementations_agree_and_every_rule_is_reached() {
    let seen = RefCell::new(BTreeMap::<String, u32>::new());
    check(CASES, |case| {
        let (reading, is_lenient) = same_reading(case)?;
        let answers = same_answers(case, &reading)?;
        let mut seen = seen.borrow_mut();
        for what in reached(&reading, is_lenient, &answers) {
            *seen.entry(what).or_default() += 1;
        }
        Ok(())
    });
    let seen = seen.into_inner();
    assert_covered(&seen);
    // The lenient reading is for rare packets only.
    assert!(seen["lenient"] * 20 < seen["strict"], "{seen:#?}");
}

/// Returns the reference's reading of a case, and whether that is the lenient one; an error where
/// the parser reads something else.
fn same_reading(case: &Case) -> Result<(Reading, bool), TestCaseError> {
    let bytes = &case.frame.bytes[..];
    let packet = case.parse();
    let (strict, lenient) = (case.strict(), case.lenient());
    let is_lenient = !fits(&strict, bytes, &packet) && fits(&lenient, bytes, &packet);
    let reading = if is_lenient { lenient } else { strict };
    same(
        "what the packet carries",
        packet_words(&packet),
        reading.outcome,
    )?;
    same(
        "rule 2's condition",
        packet.loopback,
        reading.has_loopback(),
    )?;
    let addresses = reading.addresses;
    same(
        "source and destination",
        addresses_of(bytes, &packet),
        addresses.map(|(from, to)| (from.into(), to.into())),
    )?;
    same(
        "rule 6's first packet",
        opens(bytes, &packet),
        reading.opens,
    )?;
    Ok((reading, is_lenient))
}

/// Whether the parser agrees with a reading of a frame.
fn fits(reading: &Reading, frame: &[u8], packet: &Packet) -> bool {
    let addresses = reading.addresses;
    packet_words(packet) == reading.outcome
        && packet.loopback == reading.has_loopback()
        && addresses_of(frame, packet) == addresses.map(|(from, to)| (from.into(), to.into()))
        && opens(frame, packet) == reading.opens
}

/// Returns the answer of each guard that a case comes to; an error where the two implementations
/// differ.
fn same_answers(case: &Case, reading: &Reading) -> Result<Vec<(Guard, Answer)>, TestCaseError> {
    let wire = case.registry.wire(reading, &case.arrival());
    same(
        "wire guard",
        case.answer(case.wire_with(&case.registry)),
        wire,
    )?;
    let mut answers = vec![(Guard::Wire, wire)];
    // Only packets with a sound IP header come as far as a socket.
    let at_socket = Reading::at_socket(case.ip());
    if at_socket.addresses.is_some() {
        let socket =
            case.registry
                .socket(&at_socket, case.interface, case.handed_back, &case.socket);
        same(
            "socket guard",
            case.answer(case.socket_with(&case.registry)),
            socket,
        )?;
        answers.push((Guard::Socket, socket));
    }
    Ok(answers)
}

/// Returns the sentence of the design, the reasons and the rules that a case reaches.
fn reached(reading: &Reading, is_lenient: bool, answers: &[(Guard, Answer)]) -> Vec<String> {
    let mut reached = vec![
        reading.why.to_owned(),
        if is_lenient { "lenient" } else { "strict" }.to_owned(),
    ];
    for (guard, answer) in answers {
        reached.push(format!("{guard} {}", answer.reason));
        if let Some(rule) = answer.rule {
            reached.push(format!("{guard} rule {rule}"));
        }
        match (answer.reason, answer.rule, answer.counted) {
            (Reason::Peer, Some(rule), _) => reached.push(format!("{guard} peer by rule {rule}")),
            (Reason::Loopback, _, Some(_)) => reached.push(format!("{guard} loopback counted")),
            (Reason::LoopbackAddress, _, Some(Counter::Port(..))) => {
                reached.push("loopback address, registered port".to_owned());
            }
            (Reason::UnknownPeer, None, _) => reached.push("another's fragment".to_owned()),
            _ => {}
        }
        if answer.audited {
            reached.push(format!("{guard} {} audited", answer.reason));
        }
    }
    reached
}

/// Fails if the generator hardly or never reaches a rule, a reason or an ending of the parser.
fn assert_covered(seen: &BTreeMap<String, u32>) {
    // A thousandth: 100 of the usual number of cases.
    let at_least = (seen["strict"] + seen["lenient"]) / 1000;
    let mut wanted: Vec<String> = reference::SENTENCES.map(str::to_owned).to_vec();
    for guard in Guard::ALL {
        let here = |reason: &Reason| guard == Guard::Wire || reference::AT_SOCKETS.contains(reason);
        for reason in Reason::ALL.into_iter().filter(here) {
            wanted.push(format!("{guard} {reason}"));
            if reason.verdict() == Verdict::Drop {
                wanted.push(format!("{guard} {reason} audited"));
            }
        }
        let rules = (1..=10).filter(|rule| guard == Guard::Wire || ![2, 3, 4].contains(rule));
        wanted.extend(rules.map(|rule| format!("{guard} rule {rule}")));
    }
    wanted.extend(
        [
            "wire peer by rule 4",
            "wire peer by rule 6",
            "socket peer by rule 6",
            "wire loopback counted",
            "socket loopback counted",
            "loopback address, registered port",
            "another's fragment",
        ]
        .map(str::to_owned),
    );
    let missing: Vec<&String> = wanted
        .iter()
        .filter(|what| seen.get(*what).is_none_or(|count| *count < at_least))
        .collect();
    assert!(
        missing.is_empty(),
        "hardly or never reached: {missing:#?}\nof {seen:#?}"
    );
}

#[test]
fn named_packets_are_read_as_the_design_says() {
    for sample in named() {
        let packet = parse(&sample.frame.bytes[..], sample.frame.link, VlanIds::Stop);
        assert_eq!(
            packet_words(&packet),
            sample.expected,
            "{}: {}",
            sample.name,
            sample.frame.hex()
        );
        assert_eq!(
            packet.loopback,
            sample.loopback,
            "{}: {}",
            sample.name,
            sample.frame.hex()
        );
        // The reference must be right, too.
        let reading = Reading::strict(&sample.frame.bytes, sample.frame.link, VlanIds::Stop);
        assert_eq!(
            reading.outcome,
            sample.expected,
            "{}: {}",
            sample.name,
            sample.frame.hex()
        );
    }
}
