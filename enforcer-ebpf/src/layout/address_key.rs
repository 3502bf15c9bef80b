//! Keys of the longest-prefix-match tries.

#[cfg(test)]
mod tests;

use super::BANKS;
use crate::address::{Address, Family};

/// A key of a trie, without the length of the prefix.
///
/// The kernel compares bytes from the first one on (kernel/bpf/lpm_trie.c), so the address is in
/// network byte order and left-aligned, behind words that are compared as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct AddressKey {
    /// The family, and the bank.
    scope: u32,
    /// An ifindex, or 0.
    ifindex: u32,
    address: [u32; 4],
}

/// The scope of a key: what comes before the address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressScope {
    /// The bank; 0 in a trie without banks.
    pub bank: u32,
    /// The ifindex; 0 for every interface.
    pub ifindex: u32,
}

/// The bits of a key before the address: a prefix of `length` bits has a key of as many bits more.
pub const KEY_BITS: u32 = 64;

impl AddressKey {
    /// The key of an address.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of 64 bits")]
    pub const fn new(scope: AddressScope, address: &Address) -> Self {
        let [high, low] = match address.family() {
            Family::V4 => [address.low() << 32, 0],
            Family::V6 => [address.high(), address.low()],
        };
        Self {
            scope: address.family() as u32 | (scope.bank % BANKS) << 8,
            ifindex: scope.ifindex,
            address: [
                ((high >> 32) as u32).to_be(),
                (high as u32).to_be(),
                ((low >> 32) as u32).to_be(),
                (low as u32).to_be(),
            ],
        }
    }

    /// The scope.
    pub const fn scope(&self) -> AddressScope {
        AddressScope {
            bank: self.scope >> 8,
            ifindex: self.ifindex,
        }
    }

    /// The address.
    pub fn address(&self) -> Address {
        let word = |index: usize| u32::from_be(self.address[index]);
        if self.scope & 0xff == Family::V4 as u32 {
            Address::v4(word(0).to_be_bytes())
        } else {
            let half = |index| u64::from(word(index)) << 32 | u64::from(word(index + 1));
            Address::v6(half(0), half(2))
        }
    }
}
