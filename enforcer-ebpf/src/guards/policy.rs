//! The policy of the active bank, as the maps hold it.

use core::cell::Cell;

use enforcer_ebpf::{
    Address, FIRST_PORT_SLOT, Family, Interface, Mode, NO_SLOT, Network, Packet, PeerSet, Policy,
    Port, Protocol, Route, Service,
    layout::{
        BankEntry, Binding, InterfaceEntry, InterfaceKey, LocalRow, MAX_SERVICES, NetworkEntry,
        OnKey, PrefixKey, WIRE_VIEW, bank, port_index,
    },
};

use super::{
    host::{find_network, is_source, local_row, takes},
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

/// The bank of a policy that was not asked yet. No [`Option`], whose bytes would not all be
/// written.
const NO_BANK: u32 = u32::MAX;

/// The policy of the active bank, for one packet.
///
/// The generation is read once, at first need: no packet is judged by halves of two policies.
pub(super) struct ActivePolicy<A> {
    hook: A,
    /// [`NO_BANK`] before the first need.
    bank: Cell<u32>,
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
            bank: Cell::new(NO_BANK),
            entry: Cell::new(None),
            without_networks: Cell::new(false),
        }
    }

    #[inline(always)]
    fn bank(&self) -> u32 {
        let known = self.bank.get();
        if known != NO_BANK {
            return known;
        }
        let bank = STATE.get(0).map_or(0, |state| bank(state.generation));
        self.bank.set(bank);
        bank
    }

    /// Whether the active bank has a flag of [`BankEntry`].
    #[inline(always)]
    pub(super) fn has(&self, flag: u32) -> bool {
        BANK.get(self.bank())
            .is_some_and(|bank| bank.flags & flag != 0)
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
}

/// Whether no bank knows the port of a packet, and the host has no container networks; `false` for
/// a packet without a port.
#[inline(always)]
pub(super) fn is_open(packet: &Packet) -> bool {
    let Ok(protocol) = packet.transport.protocol() else {
        return false;
    };
    match PORTS.get_ptr(port_index(protocol, packet.transport.port)) {
        Some(words) => {
            let words = words.cast::<u32>();
            bank_word(words, 0) | bank_word(words, 1) == 0
        }
        None => true,
    }
}

/// Whether the wire guard of an interface looks through VLAN tags of any id.
#[inline(always)]
pub(super) fn looks_through_tags(ifindex: u32) -> bool {
    let bank = STATE.get(0).map_or(0, |state| bank(state.generation));
    let Some(head) = BANK.get(bank) else {
        return false;
    };
    head.flags & BankEntry::LOOKS_THROUGH != 0
        && find_entry(InterfaceKey { ifindex, bank })
            .is_some_and(|entry| entry.flags & InterfaceEntry::LOOKS_THROUGH != 0)
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
    type Peers = Option<&'static PeerSet>;

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
    fn carried(&self) -> Self::Peers {
        self.entry().map(|entry| &entry.carries)
    }

    #[inline(always)]
    fn allowed(&self, service: Service) -> Self::Peers {
        let index = self.bank() * MAX_SERVICES + u32::from(service.number);
        SERVICES.get(index).map(|entry| &entry.allow)
    }

    #[inline(always)]
    fn allowed_unregistered(&self) -> Self::Peers {
        BANK.get(self.bank()).map(|bank| &bank.allow_unregistered)
    }

    #[inline(always)]
    fn peers_of(&self, packet: &Packet) -> Self::Peers {
        peers_of_source(&self.hook, packet.to_bits(), self.entry()?, self.bank())
    }

    #[inline(always)]
    fn network(&self, packet: &Packet) -> Option<Network<Self::Peers>> {
        if self.without_networks.get() || !self.has(BankEntry::NETWORKS) {
            return None;
        }
        let network = network_of(&self.hook, packet.to_bits(), self.bank(), self.entry())?;
        let audit = network.flags & NetworkEntry::AUDIT != 0;
        Some(Network {
            allowed: Some(&network.allow),
            mode: if audit { Mode::Audit } else { Mode::Enforce },
        })
    }

    #[inline(always)]
    fn is_local(&self, packet: &Packet) -> bool {
        has_local_destination(&self.hook, packet.to_bits(), self.bank(), self.entry())
    }

    #[inline(always)]
    fn is_own(&self, packet: &Packet) -> bool {
        has_local_source(&self.hook, packet.to_bits(), self.bank())
    }

    #[inline(always)]
    fn is_for_other_mac(&self, _: &Packet) -> bool {
        // The lowest bit of the first octet marks group addresses (IEEE 802, 8.2).
        self.hook
            .foreign_mac()
            .is_some_and(|mac| mac[0] & 1 == 0 && !takes(mac, self.bank()))
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
        has_foreign_socket(&self.hook, self.bank())
    }

    #[inline(always)]
    fn is_anothers_fragment(&self, packet: &Packet) -> bool {
        if !self.has(BankEntry::SOURCES) {
            return false;
        }
        has_anothers_source(&self.hook, packet.to_bits(), self.bank())
    }
}

