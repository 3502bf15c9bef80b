//! Frames through every wire guard: the table, all cuts of the packets, and random frames.

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::Link;

use super::named::{Named, named};
use super::network::On;
use super::packet::Frame;
use super::random::Rng;
use super::rig::{Rig, scenario, with_rig};
use super::run::{Arrival, Hook};
use super::world::REGISTRY;
use crate::scenario::Scenario;

/// Frames for each hook, unless the environment variable `ENFORCER_RANDOM_FRAMES` says otherwise.
const RANDOM_FRAMES: u32 = 24_000;
/// The kernel refuses shorter frames.
const SHORTEST: usize = 14;
const LONGEST: usize = 128;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for hook in Hook::ALL {
        let all = [(hook, Link::Ethernet), (hook, Link::Ip)];
        let mut add = |name: &str, body: fn(&mut Rig<'_>, Hook) -> Result<()>| {
            scenarios.push(scenario(&format!("{hook}::{name}"), move || {
                with_rig(REGISTRY, &all, |rig| body(rig, hook))
            }));
        };
        add("named_packets_are_judged_and_counted_as_on_the_host", table);
        add("no_cut_of_a_packet_is_an_error_or_opens_a_door", cuts);
        add(
            "random_frames_are_judged_and_counted_as_on_the_host",
            random,
        );
    }
    scenarios
}

/// Each packet on the interface for which the table gives the reason, and on every other interface.
fn table(rig: &mut Rig<'_>, hook: Hook) -> Result<()> {
    for row in named() {
        for frame in forms(&row) {
            let here = rig.check(hook, row.on, &frame).context(row.name)?;
            ensure!(
                here.reason == row.reason,
                "{}: expected {}, and both builds say {}",
                row.name,
                row.reason,
                here.reason
            );
            for on in On::ALL {
                rig.check(hook, on, &frame).context(row.name)?;
            }
        }
    }
    Ok(())
}

fn cuts(rig: &mut Rig<'_>, hook: Hook) -> Result<()> {
    for row in named() {
        // Behind a tag, too: test runs on tcx refuse some cuts of plain frames.
        let tagged = row.packet.behind_a_tag().map(|it| it.build(Link::Ethernet));
        for whole in forms(&row).into_iter().chain(tagged) {
            ensure!(
                whole.bytes.len() >= LONGEST,
                "{} has only {} bytes",
                row.name,
                whole.bytes.len()
            );
            let judged = rig.world.judge(row.on, &whole);
            for length in SHORTEST..=LONGEST {
                let cut = whole.cut(length);
                for frame in [cut.clone().repaired(), cut] {
                    if Arrival::new(&frame.bytes, row.on.ifindex()).is_refused(hook) {
                        continue;
                    }
                    let context = || format!("{} cut to {length}", row.name);
                    let expected = rig.check(hook, row.on, &frame).with_context(context)?;
                    ensure!(
                        judged.passes || !expected.passes,
                        "{} passes ({}), and the whole packet is dropped",
                        context(),
                        expected.reason
                    );
                }
            }
        }
    }
    Ok(())
}

fn random(rig: &mut Rig<'_>, hook: Hook) -> Result<()> {
    let frames = match std::env::var("ENFORCER_RANDOM_FRAMES") {
        Ok(number) => number.parse().context("ENFORCER_RANDOM_FRAMES")?,
        Err(_) => RANDOM_FRAMES,
    };
    let seed = 0x0e4f_0000;
    let mut rng = Rng::new(seed);
    let mut reasons = std::collections::BTreeMap::<_, u32>::new();
    for number in 0..frames {
        let on = rng.interface();
        let mut frame = rng.frame();
        while Arrival::new(&frame.bytes, on.ifindex()).is_refused(hook) {
            frame = rng.frame();
        }
        let expected = rig
            .check(hook, on, &frame)
            .with_context(|| format!("random frame {number} of seed {seed:#x}"))?;
        *reasons
            .entry((expected.reason, expected.audited))
            .or_default() += 1;
    }
    // Every reason, and the two that a service's own audit mode can turn: a generator that misses a
    // reason proves nothing about that reason.
    let rare = enforcer_ebpf::Reason::ALL
        .map(|reason| (reason, false))
        .into_iter()
        .chain([
            (enforcer_ebpf::Reason::UntrustedInterface, true),
            (enforcer_ebpf::Reason::UnknownPeer, true),
        ])
        .find(|key| reasons.get(key).copied().unwrap_or(0) < frames / 2_000);
    ensure!(
        rare.is_none(),
        "hardly or never reached: {rare:?} of {reasons:?}"
    );
    Ok(())
}

/// The packet with an Ethernet header, and without one where such a form exists.
pub(super) fn forms(row: &Named) -> Vec<Frame> {
    let raw = row.packet.without_ethernet();
    [row.packet.build(Link::Ethernet)]
        .into_iter()
        .chain(raw)
        .collect()
}
