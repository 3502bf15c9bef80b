//! Choices of the generators.
//!
//! All choices are read from a string of bytes, which proptest makes and shrinks: 0 and the end of
//! the string mean the simplest choice everywhere.

use std::net::{IpAddr, Ipv6Addr};

use enforcer_ebpf::{Link, Mode, Protocol};

use super::{Extension, Fragment, Ip, Spec};
use crate::reference::{Interface, LO, Peer, Registry, Service};

/// 0x23f0 and 0x1fb8 with their byte-swapped twins, and the borders.
pub(crate) const PORTS: [u16; 8] = [9200, 8125, 0xf023, 0xb81f, 9201, 1, 0xffff, 0];

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// The interfaces of registries, and 9, which no registry names.
const INTERFACES: [u32; 4] = [2, 3, 4, 9];

const V4: [[u8; 4]; 12] = [
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
];

const V4_LOOPBACK: [[u8; 4]; 4] = [
    [127, 0, 0, 1],
    [127, 255, 255, 255],
    [127, 0, 0, 0],
    [127, 10, 0, 1],
];

const V6: [&str; 18] = [
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
];

const V6_LOOPBACK: [&str; 4] = [
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:127.255.255.255",
    "::ffff:127.0.0.0",
];

const PREFIXES: [(&str, u8); 13] = [
    ("10.10.0.0", 28),
    ("10.10.0.1", 32),
    ("10.10.0.0", 31),
    ("10.8.0.0", 13),
    ("fd00:10::", 64),
    ("fd00:10::1", 128),
    ("fd00::", 8),
    ("fd00:10::", 65),
    ("::", 63),
    ("::ffff:10.10.0.0", 124),
    ("fd00:10::", 63),
    ("0.0.0.0", 0),
    ("::", 0),
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

    /// The index of the arriving interface.
    pub(crate) fn interface(&mut self) -> u32 {
        if self.chance(16) {
            LO
        } else {
            self.pick(&INTERFACES)
        }
    }

    pub(crate) fn socket(&mut self) -> (Protocol, u16) {
        (self.pick(&PROTOCOLS), self.pick(&PORTS))
    }

    pub(crate) fn registry(&mut self) -> Registry {
        let mode = if self.chance(64) {
            Mode::Audit
        } else {
            Mode::Enforce
        };
        let peers: Vec<Peer> = (0..4)
            .map(|number| Peer {
                name: format!("peer-{number}"),
                interface: self.pick(&INTERFACES[..3]),
                prefixes: (0..=self.below(3))
                    .map(|_| self.pick(&PREFIXES))
                    .map(|(network, length)| (network.parse().unwrap(), length))
                    .collect(),
            })
            .collect();
        let mut services: Vec<Service> = (0..4).map(|_| self.service()).collect();
        // A (protocol, port) pair belongs to one service at most.
        for protocol in PROTOCOLS {
            for port in PORTS {
                // A third of the ports stays unregistered.
                if let Some(owner) = self.below(6).checked_sub(2) {
                    services[owner].ports.push((protocol, port));
                }
            }
        }
        let interfaces = INTERFACES[..3]
            .iter()
            .map(|index| Interface {
                index: *index,
                forward: self.chance(64),
            })
            .collect();
        Registry {
            mode,
            services,
            peers,
            interfaces,
        }
    }

    /// A service without ports yet.
    pub(crate) fn service(&mut self) -> Service {
        let public = self.chance(64);
        // A registry cannot have `public` with `allow`; the decision table has an answer anyway.
        let allowed = self.byte();
        Service {
            ports: Vec::new(),
            public,
            allow: (0..4)
                .filter(|peer| allowed >> peer & 1 == 1)
                .map(|peer| format!("peer-{peer}"))
                .collect(),
            mode: self.pick(&[None, None, Some(Mode::Enforce), Some(Mode::Audit)]),
        }
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
                (self.pick(&[0x8100, 0x88a8]), id)
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