// The questions about addresses are not inlined: the stack of a guard has no room for the addresses
// and the keys of all of them, and the verifier walks each question once for each call.

/// The peers at the packet's source on the interface of an entry.
#[inline(never)]
fn peers_of_source<A: AtHook>(
    hook: &A,
    packet: u64,
    entry: &InterfaceEntry,
    bank: u32,
) -> Option<&'static PeerSet> {
    let source = hook.source(&Packet::from_bits(packet))?;
    longest_match(entry, bank, &source)
}

/// The container network of the packet's destination: [`Policy::network`].
#[inline(never)]
fn network_of<A: AtHook>(
    hook: &A,
    packet: u64,
    bank: u32,
    interface: Option<&InterfaceEntry>,
) -> Option<&'static NetworkEntry> {
    let destination = hook.destination(&Packet::from_bits(packet))?;
    let network = find_network(&destination, bank)?;
    let belongs = network.bridge == hook.ifindex()
        || interface.is_some_and(|interface| interface.network == network.bridge);
    if belongs || network.flags & NetworkEntry::ROUTED != 0 {
        return None;
    }
    let row = local_row(&destination, bank).map(|bits| LocalRow::from_bits(*bits));
    match row {
        Some(row) if row.is_address && row.ifindex != network.bridge => None,
        _ => Some(network),
    }
}

/// Whether the local table has a row for the packet's destination, or none can be read. The
/// interface's own addresses need no look-up.
#[inline(never)]
fn has_local_destination<A: AtHook>(
    hook: &A,
    packet: u64,
    bank: u32,
    interface: Option<&InterfaceEntry>,
) -> bool {
    let Some(destination) = hook.destination(&Packet::from_bits(packet)) else {
        return true;
    };
    // Zeros in the entry stand for no address.
    let is_zero = destination.high() | destination.low() == 0;
    let is_own = interface.is_some_and(|interface| match destination.family() {
        _ if is_zero => false,
        Family::V4 => destination.low() == u64::from(interface.own_v4),
        Family::V6 => [destination.high(), destination.low()] == interface.own_v6,
    });
    is_own || local_row(&destination, bank).is_some()
}

/// Whether the local table has a row for the packet's source: [`Policy::is_own`].
#[inline(never)]
fn has_local_source<A: AtHook>(hook: &A, packet: u64, bank: u32) -> bool {
    let packet = &Packet::from_bits(packet);
    let (Some(source), Some(destination)) = (hook.source(packet), hook.destination(packet)) else {
        return false;
    };
    match source.family() {
        Family::V4 if source.low() == 0 => destination.low() == u64::from(u32::MAX),
        _ => local_row(&source, bank).is_some(),
    }
}

/// Whether the socket's own address has no row in the local table.
#[inline(never)]
fn has_foreign_socket<A: AtHook>(hook: &A, bank: u32) -> bool {
    hook.connected_address()
        .is_some_and(|address| local_row(&address, bank).is_none())
}

/// Whether the source is another interface's peer: [`Policy::is_anothers_fragment`].
#[inline(never)]
fn has_anothers_source<A: AtHook>(hook: &A, packet: u64, bank: u32) -> bool {
    hook.source(&Packet::from_bits(packet))
        .is_some_and(|source| {
            is_source(&source, 0, bank) && !is_source(&source, hook.ifindex(), bank)
        })
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
#[inline(always)]
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
