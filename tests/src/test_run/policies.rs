//! Effects of the policy: modes, banks, and the answer of the FIB.

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Link, Reason, Verdict};

use super::named::named;
use super::network::{LOCAL_V4, LOCAL_V6, On, set_forwarding};
use super::packet::Packet;
use super::rig::{Rig, scenario, with_rig};
use super::run::Hook;
use super::table::forms;
use super::world::{REGISTRY, World, registry_with};
use crate::scenario::Scenario;

/// Both hooks on Ethernet: the policy is the same behind every entry point.
const BOTH: [(Hook, Link); 2] = [(Hook::Xdp, Link::Ethernet), (Hook::Tcx, Link::Ethernet)];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario(
            "audit_passes_everything_and_counts_what_it_would_drop",
            || {
                let registry = registry_with(r#"mode = "enforce""#, r#"mode = "audit""#)?;
                let all = [
                    (Hook::Xdp, Link::Ethernet),
                    (Hook::Xdp, Link::Ip),
                    (Hook::Tcx, Link::Ethernet),
                    (Hook::Tcx, Link::Ip),
                ];
                with_rig(&registry, &all, audit)
            },
        ),
        scenario("only_what_the_fib_would_forward_passes_unjudged", || {
            with_rig(REGISTRY, &BOTH, forwarding)
        }),
        scenario("the_generation_alone_says_which_bank_decides", || {
            with_rig(REGISTRY, &BOTH, banks)
        }),
    ]
}

fn audit(rig: &mut Rig<'_>) -> Result<()> {
    let mut audited = 0;
    for row in named() {
        for frame in forms(&row) {
            for hook in Hook::ALL {
                let expected = rig.check(hook, row.on, &frame).context(row.name)?;
                let would_drop = row.reason.verdict() == Verdict::Drop;
                ensure!(
                    expected.passes && expected.reason == row.reason,
                    "{}: {expected:?} under audit",
                    row.name
                );
                ensure!(
                    expected.audited == would_drop && (expected.counted.is_some() || !would_drop),
                    "{}: {expected:?} is not counted as audited",
                    row.name
                );
                audited += u32::from(would_drop);
            }
        }
    }
    ensure!(audited > 0, "nothing would have been dropped");
    Ok(())
}

fn forwarding(rig: &mut Rig<'_>) -> Result<()> {
    let transit = [
        Packet::tcp("192.168.77.2", "198.51.100.7", 9200),
        Packet::tcp("fd00:77::2", "2001:db8:2::7", 9200),
    ];
    let local = [
        Packet::tcp("192.168.77.2", LOCAL_V4, 9200),
        Packet::tcp("fd00:77::2", LOCAL_V6, 9200),
    ];
    let expect = |rig: &mut Rig<'_>, on, packet: &Packet, reason| {
        for hook in Hook::ALL {
            let judged = rig.check(hook, on, &packet.build(Link::Ethernet))?;
            ensure!(judged.reason == reason, "{judged:?}, and not {reason}");
        }
        anyhow::Ok(())
    };
    for packet in &transit {
        expect(rig, On::Fwd0, packet, Reason::Forwarded)?;
        expect(rig, On::Eth0, packet, Reason::UntrustedInterface)?;
    }
    for packet in &local {
        expect(rig, On::Fwd0, packet, Reason::UntrustedInterface)?;
    }
    // A host that does not forward delivers nothing elsewhere, whatever the registry says: a DNAT
    // rule may still bring the packet to a socket.
    set_forwarding(rig.network, false)?;
    rig.world.forwards = false;
    for packet in transit.iter().chain(&local) {
        expect(rig, On::Fwd0, packet, Reason::UntrustedInterface)
            .context("on a host that does not forward")?;
    }
    Ok(())
}

fn banks(rig: &mut Rig<'_>) -> Result<()> {
    let frame = Packet::tcp("192.168.77.2", "192.168.77.1", 9200).build(Link::Ethernet);
    let expect = |rig: &mut Rig<'_>, reason| {
        for hook in Hook::ALL {
            let judged = rig.check(hook, On::Eth0, &frame)?;
            ensure!(judged.reason == reason, "{judged:?}, and not {reason}");
            // All of the policy is read from the same bank: every packet of the table agrees.
            for row in named() {
                let frame = row.packet.build(Link::Ethernet);
                rig.check(hook, row.on, &frame).context(row.name)?;
            }
        }
        anyhow::Ok(())
    };
    expect(rig, Reason::UntrustedInterface)?;
    let slots = rig.world.slots();
    // Services, peers, interfaces and the mode: the contents of the other bank all differ.
    let mut other = registry_with(r#"mode = "enforce""#, r#"mode = "audit""#)?;
    for (from, to) in [
        ("ports = [9200]\n", "public = true\nports = [9200]\n"),
        (r#"allow = ["collector", "office"]"#, r#"allow = ["wide"]"#),
        (r#""10.10.0.0/28""#, r#""10.10.0.16/28""#),
        ("forward = true", "forward = false"),
    ] {
        ensure!(other.contains(from), "the registry does not say {from}");
        other = other.replacen(from, to, 1);
    }
    let second = rig.reload(&other)?;
    expect(rig, Reason::Public).context("after a reload")?;
    for (generation, text, reason) in [
        (second - 1, REGISTRY, Reason::UntrustedInterface),
        (second, &other, Reason::Public),
        (second + 1, REGISTRY, Reason::UntrustedInterface),
    ] {
        rig.set_generation(generation, World::new(text, &slots)?)?;
        expect(rig, reason).with_context(|| format!("generation {generation}"))?;
    }
    Ok(())
}
