//! The abstract inputs of the decision, and combinations of their values.

use std::cell::Cell;

use enforcer_ebpf::{
    Arrival, Guard, Interface, Kind, Mode, Network, Packet, PeerSet, Policy, Port, Protocol, Route,
    Service, Transport,
};

/// An input of the decision. The values are numbers from 0 on, named in [`super::rows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Input {
    /// Wire, socket.
    Guard,
    /// Received, the loopback interface, perhaps this host's own.
    Arrival,
    /// Whether the source or the destination is a loopback address.
    LoopbackAddress,
    /// [`KINDS`].
    Kind,
    /// Open, judged by `[unregistered]`, registered.
    Port,
    Public,
    ServiceHasPeers,
    ServiceMode,
    UnregisteredMode,
    /// Whether the destination is in a container network.
    Network,
    NetworkMode,
    /// Whether the source is a peer that the network allows.
    NetworkAllows,
    IsLocal,
    IsOwn,
    OtherMac,
    Opens,
    Proxied,
    AnothersFragment,
    /// Whether the source is a peer that `[unregistered]` allows.
    UnregisteredAllows,
    /// Here, back, onward.
    Route,
    JudgesAll,
    Hairpin,
    Inside,
    InterfaceHasPeers,
    /// Whether the interface carries peers of the service.
    Carried,
    /// Whether the source is a peer of the service.
    Peer,
    Mode,
}

pub(crate) const INPUTS: [Input; 27] = [
    Input::Guard,
    Input::Arrival,
    Input::LoopbackAddress,
    Input::Kind,
    Input::Port,
    Input::Public,
    Input::ServiceHasPeers,
    Input::ServiceMode,
    Input::UnregisteredMode,
    Input::Network,
    Input::NetworkMode,
    Input::NetworkAllows,
    Input::IsLocal,
    Input::IsOwn,
    Input::OtherMac,
    Input::Opens,
    Input::Proxied,
    Input::AnothersFragment,
    Input::UnregisteredAllows,
    Input::Route,
    Input::JudgesAll,
    Input::Hairpin,
    Input::Inside,
    Input::InterfaceHasPeers,
    Input::Carried,
    Input::Peer,
    Input::Mode,
];

pub(crate) const KINDS: [Kind; 8] = [
    Kind::Tcp,
    Kind::Udp,
    Kind::Sctp,
    Kind::Fragment,
    Kind::Tagged,
    Kind::OtherProtocol,
    Kind::HeaderChain,
    Kind::Malformed,
];

/// The slot of the registered port.
pub(crate) const SLOT: u16 = 4711;

impl Input {
    /// The number of values.
    pub(crate) const fn values(self) -> u8 {
        match self {
            Self::Kind => 8,
            Self::Arrival | Self::Port | Self::Route => 3,
            _ => 2,
        }
    }
}

/// An input, and the values that meet the condition, a bit for each.
pub(crate) type Condition = (Input, u8);

/// A class of combinations: the inputs with a value have the same one in each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    values: [Option<u8>; INPUTS.len()],
    /// The first input that was read without a value.
    missing: Cell<Option<Input>>,
}

impl Inputs {
    /// The value of an input; 0 and a note if there is none.
    fn read(&self, input: Input) -> u8 {
        self.values[input as usize].unwrap_or_else(|| {
            if self.missing.get().is_none() {
                self.missing.set(Some(input));
            }
            0
        })
    }

    fn is(&self, input: Input) -> bool {
        self.read(input) == 1
    }

    pub(crate) fn missing(&self) -> Option<Input> {
        self.missing.get()
    }

    /// Whether a condition is met; also after a read without a value, to end the search.
    pub(crate) fn meets(&self, (input, values): Condition) -> bool {
        let value = self.read(input);
        self.missing().is_some() || values >> value & 1 == 1
    }

    /// A class for each value of an input.
    pub(crate) fn split(&self, input: Input) -> impl Iterator<Item = Self> {
        let values = self.values;
        (0..input.values()).map(move |value| {
            let mut values = values;
            values[input as usize] = Some(value);
            Self {
                values,
                missing: Cell::new(None),
            }
        })
    }

    /// The number of combinations in the class.
    pub(crate) fn combinations(&self) -> u64 {
        INPUTS
            .iter()
            .filter(|input| self.values[**input as usize].is_none())
            .map(|input| u64::from(input.values()))
            .product()
    }

