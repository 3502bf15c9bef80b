//! What sockets have sent over UDP: answers pass rule 6.

use crate::address::{Address, Family};

/// Entries of `SENT`, which drops the oldest ones (`BPF_MAP_TYPE_LRU_HASH`).
pub const SENT_ENTRIES: u32 = 8192;

/// The time in nanoseconds for which a datagram counts as sent: the timeout of an UDP stream in
/// conntrack (net/netfilter/nf_conntrack_proto_udp.c: `UDP_CT_REPLIED`).
const SENT_NANOSECONDS: u64 = 120 * 1_000_000_000;

/// A key of `SENT`: who has sent to whom. The value is the time, in nanoseconds since the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SentKey {
    high: u64,
    low: u64,
    remote_port: u16,
    local_port: u16,
    family: u32,
}

impl SentKey {
    /// The key of a datagram from a port of this host to an address and port; ports in host byte
    /// order.
    #[inline(always)]
    pub const fn new(local_port: u16, remote: &Address, remote_port: u16) -> Self {
        Self {
            high: remote.high(),
            low: remote.low(),
            remote_port,
            local_port,
            family: match remote.family() {
                Family::V4 => 4,
                Family::V6 => 6,
            },
        }
    }
}

/// Whether a datagram that was sent at one time still counts at another, in nanoseconds.
#[inline(always)]
pub const fn is_recent(sent: u64, now: u64) -> bool {
    now.wrapping_sub(sent) <= SENT_NANOSECONDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_each_part() {
        let four = |octet| Address::v4([192, 0, 2, octet]);
        let key = SentKey::new(5000, &four(1), 53);
        assert_eq!(key, SentKey::new(5000, &four(1), 53));
        for other in [
            SentKey::new(5001, &four(1), 53),
            SentKey::new(5000, &four(2), 53),
            SentKey::new(5000, &four(1), 54),
            SentKey::new(5000, &Address::v6(0, four(1).low()), 53),
            SentKey::new(53, &four(1), 5000),
        ] {
            assert_ne!(key, other);
        }
    }

    #[test]
    fn two_minutes_are_recent() {
        let start = 7_000_000_000;
        assert!(is_recent(start, start));
        assert!(is_recent(start, start + SENT_NANOSECONDS));
        assert!(!is_recent(start, start + SENT_NANOSECONDS + 1));
        // A time ahead of the own, by another CPU's clock, counts as long ago: no answer passes
        // by a mistake.
        assert!(!is_recent(start + 1, start));
    }
}
