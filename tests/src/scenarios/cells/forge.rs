//! The bytes of a cell's packet.

use crate::lab::Transport;
use crate::lab::frames::{self, DOT1Q, Ends, V4, flag, number};

use super::cell::{Cell, Fragments, Headers, Ingress, Tags};

/// The first source port of the first round: cell N of a round has the N-th port after the
/// round's first, by which sockets tell cells apart.
pub(super) const FIRST_MARK: u16 = 20_000;
/// The VLAN id of the VLAN device.
pub(super) const VLAN_ID: u16 = 5;
/// A VLAN id without a device.
const STRAY_ID: u16 = 9;
/// The length in bytes of every segment, transport header included.
const SEGMENT: usize = 40;

/// The protocol's number in the IP header.
const fn protocol(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp | Transport::Mptcp => number::TCP,
        Transport::Udp => number::UDP,
        Transport::UdpLite => number::UDP_LITE,
        Transport::Sctp => number::SCTP,
    }
}

/// The transport segment: a SYN with data, a datagram or an INIT.
fn segment(cell: &Cell, ends: Ends, mark: u16) -> Vec<u8> {
    let port = cell.port.number();
    let mut segment = match cell.transport {
        Transport::Tcp | Transport::Mptcp => {
            frames::tcp_opening(ends, mark, port, flag::SYN, &[0; SEGMENT - 24])
        }
        Transport::Udp => frames::udp(ends, mark, port, &[0; SEGMENT - 8]),
        Transport::UdpLite => frames::udp_lite(ends, mark, port, &[0; SEGMENT - 8]),
        Transport::Sctp => frames::sctp_init(mark, port),
    };
    segment.resize(SEGMENT, 0);
    segment
}

/// The whole IP packet, as a socket sees the packet after reassembly.
pub(super) fn whole(cell: &Cell, ends: Ends, mark: u16) -> Vec<u8> {
    let whole = Cell {
        fragments: Fragments::Whole,
        ..*cell
    };
    packets(&whole, ends, mark, 0).swap_remove(0)
}

/// The IP packets in the order of sending: one, or all fragments under an identification.
pub(super) fn packets(cell: &Cell, ends: Ends, mark: u16, identification: u16) -> Vec<Vec<u8>> {
    let segment = segment(cell, ends, mark);
    let protocol = protocol(cell.transport);
    match ends {
        Ends::V4(source, destination) => {
            let options: &[u8] = match cell.headers {
                Headers::Options => &[1; 4],
                Headers::AllOptions => &[1; 40],
                _ => &[],
            };
            let header = V4::new(source, destination)
                .options(options)
                .identification(identification);
            cuts(cell.fragments, segment.len())
                .into_iter()
                .map(|(from, to, more)| header.fragment(protocol, &segment[from..to], from, more))
                .collect()
        }
        Ends::V6(source, destination) => {
            // RFC 8200, section 4.5: hop-by-hop options stand in every fragment, and destination
            // options are a part of the fragmented packet.
            let (first, last): (&[u8], &[u8]) = match cell.headers {
                Headers::HopByHop => (&[number::HOP_BY_HOP], &[]),
                Headers::DestinationOptions => (&[], &[number::DESTINATION]),
                Headers::Chained => (&[number::HOP_BY_HOP], &[number::DESTINATION]),
                _ => (&[], &[]),
            };
            let (next, body) = frames::chain(last, protocol, &segment);
            let parts = cuts(cell.fragments, body.len()).into_iter();
            let id = identification.into();
            parts
                .map(|(from, to, more)| {
                    let part = &body[from..to];
                    let (next, payload) = match cell.fragments {
                        Fragments::Whole => frames::chain(first, next, part),
                        _ => {
                            let part = frames::v6_fragment(next, part, from, more, id);
                            frames::chain(first, number::FRAGMENT, &part)
                        }
                    };
                    frames::v6(source, destination, next, &payload)
                })
                .collect()
        }
    }
}

/// The parts of a payload of `length` bytes: begin, end, and whether more follow.
fn cuts(fragments: Fragments, length: usize) -> Vec<(usize, usize, bool)> {
    match fragments {
        Fragments::Whole => vec![(0, length, false)],
        Fragments::Two => vec![(0, 24, true), (24, length, false)],
        Fragments::Overlapping => vec![(0, 24, true), (16, length, false)],
        Fragments::Tiny => (0..length)
            .step_by(8)
            .map(|from| (from, from + 8, from + 8 < length))
            .collect(),
    }
}

/// The tags of a cell's frames, outermost first.
pub(super) fn tags(cell: &Cell) -> Vec<(u16, u16)> {
    let priorities = |count| vec![(DOT1Q, 0); count];
    let mut tags = match cell.tags {
        Tags::Untagged => Vec::new(),
        Tags::Priority => priorities(1),
        Tags::FourPriorities => priorities(4),
        Tags::FivePriorities => priorities(5),
        Tags::WithDevice => vec![(DOT1Q, VLAN_ID)],
        Tags::WithoutDevice => vec![(DOT1Q, STRAY_ID)],
    };
    if cell.ingress == Ingress::Vlan {
        tags.push((DOT1Q, VLAN_ID));
    }
    tags
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::super::cell::{self, Family};
    use super::*;

    #[test]
    fn fragments_add_up_to_the_whole_packet() {
        let ends = Ends::V6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        for cell in cell::all(&[Ingress::Veth]) {
            if cell.family == Family::V4 || cell.fragments == Fragments::Overlapping {
                continue;
            }
            let plain = Cell {
                headers: Headers::Plain,
                ..cell
            };
            let header = match plain.fragments {
                Fragments::Whole => 40,
                _ => 48,
            };
            let parts = packets(&plain, ends, FIRST_MARK, 1);
            let joined: Vec<u8> = parts.iter().flat_map(|it| it[header..].to_vec()).collect();
            assert_eq!(joined, whole(&plain, ends, FIRST_MARK)[40..], "{plain:?}");
        }
    }
}
