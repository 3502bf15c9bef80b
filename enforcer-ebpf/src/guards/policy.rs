//! The policy of the active bank, as the maps hold it.

use core::cell::Cell;

use enforcer_ebpf::{
    Address, Family, Interface, Mode, NO_SLOT, Packet, PeerSet, Policy, Protocol, Service,
    layout::{
        BankEntry, Binding, InterfaceEntry, InterfaceKey, MAX_SERVICES, PrefixKey, WIRE_VIEW, bank,
        port_index,
    },
};

use super::maps::{BANK, INTERFACES, PORTS, PREFIXES, SERVICES, STATE};

/// The ifindex of lo in every network namespace (include/net/net_namespace.h).
pub(super) const LOOPBACK_IFINDEX: u32 = 1;

/// The arrival of a packet at a guard.
pub(super) trait Arrival {
    /// Whether the guard is a wire guard.
    const ON_WIRE: bool;

    /// The ifindex of the arriving interface.
    fn ifindex(&self) -> u32;

    /// The packet's source address, `None` where none can be read.
    fn source(&self, packet: &Packet) -> Option<Address>;

    /// Whether the FIB would forward the packet.
    fn is_forwarded(&self, packet: &Packet) -> bool;
}

/// The policy of the active bank, for one packet.
///
/// The generation is read once, at first need: no packet is judged by halves of two policies.
pub(super) struct ActivePolicy<A> {
    arrival: A,
    bank: Cell<Option<u32>>,
    /// The bank's entry of the arriving interface, after the first look-up. A single pointer,
    /// which the verifier can follow; an interface without an entry has a free place's.
    entry: Cell<Option<&'static InterfaceEntry>>,
}

impl<A: Arrival> ActivePolicy<A> {
    #[inline(always)]
    pub(super) const fn new(arrival: A) -> Self {
        Self {
            arrival,
            bank: Cell::new(None),
            entry: Cell::new(None),
        }
    }

    #[inline(always)]
    fn bank(&self) -> u32 {
        if let Some(bank) = self.bank.get() {
            return bank;
        }
        let bank = STATE.get(0).map_or(0, |state| bank(state.generation));
        self.bank.set(Some(bank));
        bank
    }

    /// The active bank's entry of the arriving interface. An interface without an entry gives
    /// `None`, or a free place, which has no flags, peers and prefixes.
    #[inline(always)]
    pub(super) fn entry(&self) -> Option<&'static InterfaceEntry> {
        if let Some(entry) = self.entry.get() {
            return Some(entry);
        }
        let bank = self.bank();
        let ifindex = self.arrival.ifindex();
        let mut entry = find_entry(InterfaceKey { ifindex, bank });
        if A::ON_WIRE && entry.is_some_and(|e| e.flags & InterfaceEntry::VLAN_PARENT != 0) {
            let ifindex = ifindex | WIRE_VIEW;
            entry = find_entry(InterfaceKey { ifindex, bank });
        }
        self.entry.set(entry);
        entry
    }
}

/// The current word of a bank in a port's entry.
#[inline(always)]
fn bank_word(entry: *const u32, bank: usize) -> u32 {
    // SAFETY: an entry has a word for each bank, and a bank is 0 or 1.
    let word = unsafe { entry.add(bank & 1) };
    // SAFETY: a map's value outlives the program's run; the loader writes whole words.
    unsafe { word.read_volatile() }
}

/// The entry of a key, or the free place that ended the search: in an active bank free places stay
/// free. Not inlined: the stack of a guard has no room for a second copy of the loop.
#[inline(never)]
fn find_entry(key: InterfaceKey) -> Option<&'static InterfaceEntry> {
    for place in key.places() {
        let entry = INTERFACES.get(place)?;
        if entry.ifindex == key.ifindex || entry.ifindex == InterfaceEntry::FREE {
            return Some(entry);
        }
    }
    None
}

impl<A: Arrival> Policy for ActivePolicy<A> {
    #[inline(always)]
    fn mode(&self) -> Mode {
        match BANK.get(self.bank()) {
            Some(bank) if bank.flags & BankEntry::AUDIT != 0 => Mode::Audit,
            _ => Mode::Enforce,
        }
    }

    #[inline(always)]
    fn service(&self, protocol: Protocol, port: u16) -> Option<Service> {
        let words = PORTS.get_ptr(port_index(protocol, port))?.cast::<u32>();
        // A port unknown to both banks: the only look-up of the pass path. The active bank's word
        // of a registered port is never 0, while the idle bank's may change at this moment.
        if bank_word(words, 0) | bank_word(words, 1) == 0 {
            return None;
        }
        // The generation first, then the word again: the word read above may be the idle bank's
        // from before a reload filled that bank, with the switch in between.
        let bank = self.bank();
        let binding = Binding::from_bits(bank_word(words, bank as usize));
        if binding.slot == NO_SLOT {
            return None;
        }
        Some(Service {
            slot: binding.slot,
            number: binding.service,
            public: binding.public,
            has_peers: binding.has_peers,
            mode: if binding.audit {
                Mode::Audit
            } else {
                Mode::Enforce
            },
        })
    }

    #[inline(always)]
    fn interface(&self) -> Interface {
        let flags = self.entry().map_or(0, |entry| entry.flags);
        Interface {
            forward: flags & InterfaceEntry::FORWARD != 0,
            has_peers: flags & InterfaceEntry::CARRIES != 0,
        }
    }

    #[inline(always)]
    fn carried(&self) -> PeerSet {
        self.entry().map_or(PeerSet::EMPTY, |entry| entry.carries)
    }

    #[inline(always)]
    fn allowed(&self, service: Service) -> PeerSet {
        let index = self.bank() * MAX_SERVICES + u32::from(service.number);
        SERVICES
            .get(index)
            .map_or(PeerSet::EMPTY, |entry| entry.allow)
    }

    #[inline(always)]
    fn peers_of(&self, packet: &Packet) -> PeerSet {
        let (Some(entry), Some(source)) = (self.entry(), self.arrival.source(packet)) else {
            return PeerSet::EMPTY;
        };
        longest_match(entry, self.bank(), &source).map_or(PeerSet::EMPTY, |peers| *peers)
    }

    #[inline(always)]
    fn is_forwarded(&self, packet: &Packet) -> bool {
        self.arrival.is_forwarded(packet)
    }
}

/// The peers of the longest prefix around `source`: an exact look-up for each length in use.
///
/// Not inlined: the verifier walks the loops once for each family, not once for each path to here.
/// Map values cross the call as references: the verifier knows references into maps, and a set of
/// peers would not fit a register.
#[inline(never)]
fn longest_match(entry: &InterfaceEntry, bank: u32, source: &Address) -> Option<&'static PeerSet> {
    let interface = InterfaceKey {
        ifindex: entry.ifindex,
        bank,
    };
    let (lengths, count): (&[u8], _) = match source.family() {
        Family::V4 => (&entry.v4_lengths, entry.v4_count),
        Family::V6 => (&entry.v6_lengths, entry.v6_count),
    };
    for (i, length) in lengths.iter().enumerate() {
        if i >= usize::from(count) {
            break;
        }
        let key = PrefixKey::new(interface, source, *length);
        if let Some(peers) = PREFIXES.get_ptr(key) {
            // SAFETY: a map's value outlives the program's run; an entry of the active bank is
            // written once, before the bank is switched on.
            return Some(unsafe { &*peers });
        }
    }
    None
}
