//! The policy of the active bank, as the maps hold it.

use core::cell::Cell;

use enforcer_ebpf::{
    Address, FIRST_PORT_SLOT, Family, Interface, Mode, NO_SLOT, Network, Packet, PeerSet, Policy,
    Port, Protocol, Route, Service,
    layout::{
        BankEntry, Binding, InterfaceEntry, InterfaceKey, MAX_SERVICES, OnKey, PrefixKey,
        WIRE_VIEW, bank, port_index,
    },
};

use super::{
    host::{closed_network, find_network, is_local, is_source, takes},
    maps::{BANK, INTERFACES, ON, PORTS, PREFIXES, SERVICES, STATE},
};

/// The ifindex of lo in every network namespace (include/net/net_namespace.h).
pub(super) const LOOPBACK_IFINDEX: u32 = 1;

/// A packet at a guard's hook.
pub(super) trait AtHook {
    /// Whether the guard is a wire guard.
    const ON_WIRE: bool;

    /// The ifindex of the arriving interface.
    fn ifindex(&self) -> u32;

    /// The packet's source address, `None` where none can be read.
    fn source(&self, packet: &Packet) -> Option<Address>;

    /// The packet's destination address, `None` where none can be read.
    fn destination(&self, packet: &Packet) -> Option<Address>;

    /// The destination MAC, `None` where the frame is for the interface's own, or has none.
    fn foreign_mac(&self) -> Option<[u8; 6]>;

    /// The FIB's answer on the packet, as one that arrived on the interface `ifindex`.
    fn route(&self, packet: &Packet, ifindex: u32) -> Route;

    /// Whether the packet opens a connection.
    fn opens(&self, packet: &Packet) -> bool;

    /// The own address of the packet's connected socket, `None` for others.
    fn connected_address(&self) -> Option<Address>;
}

/// The policy of the active bank, for one packet.
///
/// The generation is read once, at first need: no packet is judged by halves of two policies.
pub(super) struct ActivePolicy<A> {
    hook: A,
    bank: Cell<Option<u32>>,
    /// The bank's entry of the arriving interface, after the first look-up. A single pointer,
    /// which the verifier can follow; an interface without an entry has a free place's.
    entry: Cell<Option<&'static InterfaceEntry>>,
    /// Whether the packet has a port, and no bank says that there are container networks.
    without_networks: Cell<bool>,
}

