//! Types that may be read from the memory of a map, whatever the bytes are.

use enforcer_ebpf::{
    PeerSet,
    layout::{
        BankEntry, Budget, Cells, Event, InterfaceEntry, NetworkEntry, OnKey, OriginEntry,
        PeerEntry, PendingConfirm, PortBits, PortEntry, PrefixKey, RuleEntry, ServiceEntry, State,
    },
};

use super::entries::TrieKey;

/// A type without padding and pointers, of which every bit pattern is a value.
///
/// # Safety
/// The type is `repr(C)`, an integer or an array of such, without padding; the alignment is at
/// most eight bytes.
pub(crate) unsafe trait Plain: Copy + 'static {}

// SAFETY: integers and arrays of integers, without padding (a test sums the fields).
unsafe impl Plain for State {}
// SAFETY: as above.
unsafe impl Plain for BankEntry {}
// SAFETY: as above.
unsafe impl Plain for PortEntry {}
// SAFETY: as above.
unsafe impl Plain for ServiceEntry {}
// SAFETY: as above.
unsafe impl Plain for PeerEntry {}
// SAFETY: as above.
unsafe impl Plain for RuleEntry {}
// SAFETY: as above.
unsafe impl Plain for InterfaceEntry {}
// SAFETY: as above.
unsafe impl Plain for PortBits {}
// SAFETY: as above.
unsafe impl Plain for PrefixKey {}
// SAFETY: as above.
unsafe impl Plain for OriginEntry {}
// SAFETY: as above.
unsafe impl Plain for PendingConfirm {}
// SAFETY: as above.
unsafe impl Plain for Cells {}
// SAFETY: as above.
unsafe impl Plain for Budget {}
// SAFETY: as above.
unsafe impl Plain for Event {}
// SAFETY: as above.
unsafe impl Plain for NetworkEntry {}
// SAFETY: as above.
unsafe impl Plain for OnKey {}
// SAFETY: as above.
unsafe impl Plain for TrieKey {}
// SAFETY: an array of integers.
unsafe impl Plain for PeerSet {}
// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}

/// A plain value in the form that aya moves: [`aya::Pod`] may not be put on another crate's type.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Raw<T>(pub(super) T);

// SAFETY: a plain type may be read from any bytes, and the wrapper is transparent.
unsafe impl<T: Plain> aya::Pod for Raw<T> {}

/// Returns the value that the bytes are; `None` for another length.
pub(super) fn from_bytes<T: Plain>(bytes: &[u8]) -> Option<T> {
    (bytes.len() == size_of::<T>()).then(|| {
        // SAFETY: as many bytes as the type has, every pattern of which is a value; the read asks
        // for no alignment.
        unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
    })
}

#[cfg(test)]
mod tests {
    use enforcer_ebpf::layout::{CELLS, EVENT_PACKET, PATH_LENGTH};

    use super::*;

    #[test]
    fn no_type_has_padding() {
        const EVENT: usize = 8 + 8 + 4 + 4 + 2 + 2 + 4 + EVENT_PACKET;
        for (size, fields) in [
            (size_of::<State>(), 4 + 4 + 8 + 4 + 4),
            (size_of::<BankEntry>(), 4 * 4 + 32),
            (size_of::<PortEntry>(), 2 * 4),
            (size_of::<ServiceEntry>(), 32 + 32),
            (size_of::<PeerEntry>(), 32 + 128 + 32 + 4),
            (size_of::<RuleEntry>(), 128 + 6 + 2 + 32),
            (size_of::<NetworkEntry>(), 32 + 4 + 4),
            (size_of::<OnKey>(), 8 + 8 + 2 + 1 + 1 + 4),
            (size_of::<TrieKey>(), 4 + 4 + 4 + 16),
            (
                size_of::<InterfaceEntry>(),
                4 + 4 + 4 + 4 + 16 + 32 + 4 + 6 + 2 + 33 + 131,
            ),
            (size_of::<PortBits>(), 1024 * 8),
            (size_of::<PrefixKey>(), 8 + 8 + 4 + 4),
            (size_of::<OriginEntry>(), 8 + 8 + PATH_LENGTH),
            (size_of::<PendingConfirm>(), 4 + 4 + 8 + 8 + 4 + 4),
            (size_of::<Cells>(), CELLS * (8 + 8)),
            (size_of::<Event>(), EVENT),
            (size_of::<Budget>(), 4 + 4 + 8 + EVENT),
            (size_of::<PeerSet>(), 4 * 8),
        ] {
            assert_eq!(size, fields);
        }
    }

    #[test]
    fn bytes_of_the_right_length_are_a_value_at_any_alignment() {
        let mut bytes = vec![0xff];
        for word in [1u32, 2, 3, 4].into_iter().chain([0; 8]) {
            bytes.extend(word.to_ne_bytes());
        }
        let entry = BankEntry {
            flags: 1,
            services: 2,
            peers: 3,
            rules: 4,
            allow_unregistered: PeerSet::EMPTY,
        };
        assert_eq!(from_bytes(&bytes[1..]), Some(entry));
        for other in [&bytes[..], &bytes[2..], &[]] {
            assert_eq!(from_bytes::<BankEntry>(other), None);
        }
    }
}
