//! Buffers that are not linear: bytes beyond the reach of direct access are read by helper.

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Link, Reason};

use super::named::named;
use super::network::On;
use super::packet::{Extension, Packet};
use super::rig::{Rig, scenario, with_rig};
use super::run::Hook;
use super::table::forms;
use super::world::REGISTRY;
use crate::lab::frames::number::DESTINATION;
use crate::scenario::Scenario;

const XDP: [(Hook, Link); 2] = [(Hook::Xdp, Link::Ethernet), (Hook::Xdp, Link::Ip)];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario(
            "xdp::a_frame_of_many_pages_is_judged_and_counted_in_full",
            || with_rig(REGISTRY, &XDP, many_pages),
        ),
        scenario("xdp::ports_behind_the_first_page_are_read", || {
            with_rig(REGISTRY, &XDP, ports_far_behind)
        }),
        scenario(
            "xdp::a_header_is_read_wherever_the_linear_part_ends",
            || with_rig(REGISTRY, &XDP, split_anywhere),
        ),
    ]
}

/// More bytes than a page holds, with headroom and tail room.
const MORE_THAN_A_PAGE: usize = 4096;

fn many_pages(rig: &mut Rig<'_>) -> Result<()> {
    for row in named() {
        for length in [MORE_THAN_A_PAGE, 9000, 32_000] {
            // The linear part ends where the kernel says; the bytes are counted in full.
            for frame in forms_with_tail(&row.packet, length) {
                let judged = rig.check(Hook::Xdp, row.on, &frame).context(row.name)?;
                ensure!(judged.reason == row.reason, "{}: {judged:?}", row.name);
            }
        }
    }
    Ok(())
}

fn forms_with_tail(packet: &Packet, tail: usize) -> Vec<super::packet::Frame> {
    let packet = packet.clone().tail(tail);
    let raw = packet.without_ethernet();
    [packet.build(Link::Ethernet)]
        .into_iter()
        .chain(raw)
        .collect()
}

fn ports_far_behind(rig: &mut Rig<'_>) -> Result<()> {
    // The longest options header: 2,048 bytes.
    let long = Extension::Options(DESTINATION, u8::MAX);
    for count in 1..=8 {
        let packet =
            |source, port| Packet::tcp(source, "fd00:10::2", port).chain(&vec![long; count]);
        for (on, packet, reason) in [
            (
                On::Eth0,
                packet("fd00:77::2", 9200),
                Reason::UntrustedInterface,
            ),
            (On::Eth0, packet("fd00:77::2", 8080), Reason::Public),
            (On::Eth0, packet("fd00:77::2", 22), Reason::Unregistered),
            (On::Wg0, packet("fd00:10::5", 9090), Reason::Peer),
            (On::Wg0, packet("fd00:11::5", 9090), Reason::UnknownPeer),
        ] {
            for link in [Link::Ethernet, Link::Ip] {
                let frame = packet.build(link);
                let judged = rig.check(Hook::Xdp, on, &frame)?;
                ensure!(
                    judged.reason == reason,
                    "{count} headers of 2 KiB: {judged:?}, and not {reason}"
                );
                // Cut off in the middle of the chain, and before the ports.
                for short in [1, 20, 124, 1_000] {
                    let cut = frame.cut(frame.bytes.len() - short);
                    rig.check(Hook::Xdp, on, &cut)?;
                }
            }
        }
    }
    Ok(())
}

fn split_anywhere(rig: &mut Rig<'_>) -> Result<()> {
    /// The kernel wants an Ethernet header in the linear part.
    const LEAST: usize = 14;
    if !splits(rig)? {
        // A printed line, and no error: `ports_behind_the_first_page_are_read` covers the helper's
        // path on every kernel.
        println!("skipped: this kernel chooses the linear part itself (Linux before 6.18)");
        return Ok(());
    }
    for row in named() {
        for frame in forms(&row) {
            for linear in LEAST..frame.bytes.len() {
                rig.check_in_parts(Hook::Xdp, row.on, &frame, linear)
                    .context(row.name)?;
            }
        }
    }
    Ok(())
}

/// Whether the kernel lets a test run choose the end of the linear part.
fn splits(rig: &mut Rig<'_>) -> Result<bool> {
    let frame = Packet::tcp("192.168.77.2", "192.168.77.1", 22).build(Link::Ethernet);
    rig.check(Hook::Xdp, On::Eth0, &frame)?;
    match rig.check_in_parts(Hook::Xdp, On::Eth0, &frame, 20) {
        Ok(_) => Ok(true),
        Err(error) => {
            let refused = error.chain().any(|cause| {
                cause
                    .downcast_ref::<std::io::Error>()
                    .is_some_and(|error| error.raw_os_error() == Some(libc::EINVAL))
            });
            if refused { Ok(false) } else { Err(error) }
        }
    }
}
