//! The wire guard's one body, under every hook and link type.

use aya_log_ebpf::info;
use enforcer_ebpf::{
    Address, Guard, Link, Packet, Verdict, decide, layout::InterfaceEntry, parse, source,
};

use super::{
    count::count,
    event::{Told, is_due, tell},
    fib,
    frame::{Frame, blurred64},
    policy::{Active, Arrival},
};

/// IFINDEX of lo in every network namespace (include/net/net_namespace.h: LOOPBACK_IFINDEX).
pub(super) const LOOPBACK_IFINDEX: u32 = 1;

/// linux/if_packet.h: a broadcast or multicast of this host's own, which the stack hands back to
/// it (dev_loopback_xmit in net/core/dev.c) on the interface that it left by. It never was on a
/// wire, and nothing that was can bear this type: rule 1.
pub(super) const PACKET_LOOPBACK: u32 = 5;

/// Judges a frame, counts it, and says whether it goes on.
#[inline(always)]
pub(super) fn passes<F: Frame>(frame: &F, link: Link) -> bool {
    if frame.is_looped_back() {
        return true;
    }
    let tag = frame.tag_beside();
    if tag.is_some_and(|id| id != 0) {
        return true;
    }
    // Not known to be one or the other, or the verifier would walk the parse for each.
    let is_tagged = blurred64(tag.is_some().into()) & 1 != 0;
    let mut packet = parse(frame, link);
    if packet.is_short() {
        packet = frame.parse_whole(link);
    }
    if is_tagged {
        packet = packet.behind_another_tag();
    }
    // Dozens of ways lead here, each of which the verifier remembers with the constants that it
    // met. Of a number of which it knows nothing it walks what follows once.
    let packet = Packet::from_bits(blurred64(packet.to_bits()));
    // Read once: a context's field may not be reached through a pointer that LLVM moved there.
    let ifindex = frame.ifindex();
    let policy = Active::new(OnWire { frame, ifindex });
    let on_loopback = ifindex == LOOPBACK_IFINDEX;
    let decision = decide(&policy, Guard::Wire, on_loopback, &packet);
    // Asked last: most frames are for us, and most interfaces have no children.
    if decision.verdict() == Verdict::Drop && is_for_macvlan_child(frame, &policy) {
        return true;
    }
    if decision.is_counted() {
        count(Guard::Wire, &decision, frame.length(packet.ip_offset));
    }
    if decision.verdict() == Verdict::Drop && is_due() {
        // Nothing stands at offset 0 of an Ethernet frame but a MAC address.
        let has_header = packet.ip_offset != 0 || matches!(link, Link::Ip);
        let what = Told {
            ifindex,
            reason: decision.reason as u8,
            audited: decision.audited,
            has_header,
        };
        tell_of(frame, packet.to_bits(), what);
    }
    if decision.drops() {
        info!(
            frame,
            "wire: drop, reason {} slot {} ifindex {}",
            decision.reason as u8,
            decision.slot,
            ifindex
        );
    }
    !decision.drops()
}

/// Makes an event of a drop. A function of its own, so that its stack is not the body's too.
#[inline(never)]
fn tell_of<F: Frame>(frame: &F, packet: u64, what: Told) {
    let packet = Packet::from_bits(packet);
    tell(Guard::Wire, &packet, what, |bytes| match what.has_header {
        true => frame.copy(packet.ip_offset, bytes),
        false => 0,
    });
}

/// Whether a frame is for a macvlan or macvtap device on the arriving interface, whose own
/// namespace judges it.
#[inline(always)]
fn is_for_macvlan_child<F: Frame>(frame: &F, policy: &Active<OnWire<'_, F>>) -> bool {
    policy.entry().is_some_and(|entry| {
        entry.flags & InterfaceEntry::CHILDREN != 0 && frame.is_for_another(&entry.mac)
    })
}

struct OnWire<'a, F> {
    frame: &'a F,
    ifindex: u32,
}

impl<F: Frame> Arrival for OnWire<'_, F> {
    const ON_WIRE: bool = true;

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    #[inline(always)]
    fn source(&self, packet: &Packet) -> Option<Address> {
        source(self.frame, packet.ip_offset).or_else(|| self.frame.source_whole(packet.ip_offset))
    }

    #[inline(always)]
    fn is_forwarded(&self, packet: &Packet) -> bool {
        fib::is_forwarded(self.frame, self.ifindex, packet)
    }
}
