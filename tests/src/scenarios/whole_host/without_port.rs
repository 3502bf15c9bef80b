//! Packets that hide their ports, on their way through the host to a guest.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::lab::frames::number::{DESTINATION, TCP};
use crate::lab::frames::{Ends, V4, chain, ethernet, v6};
use crate::lab::topology::{HOST_MAC, LAN, LAN_MAC, LAN6, Lab};
use crate::lab::wire::Wire;
use crate::lab::{Outcome, Patience};
use crate::scenarios::attack::{Attempt, Legitimate, attempt};

use super::forwarded::behind_a_veth;

pub(super) fn traffic() -> Vec<Legitimate> {
    vec![
        Legitimate::new("without_a_port::a_truncated_header_for_a_guest", |lab| {
            let packet = V4::new(LAN, [10, 0, 5, 2].into()).packet(TCP, MARK);
            let ends = Ends::V4(LAN, [10, 0, 5, 2].into());
            to_a_guest(lab, ends, packet)
        }),
        Legitimate::new("without_a_port::a_long_chain_for_a_guest", |lab| {
            let guest = [0xfd00, 5, 0, 0, 0, 0, 0, 2].into();
            let (first, payload) = chain(&[DESTINATION; 9], TCP, MARK);
            to_a_guest(lab, Ends::V6(LAN6, guest), v6(LAN6, guest, first, &payload))
        }),
    ]
}

/// The end of each packet: fewer bytes than a TCP header has.
const MARK: &[u8] = b"to a guest";

/// The neighbour sends a packet to a guest of the host, who listens at the wire.
fn to_a_guest(lab: &Lab, ends: Ends, packet: Vec<u8>) -> Result<Attempt<'_>> {
    let guest = behind_a_veth(lab, "ve-x")?;
    lab.host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    lab.host.ip("addr add fd00:5::1/64 dev ve-x nodad")?;
    guest.ip("addr add fd00:5::2/64 dev eth0 nodad")?;
    let heard = Wire::open(&guest, "eth0")?;
    let sent = Wire::open(&lab.lan, "eth0")?;
    let frame = ethernet(HOST_MAC, LAN_MAC, &[], ends.ethertype(), &packet);
    let hear = move |patience: Patience| {
        let end = Instant::now() + patience.limit();
        while Instant::now() < end {
            sent.send(&frame)?;
            let deadline = end.min(Instant::now() + Duration::from_millis(500));
            let is_ours = |frame: &[u8]| frame.ends_with(MARK).then_some(());
            if heard.expect(deadline, is_ours)?.is_some() {
                return Ok(Outcome::Answered("the guest heard the packet".into()));
            }
        }
        Ok(Outcome::Silent)
    };
    Ok(attempt(guest, move |_, patience| hear(patience)))
}
