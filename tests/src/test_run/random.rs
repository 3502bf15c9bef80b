//! Random frames: plausible ones, damaged ones, and noise. The same for the same seed.

use enforcer_ebpf::Link;

use super::network::On;
use super::packet::{Extension, Frame, HOSTS_CHILD_MAC, PORTS_MAC, Packet, UDP_LITE};
use crate::lab::frames::{DOT1AD, DOT1Q, number};

/// Ports of every kind of service, with neighbours and byte-swapped twins.
const PORTS: [u16; 17] = [
    9400, 9200, 9090, 9101, 8125, 7200, 9300, 7000, 7100, 7300, 8080, 8443, 0xf023, 0x8223, 22, 0,
    65535,
];

const V4: [&str; 21] = [
    "10.88.0.1",
    "10.88.0.7",
    "10.88.5.9",
    "10.10.0.5",
    "10.10.0.4",
    "10.10.0.15",
    "10.10.0.16",
    "10.15.255.255",
    "10.16.0.0",
    "10.31.255.255",
    "192.0.2.128",
    "192.0.2.127",
    "11.0.0.0",
    "192.168.77.2",
    "198.51.100.7",
    "198.51.101.7",
    "192.0.2.1",
    "127.0.0.1",
    "128.0.0.0",
    "255.255.255.255",
    "0.0.0.0",
];

const V6: [&str; 22] = [
    "fd00:88::1",
    "fd00:88::7",
    "fd00:88::9",
    "fd00:10::5",
    "fd00:10::6",
    "fd00:10:0:1::",
    "fd00:20::7fff:ffff:ffff:ffff",
    "fd00:20::8000:0:0:0",
    "fd00:30:0:ffff::1",
    "fd00:31::7",
    "fd00:31::8",
    "fe00::1",
    "fe80::1",
    "ff02::1",
    "2001:db8:2::7",
    "2001:db8:3::7",
    "2001:db8:1::1",
    "::ffff:10.10.0.5",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:126.255.255.255",
];

