//! The body of the wire guards, under every hook and link type.

use aya_log_ebpf::info;
use enforcer_ebpf::{
    Address, Guard, Link, Packet, Verdict, decide, layout::InterfaceEntry, parse, source,
};

use super::{
    count::count,
    event::{DropInfo, emit, take_budget},
    fib,
    frame::Frame,
    policy::{ActivePolicy, Arrival, LOOPBACK_IFINDEX},
    verifier::unknown_scalar,
};

/// Judges and counts a frame. Returns whether the frame passes.
#[inline(always)]
pub(super) fn passes<F: Frame>(frame: &F, link: Link) -> bool {
    if frame.is_looped_back() {
        return true;
    }
    let vlan_id = frame.offloaded_vlan_id();
    if vlan_id.is_some_and(|id| id != 0) {
        return true;
    }
    // Unknown, or the verifier would walk the parser for each of the two cases.
    let is_tagged = unknown_scalar(vlan_id.is_some().into()) & 1 != 0;
    let mut packet = parse(frame, link);
    if packet.may_be_truncated() {
        packet = frame.parse_whole(link);
    }
    if is_tagged {
        packet = packet.with_outer_tag();
    }
    // Dozens of paths join here, each with constants of its own, and the verifier would walk the
    // rest for each. With an unknown scalar the paths become a single state.
    let packet = Packet::from_bits(unknown_scalar(packet.to_bits()));
    // Read once: the verifier refuses a context field behind a pointer moved by LLVM.
    let ifindex = frame.ifindex();
    let policy = ActivePolicy::new(OnWire { frame, ifindex });
    let on_loopback = ifindex == LOOPBACK_IFINDEX;
    let decision = decide(&policy, Guard::Wire, on_loopback, &packet);
    // Last: most frames are for this host, and most interfaces have no children.
    if decision.verdict() == Verdict::Drop && is_for_macvlan_child(frame, &policy) {
        return true;
    }
    if decision.is_counted() {
        count(Guard::Wire, &decision, frame.length(packet.ip_offset));
    }
    if decision.verdict() == Verdict::Drop && take_budget() {
        // An Ethernet frame has a MAC address at offset 0, so 0 means no IP header.
        let has_ip_header = packet.ip_offset != 0 || matches!(link, Link::Ip);
        let info = DropInfo {
            ifindex,
            reason: decision.reason as u8,
            audited: decision.audited,
            has_ip_header,
        };
        emit_event(frame, packet.to_bits(), info);
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

/// Emits the event of a drop. Not inlined: the two stacks would not fit into a single frame.
#[inline(never)]
fn emit_event<F: Frame>(frame: &F, packet: u64, info: DropInfo) {
    let packet = Packet::from_bits(packet);
    emit(Guard::Wire, &packet, info, |to| match info.has_ip_header {
        true => frame.copy(packet.ip_offset, to),
        false => 0,
    });
}

/// Whether a frame is for a macvlan or macvtap device on the arriving interface, whose own
/// namespace judges it.
#[inline(always)]
fn is_for_macvlan_child<F: Frame>(frame: &F, policy: &ActivePolicy<OnWire<'_, F>>) -> bool {
    policy.entry().is_some_and(|entry| {
        entry.flags & InterfaceEntry::CHILDREN != 0 && frame.is_for_other_host(&entry.mac)
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
