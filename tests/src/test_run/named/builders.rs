//! Parts of the table's rows.

use enforcer_ebpf::Reason;

use crate::lab::frames::{DOT1AD, DOT1Q, number::*};
use crate::test_run::network::On::{self, *};
use crate::test_run::packet::Extension::{self, Fragment, Options};
use crate::test_run::packet::Packet;

/// A packet, the arriving interface, and the reason for the verdict.
pub(in crate::test_run) struct Named {
    pub(in crate::test_run) name: &'static str,
    pub(in crate::test_run) on: On,
    pub(in crate::test_run) packet: Packet,
    pub(in crate::test_run) reason: Reason,
}

pub(super) const HOP: Extension = Options(HOP_BY_HOP, 0);
pub(super) const ROUTES: Extension = Options(ROUTING, 2);
pub(super) const TO_END: Extension = Options(DESTINATION, 1);
pub(super) const ATOMIC: Extension = Fragment(0, false);
pub(super) const FIRST: Extension = Fragment(0, true);
pub(super) const LATER: Extension = Fragment(1480, true);

pub(super) const Q: (u16, u16) = (DOT1Q, 0);
pub(super) const AD: (u16, u16) = (DOT1AD, 0);
pub(super) const ICMP: u8 = 1;
pub(super) const GRE: u8 = 47;
pub(super) const ICMP_V6: u8 = 58;
pub(super) const NO_NEXT_HEADER: u8 = 59;
pub(super) const CHILD_MAC: [u8; 6] = [2, 0, 0, 0, 0x7e, 9];
pub(super) const BROADCAST: [u8; 6] = [0xff; 6];

/// To the localhost-only service, from the LAN.
pub(super) fn v4() -> Packet {
    Packet::tcp("192.168.77.2", "192.168.77.1", 9200)
}

pub(super) fn v6() -> Packet {
    Packet::tcp("fd00:77::2", "fd00:77::1", 9200)
}

pub(super) fn from(source: &str, port: u16) -> Packet {
    let to = if source.contains(':') {
        "fd00:10::2"
    } else {
        "10.10.0.2"
    };
    Packet::tcp(source, to, port)
}

pub(super) fn to(destination: &str, port: u16) -> Packet {
    let source = if destination.contains(':') {
        "fd00:77::2"
    } else {
        "192.168.77.2"
    };
    Packet::tcp(source, destination, port)
}

pub(super) fn row(name: &'static str, on: On, packet: Packet, reason: Reason) -> Named {
    Named {
        name,
        on,
        packet,
        reason,
    }
}

pub(super) fn lan(name: &'static str, packet: Packet, reason: Reason) -> Named {
    row(name, Eth0, packet, reason)
}

pub(super) fn wg(name: &'static str, packet: Packet, reason: Reason) -> Named {
    row(name, Wg0, packet, reason)
}

pub(super) fn fwd(name: &'static str, packet: Packet, reason: Reason) -> Named {
    row(name, Fwd0, packet, reason)
}