impl<A: AtHook> ActivePolicy<A> {
    #[inline(always)]
    pub(super) const fn new(hook: A) -> Self {
        Self {
            hook,
            bank: Cell::new(None),
            entry: Cell::new(None),
            without_networks: Cell::new(false),
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

    /// Whether the active bank has a flag of [`BankEntry`].
    #[inline(always)]
    pub(super) fn has(&self, flag: u32) -> bool {
        BANK.get(self.bank()).is_some_and(|bank| bank.flags & flag != 0)
    }

    /// The active bank's entry of the arriving interface. An interface without an entry gives
    /// `None`, or a free place, which has no flags, peers and prefixes.
    #[inline(always)]
    pub(super) fn entry(&self) -> Option<&'static InterfaceEntry> {
        if let Some(entry) = self.entry.get() {
            return Some(entry);
        }
        let bank = self.bank();
        let ifindex = self.hook.ifindex();
        let mut entry = find_entry(InterfaceKey { ifindex, bank });
        if A::ON_WIRE && entry.is_some_and(|e| e.flags & InterfaceEntry::VLAN_PARENT != 0) {
            let ifindex = ifindex | WIRE_VIEW;
            entry = find_entry(InterfaceKey { ifindex, bank });
        }
        self.entry.set(entry);
        entry
    }

    /// The flags of [`InterfaceEntry`], none without an entry.
    #[inline(always)]
    pub(super) fn flags(&self) -> u32 {
        self.entry().map_or(0, |entry| entry.flags)
    }

    /// Whether the arriving interface has an address without a look-up in the local table.
    #[inline(always)]
    fn is_own_address(&self, address: &Address) -> bool {
        let Some(entry) = self.entry() else {
            return false;
        };
        match address.family() {
            Family::V4 => address.low() == u64::from(entry.own_v4),
            Family::V6 => [address.high(), address.low()] == entry.own_v6,
        }
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

impl<A: AtHook> Policy for ActivePolicy<A> {
    #[inline(always)]
    fn mode(&self) -> Mode {
        if self.has(BankEntry::AUDIT) {
            Mode::Audit
        } else {
            Mode::Enforce
        }
    }

    #[inline(always)]
    fn port(&self, protocol: Protocol, packet: &Packet) -> Port {
        let port = packet.transport.port;
        let Some(words) = PORTS.get_ptr(port_index(protocol, port)) else {
            return Port::Open;
        };
        let words = words.cast::<u32>();
        // A port unknown to both banks: the only look-up of the pass path. The active bank's word
        // of a registered port is never 0, while the idle bank's may change at this moment.
        if bank_word(words, 0) | bank_word(words, 1) == 0 {
            self.without_networks.set(true);
            return Port::Open;
        }
        // The generation first, then the word again: the word read above may be the idle bank's
        // from before a reload filled that bank, with the switch in between.
        let bank = self.bank();
        let mut binding = Binding::from_bits(bank_word(words, bank as usize));
        self.without_networks.set(!binding.networks);
        if binding.slot == NO_SLOT {
            return Port::Open;
        }
        let mode = |audit| if audit { Mode::Audit } else { Mode::Enforce };
        if binding.slot < FIRST_PORT_SLOT {
            return Port::Unregistered(mode(binding.audit));
        }
        if binding.by_address
            && let Some(address) = self.hook.destination(packet)
            && let Some(bits) = find_binding(bank, protocol, port, &address)
        {
            binding = Binding::from_bits(*bits);
        }
        Port::Registered(Service {
            slot: binding.slot,
            number: binding.service,
            public: binding.public,
            has_peers: binding.has_peers,
            mode: mode(binding.audit),
        })
    }

    #[inline(always)]
    fn interface(&self) -> Interface {
        let flags = self.flags();
        Interface {
            judges_all: flags & InterfaceEntry::JUDGES_ALL != 0,
            hairpin: flags & InterfaceEntry::HAIRPIN != 0,
            inside: flags & InterfaceEntry::INSIDE != 0,
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
    fn allowed_unregistered(&self) -> PeerSet {
        BANK.get(self.bank())
            .map_or(PeerSet::EMPTY, |bank| bank.allow_unregistered)
    }

    #[inline(always)]
    fn peers_of(&self, packet: &Packet) -> PeerSet {
        let (Some(entry), Some(source)) = (self.entry(), self.hook.source(packet)) else {
            return PeerSet::EMPTY;
        };
        longest_match(entry, self.bank(), &source).map_or(PeerSet::EMPTY, |peers| *peers)
    }

    #[inline(always)]
    fn network(&self, packet: &Packet) -> Option<Network> {
        if self.without_networks.get() || !self.has(BankEntry::NETWORKS) {
            return None;
        }
        let destination = self.hook.destination(packet)?;
        let network = find_network(&destination, self.bank())?;
        closed_network(network, self.entry(), &destination, self.hook.ifindex())
    }

    #[inline(always)]
    fn is_local(&self, packet: &Packet) -> bool {
        let Some(destination) = self.hook.destination(packet) else {
            return true;
        };
        self.is_own_address(&destination) || is_local(&destination)
    }

    #[inline(always)]
    fn is_own(&self, packet: &Packet) -> bool {
        let (Some(source), Some(destination)) =
            (self.hook.source(packet), self.hook.destination(packet))
        else {
            return false;
        };
        match source.family() {
            Family::V4 if source.low() == 0 => destination.low() == u64::from(u32::MAX),
            _ => is_local(&source),
        }
    }

    #[inline(always)]
    fn is_for_other_mac(&self, _: &Packet) -> bool {
        // The lowest bit of the first octet marks group addresses (IEEE 802, 8.2).
        self.hook
            .foreign_mac()
            .is_some_and(|mac| mac[0] & 1 == 0 && !takes(mac))
    }

    #[inline(always)]
    fn route(&self, packet: &Packet) -> Route {
        let ifindex = match self.entry() {
            Some(entry) if entry.route_as != 0 => entry.route_as,
            _ => self.hook.ifindex(),
        };
        self.hook.route(packet, ifindex)
    }

    #[inline(always)]
    fn opens(&self, packet: &Packet) -> bool {
        self.hook.opens(packet)
    }

    #[inline(always)]
    fn is_proxied(&self, _: &Packet) -> bool {
        self.hook
            .connected_address()
            .is_some_and(|address| !is_local(&address))
    }

    #[inline(always)]
    fn is_anothers_fragment(&self, packet: &Packet) -> bool {
        if !self.has(BankEntry::SOURCES) {
            return false;
        }
        let Some(source) = self.hook.source(packet) else {
            return false;
        };
        let bank = self.bank();
        is_source(&source, 0, bank) && !is_source(&source, self.hook.ifindex(), bank)
    }
}

/// The binding of a port at one address of the host. Not inlined: few ports have one.
#[inline(never)]
fn find_binding(
    bank: u32,
    protocol: Protocol,
    port: u16,
    address: &Address,
) -> Option<&'static u32> {
    // SAFETY: a map's value outlives the program's run; an entry of the active bank is written
    // once, before the bank is switched on.
    ON.get_ptr(OnKey::new(bank, protocol, port, address))
        .map(|bits| unsafe { &*bits })
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