    /// Whether values contradict each other: a matching peer is a peer of the arriving interface,
    /// and one of the service's; an interface or a service without peers has no such peer.
    pub(crate) fn is_impossible(&self) -> bool {
        let known = |input, value| self.values[input as usize] == Some(value);
        let contradict = |yes: Input, no: Input| known(yes, 1) && known(no, 0);
        contradict(Input::Peer, Input::Carried)
            || contradict(Input::Peer, Input::InterfaceHasPeers)
            || contradict(Input::Peer, Input::ServiceHasPeers)
            || contradict(Input::Carried, Input::InterfaceHasPeers)
            || contradict(Input::Carried, Input::ServiceHasPeers)
            || contradict(Input::NetworkAllows, Input::InterfaceHasPeers)
            || contradict(Input::UnregisteredAllows, Input::InterfaceHasPeers)
    }

    pub(crate) fn guard(&self) -> Guard {
        Guard::ALL[usize::from(self.read(Input::Guard))]
    }

    pub(crate) fn arrival(&self) -> Arrival {
        match self.read(Input::Arrival) {
            0 => Arrival::Received,
            1 => Arrival::Loopback,
            _ => Arrival::MaybeOwn,
        }
    }

    pub(crate) fn packet(&self) -> Packet {
        let kind = KINDS[usize::from(self.read(Input::Kind))];
        Packet {
            loopback: self.is(Input::LoopbackAddress),
            ip_offset: 14,
            transport_offset: 34,
            transport: Transport { kind, port: 9200 },
        }
    }

    pub(crate) fn mode_of(&self, input: Input) -> Mode {
        match self.read(input) {
            0 => Mode::Enforce,
            _ => Mode::Audit,
        }
    }

    pub(crate) fn is_registered(&self, packet: &Packet) -> bool {
        packet.transport.protocol().is_ok() && self.read(Input::Port) == 2
    }

    /// A set with the peer of this number if the input says yes, and with a peer of no other set.
    fn set(&self, inputs: &[(Input, u16)], own: u16) -> PeerSet {
        let mut set = PeerSet::EMPTY;
        set.insert(own);
        for (input, peer) in inputs {
            if self.is(*input) {
                set.insert(*peer);
            }
        }
        set
    }
}

/// Peers of the service, of the network and of `[unregistered]`, one in each word of a set.
const SERVICE: u16 = 1;
const NETWORK: u16 = 65;
const UNREGISTERED: u16 = 255;

fn only(peer: u16) -> PeerSet {
    let mut set = PeerSet::EMPTY;
    set.insert(peer);
    set
}

impl Policy for Inputs {
    type Peers = PeerSet;

    fn mode(&self) -> Mode {
        self.mode_of(Input::Mode)
    }

    fn port(&self, _: Protocol, _: &Packet) -> Port {
        match self.read(Input::Port) {
            0 => Port::Open,
            1 => Port::Unregistered(self.mode_of(Input::UnregisteredMode)),
            _ => Port::Registered(Service {
                slot: SLOT,
                number: 11,
                public: self.is(Input::Public),
                has_peers: self.is(Input::ServiceHasPeers),
                mode: self.mode_of(Input::ServiceMode),
            }),
        }
    }

    fn interface(&self) -> Interface {
        Interface {
            judges_all: self.is(Input::JudgesAll),
            hairpin: self.is(Input::Hairpin),
            inside: self.is(Input::Inside),
            has_peers: self.is(Input::InterfaceHasPeers),
        }
    }

    fn carried(&self) -> PeerSet {
        self.set(&[(Input::Carried, SERVICE)], 130)
    }

    fn allowed(&self, service: Service) -> PeerSet {
        assert_eq!((service.slot, service.number), (SLOT, 11));
        only(SERVICE)
    }

    fn allowed_unregistered(&self) -> PeerSet {
        only(UNREGISTERED)
    }

    fn peers_of(&self, _: &Packet) -> PeerSet {
        let sets = [
            (Input::Peer, SERVICE),
            (Input::NetworkAllows, NETWORK),
            (Input::UnregisteredAllows, UNREGISTERED),
        ];
        self.set(&sets, 131)
    }

    fn network(&self, _: &Packet) -> Option<Network<PeerSet>> {
        self.is(Input::Network).then(|| Network {
            allowed: only(NETWORK),
            mode: self.mode_of(Input::NetworkMode),
        })
    }

    fn is_local(&self, _: &Packet) -> bool {
        self.is(Input::IsLocal)
    }

    fn is_own(&self, _: &Packet) -> bool {
        self.is(Input::IsOwn)
    }

    fn is_for_other_mac(&self, _: &Packet) -> bool {
        self.is(Input::OtherMac)
    }

    fn route(&self, _: &Packet) -> Route {
        match self.read(Input::Route) {
            0 => Route::Here,
            1 => Route::Back,
            _ => Route::Onward,
        }
    }

    fn opens(&self, _: &Packet) -> bool {
        self.is(Input::Opens)
    }

    fn is_proxied(&self, _: &Packet) -> bool {
        self.is(Input::Proxied)
    }

    fn is_anothers_fragment(&self, _: &Packet) -> bool {
        self.is(Input::AnothersFragment)
    }
}
