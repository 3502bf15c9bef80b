//! The body of the wire guards, under every hook and link type.

use aya_log_ebpf::info;
use enforcer_ebpf::{
    Address, Arrival, Decision, Guard, Kind, Link, NO_IP_HEADER, Packet, Route, Verdict, VlanIds,
    decide, destination, layout::InterfaceEntry, opens, parse, source,
};

use super::{
    count::count,
    event::{DropInfo, emit, take_budget},
    fib,
    frame::Frame,
    policy::{ActivePolicy, AtHook, LOOPBACK_IFINDEX, is_open, looks_through_tags},
    udp,
    verifier::unknown_scalar,
};

/// Judges and counts a frame. Returns whether the frame passes.
///
/// Inlined is what every frame needs; the rest is [`judge`].
#[inline(always)]
pub(super) fn passes<F: Frame>(frame: &F, link: Link) -> bool {
    let bits = if frame.is_looped_back() {
        parse_looped_back(frame)
    } else {
        let vlan_id = frame.offloaded_vlan_id();
        if vlan_id.is_some_and(|id| id != 0) && !looks_through_tags(frame.ifindex()) {
            return true;
        }
        parse_received(frame, link, vlan_id.is_some())
    };
    // Dozens of paths join here, each with constants of its own, and the verifier would walk the
    // rest for each. With an unknown scalar the paths become a single state.
    let packet = Packet::from_bits(unknown_scalar(bits));
    // The shortest way through the table, with a single look-up: no bank knows the port, so the
    // host has no container networks, and only a loopback address could make a difference.
    if !packet.loopback && is_open(&packet) {
        return true;
    }
    judge(frame, packet.to_bits(), link)
}

/// The bits of a packet that came in by the interface; `is_tagged` tells of a tag outside the bytes.
#[inline(always)]
fn parse_received<F: Frame>(frame: &F, link: Link, is_tagged: bool) -> u64 {
    // Unknown, or the verifier would walk the parser for each of the two cases.
    let is_tagged = unknown_scalar(is_tagged.into()) & 1 != 0;
    let mut packet = parse(frame, link, VlanIds::Stop);
    if packet.may_be_truncated() || packet.is_tagged() {
        // Unknown, or the verifier would walk the second parser for each way here.
        packet = Packet::from_bits(parse_again(frame, unknown_scalar(packet.to_bits()), link));
    }
    if is_tagged {
        packet = packet.with_outer_tag(link);
    }
    packet.to_bits()
}

/// The bits of a packet that the stack handed back to this host: such a packet begins with its IP
/// header on every link.
#[inline(never)]
fn parse_looped_back<F: Frame>(frame: &F) -> u64 {
    parse(&frame.whole(), Link::Ip, VlanIds::Stop).to_bits()
}

/// Judges and counts a packet for a port that some bank knows, or without a port.
///
/// Not inlined: the stack has no room for a parser and a judgement in one function.
#[inline(never)]
fn judge<F: Frame>(frame: &F, packet: u64, link: Link) -> bool {
    let packet = Packet::from_bits(packet);
    // Read once: the verifier refuses a context field behind a pointer moved by LLVM.
    let ifindex = frame.ifindex();
    let policy = ActivePolicy::new(OnWire {
        frame,
        link,
        ifindex,
    });
    let arrival = match ifindex {
        LOOPBACK_IFINDEX => Arrival::Loopback,
        _ if frame.is_looped_back() => Arrival::MaybeOwn,
        _ => Arrival::Received,
    };
    let decision = decide(&policy, Guard::Wire, arrival, &packet);
    // Last: most frames are for this host, and most interfaces have no children.
    if decision.verdict() == Verdict::Drop && policy.is_for_macvlan_child() {
        return true;
    }
    if decision.is_counted() && !is_counted_by_master(&decision, &policy) {
        count(Guard::Wire, &decision, frame.length(packet.ip_offset));
    }
    if decision.verdict() == Verdict::Drop && take_budget() {
        let info = DropInfo {
            ifindex,
            reason: decision.reason as u8,
            audited: decision.audited,
            has_ip_header: packet.ip_offset != NO_IP_HEADER,
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

/// Emits the event of a drop. Not inlined, to keep the stack of the body small.
#[inline(never)]
fn emit_event<F: Frame>(frame: &F, packet: u64, info: DropInfo) {
    let packet = Packet::from_bits(packet);
    emit(Guard::Wire, &packet, info, |to| match info.has_ip_header {
        true => frame.copy(packet.ip_offset, to),
        false => 0,
    });
}

/// The bits of a packet that was not parsed to its end, parsed from the whole buffer, and through
/// VLAN tags where the guard looks through them. Not inlined, so that the verifier walks this
/// parser once.
#[inline(never)]
fn parse_again<F: Frame>(frame: &F, packet: u64, link: Link) -> u64 {
    let looks_through = looks_through_tags(frame.ifindex());
    if Packet::from_bits(packet).is_tagged() && !looks_through {
        return packet;
    }
    let ids = match looks_through {
        true => VlanIds::LookThrough,
        false => VlanIds::Stop,
    };
    parse(&frame.whole(), link, ids).to_bits()
}

/// Whether a pass is left to the counters of the master's guard, which judges the packet too.
#[inline(always)]
fn is_counted_by_master<F: Frame>(
    decision: &Decision,
    policy: &ActivePolicy<OnWire<'_, F>>,
) -> bool {
    decision.verdict() == Verdict::Pass && policy.flags() & InterfaceEntry::MEMBER != 0
}

struct OnWire<'a, F> {
    frame: &'a F,
    link: Link,
    ifindex: u32,
}

impl<F: Frame> AtHook for OnWire<'_, F> {
    const ON_WIRE: bool = true;

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    #[inline(always)]
    fn source(&self, packet: &Packet) -> Option<Address> {
        source(self.frame, packet.ip_offset)
            .or_else(|| source(&self.frame.whole(), packet.ip_offset))
    }

    #[inline(always)]
    fn destination(&self, packet: &Packet) -> Option<Address> {
        destination(self.frame, packet.ip_offset)
            .or_else(|| destination(&self.frame.whole(), packet.ip_offset))
    }

    #[inline(always)]
    fn foreign_mac(&self) -> Option<[u8; 6]> {
        self.frame.foreign_mac(self.link)
    }

    #[inline(always)]
    fn compares_macs(&self) -> bool {
        F::COMPARES_MACS
    }

    #[inline(always)]
    fn route(&self, packet: &Packet, ifindex: u32) -> Route {
        fib::route(self.frame, ifindex, packet.to_bits())
    }

    #[inline(always)]
    fn opens(&self, packet: &Packet) -> bool {
        match packet.transport.kind {
            Kind::Udp => udp::meets_unasked_socket(self.frame, packet.to_bits()),
            _ => opens(&self.frame.whole(), packet),
        }
    }

    #[inline(always)]
    fn connected_address(&self) -> Option<Address> {
        None
    }
}