/// A pseudorandom number generator, SplitMix (Steele, Lea and Flood, "Fast splittable pseudorandom
/// number generators").
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn byte(&mut self) -> u8 {
        let [byte, ..] = self.roll().to_le_bytes();
        byte
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u16) -> u16 {
        let [a, b, ..] = self.roll().to_le_bytes();
        u16::from_le_bytes([a, b]) % bound
    }

    fn size(&mut self, bound: u16) -> usize {
        self.below(bound).into()
    }

    /// True in 1 of `n` cases.
    fn one_in(&mut self, n: u16) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let [a, b, ..] = self.roll().to_le_bytes();
        from[usize::from(u16::from_le_bytes([a, b])) % from.len()]
    }

    /// The arriving interface; mostly an interface with something to decide.
    pub(super) fn interface(&mut self) -> On {
        self.pick(&On::ALL)
    }

    /// A frame that the kernel takes: at least 14 bytes.
    pub(super) fn frame(&mut self) -> Frame {
        let link = self.pick(&[Link::Ethernet, Link::Ethernet, Link::Ip]);
        let mut frame = self.packet().build(link);
        match self.below(12) {
            0..=4 => {}
            5 => self.cut(&mut frame, 115),
            6 => {
                // The end of the headers, which a uniform length rarely hits.
                let keep = frame.bytes.len().saturating_sub(self.size(28)).max(14);
                frame = frame.cut(keep);
                if self.one_in(2) {
                    frame = frame.repaired();
                }
            }
            7 => {
                let byte = self.byte();
                let length = frame.bytes.len() + self.size(60);
                frame.bytes.resize(length, byte);
            }
            8 => frame.claim(self.size(120)),
            9 => self.flip(&mut frame),
            10 => {
                frame.claim(self.size(120));
                self.flip(&mut frame);
                self.cut(&mut frame, 115);
            }
            _ => {
                let length = 14 + self.size(115);
                frame.bytes = (0..length).map(|_| self.byte()).collect();
            }
        }
        frame
    }

    fn cut(&mut self, frame: &mut Frame, bound: u16) {
        *frame = frame.cut(14 + self.size(bound));
    }

    fn flip(&mut self, frame: &mut Frame) {
        for _ in 0..=self.below(4) {
            let at = self.size(u16::MAX) % frame.bytes.len();
            frame.bytes[at] ^= self.byte();
        }
        // The version and the header length, which few flips hit.
        let lie = self.pick(&[None, None, Some(0x44), Some(0x40), Some(0x4f), Some(0x66)]);
        if let (Some(first), Some(lie)) = (frame.first_of_ip(), lie) {
            *first = lie;
        }
    }

    fn packet(&mut self) -> Packet {
        let port = if self.one_in(16) {
            self.below(u16::MAX)
        } else {
            self.pick(&PORTS)
        };
        let mut packet = match self.below(32) {
            0 => {
                let ethertype = self.pick(&[0x0806, 0x8847, 0x9100, 0x0026]);
                Packet::other(ethertype, port)
            }
            1..=15 => {
                let packet = Packet::tcp(self.pick(&V4), self.pick(&V4), port);
                packet.options(self.pick(&[0, 0, 0, 1, 2, 9, 10]))
            }
            _ => {
                let packet = Packet::tcp(self.pick(&V6), self.pick(&V6), port);
                packet.chain(&self.chain())
            }
        };
        packet = packet.protocol(if self.one_in(8) {
            self.pick(&[1, 58, 50, 47, 59, 135, 41, 4, 51, 44])
        } else {
            self.pick(&[
                number::TCP,
                number::UDP,
                number::TCP,
                UDP_LITE,
                number::SCTP,
            ])
        });
        if self.one_in(6) {
            let (offset, more) = self.fragment();
            packet = packet.fragment(offset, more);
        }
        if self.one_in(4) {
            packet = packet.tags(&self.tags());
        }
        if self.one_in(12) {
            let anyone = [2, 0, 0, 0, self.byte(), self.byte()];
            packet = packet.to(self.pick(&[anyone, PORTS_MAC, HOSTS_CHILD_MAC]));
        }
        packet.tail(self.size(24))
    }

    fn chain(&mut self) -> Vec<Extension> {
        let count = match self.below(8) {
            0..=3 => 0,
            4 | 5 => self.below(4),
            6 => self.below(11),
            _ => 7 + self.below(4),
        };
        (0..count)
            .map(|_| match self.below(12) {
                0..=2 => Extension::Options(number::HOP_BY_HOP, self.pick(&[0, 1])),
                3..=5 => Extension::Options(number::DESTINATION, self.pick(&[0, 1, 2])),
                6 | 7 => Extension::Options(number::ROUTING, self.pick(&[0, 1])),
                8 | 9 => Extension::Authentication(self.pick(&[0, 1, 3, 4])),
                10 => Extension::Fragment(0, self.one_in(2)),
                _ => {
                    let (offset, more) = self.fragment();
                    Extension::Fragment(offset, more)
                }
            })
            .collect()
    }

    fn fragment(&mut self) -> (usize, bool) {
        let offset = self.pick(&[0, 0, 8, 16, 0x800, 0x8000, 0xfff8]);
        (offset, self.one_in(2))
    }

    fn tags(&mut self) -> Vec<(u16, u16)> {
        (0..self.below(7))
            .map(|_| {
                // Priority and drop bits must not be taken for a part of the id.
                let control = if self.one_in(16) {
                    self.below(u16::MAX)
                } else {
                    // Without an Ethernet header some look like the first byte of an IP header.
                    self.pick(&[0xb000, 0x4000, 0x6000])
                };
                (self.pick(&[DOT1Q, DOT1AD]), control)
            })
            .collect()
    }
}
