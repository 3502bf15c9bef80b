//! Choices of the generators.
//!
//! All choices are read from a string of bytes, which proptest makes and shrinks: 0 and the end of
//! the string mean the simplest choice everywhere.

use std::net::{IpAddr, Ipv6Addr};

use enforcer_ebpf::Link;

use super::{Extension, Fragment, Ip, Spec};

/// 0x23f0 and 0x1fb8 with their byte-swapped twins, and the borders.
pub(crate) const PORTS: [u16; 8] = [9200, 8125, 0xf023, 0xb81f, 9201, 1, 0xffff, 0];

/// The MAC address of this host's interfaces.
pub(crate) const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The MAC address of a bridge's port, which the host may take.
pub(crate) const PORT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];

/// Destination MACs: this host's, a port's, a group's, and others', which begin as an IP header
/// does.
const MACS: [[u8; 6]; 8] = [
    OWN_MAC,
    OWN_MAC,
    OWN_MAC,
    PORT_MAC,
    [0xff; 6],
    [0x61, 0, 0, 0, 0, 1],
    [0x44, 0, 0, 0, 0, 9],
    [0x60, 0, 0, 0, 0, 9],
];

const V4: [[u8; 4]; 18] = [
    [10, 10, 0, 1],
    [10, 10, 0, 0],
    [10, 10, 0, 15],
    [10, 10, 0, 16],
    [10, 9, 255, 255],
    [10, 16, 0, 0],
    [192, 168, 1, 1],
    [8, 8, 8, 8],
    [126, 255, 255, 255],
    [128, 0, 0, 0],
    [0, 0, 0, 0],
    [255, 255, 255, 255],
    [224, 0, 0, 1],
    [10, 88, 0, 1],
    [10, 88, 0, 7],
    [10, 88, 0, 9],
    [10, 88, 5, 9],
    [172, 17, 0, 2],
];

const V4_LOOPBACK: [[u8; 4]; 4] = [
    [127, 0, 0, 1],
    [127, 255, 255, 255],
    [127, 0, 0, 0],
    [127, 10, 0, 1],
];

const V6: [&str; 21] = [
    "fd00:10::1",
    "fd00:10::",
    "fd00:10::ffff:ffff:ffff:ffff",
    "fd00:10:0:1::",
    "fd00:f:ffff:ffff:ffff:ffff:ffff:ffff",
    "fe80::1",
    "ff02::1",
    "::",
    "::2",
    "1::1",
    "0:0:0:1::1",
    "::ffff:10.10.0.1",
    "::ffff:10.10.0.15",
    "::ffff:126.255.255.255",
    "::ffff:128.0.0.0",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "1::ffff:7f00:1",
    "fd00:88::1",
    "fd00:88::7",
    "fd00:88::9",
];

const V6_LOOPBACK: [&str; 4] = [
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:127.255.255.255",
    "::ffff:127.0.0.0",
];

pub(crate) struct Choices<'a>(std::slice::Iter<'a, u8>);

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    /// A number below `bound`, which is at most 65536.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let mut number = usize::from(self.byte());
        if bound > 256 {
            number = number * 256 + usize::from(self.byte());
        }
        number % bound
    }

    /// True `n` times in 256.
    pub(crate) fn chance(&mut self, n: u16) -> bool {
        u16::from(self.byte()) >= 256 - n
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn spec(&mut self) -> Spec {
        let link = self.pick(&[Link::Ethernet, Link::Ethernet, Link::Ip]);
        let tags = match self.below(8) {
            0..=4 => 0,
            5 => self.below(4),
            _ => self.below(7),
        };
        let tags = (0..tags)
            .map(|_| {
                let id = if self.chance(20) {
                    self.pick(&[1, 0xfff, 0x100])
                } else {
                    0
                };
                // Some priorities make the first byte that of an IP header.
                let priority = self.pick(&[0xb000, 0, 0x4000, 0x6000]);
                (self.pick(&[0x8100, 0x88a8]), priority | id)
            })
            .collect();
        let ip = match self.below(32) {
            0..=12 => Ip::V4 {
                addresses: (self.v4(), self.v4()),
                options: self.pick(&[0, 0, 0, 1, 2, 5, 9, 10]),
                fragment: if self.chance(64) {
                    self.fragment()
                } else {
                    self.maybe_reserved(Fragment::WHOLE)
                },
            },
            31 => Ip::None(self.pick(&[0x0806, 0x8847, 0x9100, 0x0026, 0x8863])),
            _ => Ip::V6 {
                addresses: (self.v6(), self.v6()),
                flow: if self.chance(64) {
                    self.pick(&[0x0800, 0x86dd, 0x8100, 0x88a8])
                } else {
                    0
                },
                extensions: self.extensions(),
            },
        };
        Spec {
            link,
            tags,
            ip,
            protocol: if self.chance(40) {
                self.pick(&[1, 58, 50, 47, 59, 135, 139, 140, 41, 4, 51, 44])
            } else {
                self.pick(&[6, 17, 6, 17, 136, 132])
            },
            port: if self.chance(16) {
                u16::from_be_bytes([self.byte(), self.byte()])
            } else {
                self.pick(&PORTS)
            },
            mac: self.pick(&MACS),
            opens: self.chance(160),
        }
    }

    fn extensions(&mut self) -> Vec<Extension> {
        let count = match self.below(8) {
            0..=2 => 0,
            3..=5 => self.below(4),
            6 => self.below(11),
            _ => 7 + self.below(4),
        };
        (0..count)
            .map(|_| match self.below(16) {
                // The longest headers of each kind.
                _ if self.chance(4) => self.pick(&[
                    Extension::Auth(254),
                    Extension::Auth(253),
                    Extension::Options(60, 255),
                    Extension::Options(0, 127),
                ]),
                0..=2 => Extension::Options(0, self.below(2)),
                3..=5 => Extension::Options(60, self.below(3)),
                6..=8 => Extension::Options(43, self.below(2)),
                9..=11 => Extension::Auth(self.below(5)),
                // Few later fragments, or few chains would get past the first fragment header.
                12 => Extension::Fragment(self.maybe_reserved(Fragment::WHOLE)),
                13 | 14 => Extension::Fragment(Fragment::FIRST),
                _ => Extension::Fragment(self.fragment()),
            })
            .collect()
    }

    fn fragment(&mut self) -> Fragment {
        let fragment = match self.below(4) {
            0 | 1 => Fragment::FIRST,
            2 => Fragment::LAST,
            _ => {
                let offset = self.pick(&[1, 2, 0x100, 0x1000, 0x1fff]);
                Fragment::at(offset, self.chance(128))
            }
        };
        self.maybe_reserved(fragment)
    }

    fn maybe_reserved(&mut self, fragment: Fragment) -> Fragment {
        if self.chance(64) {
            fragment.with_reserved_bits()
        } else {
            fragment
        }
    }

    fn v4(&mut self) -> [u8; 4] {
        if self.chance(12) {
            self.pick(&V4_LOOPBACK)
        } else {
            self.pick(&V4)
        }
    }

    fn v6(&mut self) -> [u8; 16] {
        v6(if self.chance(12) {
            self.pick(&V6_LOOPBACK)
        } else {
            self.pick(&V6)
        })
    }
}

pub(crate) fn v6(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

/// Whether an address is v4-mapped: an IPv4 address in an IPv6 header.
pub(crate) fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}
