//! The policy of the active bank, as the maps hold it.

use core::cell::Cell;

use enforcer_ebpf::{
    Address, FIRST_PORT_SLOT, Interface, Mode, NO_SLOT, Network, Packet, PeerSet, Policy, Port,
    Protocol, Route, Service,
    layout::{
        BankEntry, Binding, InterfaceEntry, InterfaceKey, MAX_SERVICES, NetworkEntry, WIRE_VIEW,
        bank, port_index,
    },
};

use super::{
    addresses::{
        find_binding, has_anothers_source, has_foreign_socket, has_local_destination,
        has_local_source, network_of, peers_of_source,
    },
    host::{leaves_to_children, takes},
    maps::{BANK, INTERFACES, PORTS, SERVICES, STATE},
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

    /// The destination MAC, `None` where the kernel found the frame to be for the interface's own,
    /// or the frame has none.
    fn foreign_mac(&self) -> Option<[u8; 6]>;

    /// Whether the kernel compares the destination MAC with the interface's own before the hook.
    fn compares_macs(&self) -> bool;

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

    /// Whether a frame is for a macvlan or macvtap device on the arriving interface, whose own
    /// namespace judges it.
    #[inline(always)]
    pub(super) fn is_for_macvlan_child(&self) -> bool {
        let Some(entry) = self.entry() else {
            return false;
        };
        if entry.flags & InterfaceEntry::CHILDREN == 0 {
            return false;
        }
        self.hook.foreign_mac().is_some_and(|mac| {
            is_unicast(mac) && mac != entry.mac && leaves_to_children(mac, self.bank())
        })
    }

    /// The flags of [`InterfaceEntry`], none without an entry.
    #[inline(always)]
    pub(super) fn flags(&self) -> u32 {
        self.entry().map_or(0, |entry| entry.flags)
    }
}

/// Whether a MAC address is no group address: the lowest bit of the first octet marks those (IEEE
/// 802, 8.2).
#[inline(always)]
const fn is_unicast(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 0
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
/// free.
#[inline(always)]
fn find_entry(key: InterfaceKey) -> Option<&'static InterfaceEntry> {
    INTERFACES.get(place_of(key.ifindex, key.bank))
}

/// The place of an interface's entry, or the free place that ended the search, or no place.
///
/// An exported function of numbers alone is a global one for the verifier, which walks the search
/// once for all calls (`do_check_subprogs` in kernel/bpf/verifier.c); a function within the object
/// would be walked at each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn place_of(ifindex: u32, bank: u32) -> u32 {
    let key = InterfaceKey { ifindex, bank };
    for place in key.places() {
        let Some(entry) = INTERFACES.get(place) else {
            return u32::MAX;
        };
        if entry.ifindex == key.ifindex || entry.ifindex == InterfaceEntry::FREE {
            return place;
        }
    }
    u32::MAX
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
        // Where the kernel compares nothing, a MAC of an interface that the bank does not know yet
        // would look like another machine's.
        if !self.hook.compares_macs() && self.flags() & InterfaceEntry::KNOWS_MACS == 0 {
            return false;
        }
        self.hook
            .foreign_mac()
            .is_some_and(|mac| is_unicast(mac) && !takes(mac, self.bank()))
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
