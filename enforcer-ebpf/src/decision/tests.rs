mod order;
mod ports;
mod wire;

use std::cell::RefCell;

use super::*;
use crate::{address::PeerSet, packet::Kind};

const LAPTOP: u16 = 3;
const STRANGER: u16 = 200;
const SLOT: u16 = 7;

/// Answers of a policy for a packet, and a record of the queries.
struct Answers {
    mode: Mode,
    port: Port,
    interface: Interface,
    carried: PeerSet,
    allowed: PeerSet,
    allowed_unregistered: PeerSet,
    peers_of: PeerSet,
    network: Option<Network<PeerSet>>,
    is_local: bool,
    is_own: bool,
    is_for_other_mac: bool,
    route: Route,
    opens: bool,
    is_proxied: bool,
    is_anothers_fragment: bool,
    queries: RefCell<Vec<&'static str>>,
}

fn peers<const N: usize>(numbers: [u16; N]) -> PeerSet {
    let mut set = PeerSet::EMPTY;
    numbers.into_iter().for_each(|number| set.insert(number));
    set
}

impl Answers {
    /// The laptop's packet for a service of the laptop, on the laptop's interface. No other rule
    /// but 8 has a reason to decide.
    fn new() -> Self {
        Self {
            mode: Mode::Enforce,
            port: Port::Registered(Service {
                slot: SLOT,
                number: 1,
                public: false,
                has_peers: true,
                mode: Mode::Enforce,
            }),
            interface: Interface {
                judges_all: false,
                hairpin: false,
                inside: false,
                has_peers: true,
            },
            carried: peers([LAPTOP, STRANGER]),
            allowed: peers([LAPTOP]),
            allowed_unregistered: PeerSet::EMPTY,
            peers_of: peers([LAPTOP]),
            network: None,
            is_local: true,
            is_own: false,
            is_for_other_mac: false,
            route: Route::Here,
            opens: true,
            is_proxied: false,
            is_anothers_fragment: false,
            queries: RefCell::default(),
        }
    }

    /// A stranger's packet that opens a connection to a port that `[unregistered]` drops.
    fn unregistered() -> Self {
        Self::new().with(|policy| {
            policy.port = Port::Unregistered(Mode::Enforce);
            policy.allowed_unregistered = peers([LAPTOP]);
            policy.peers_of = peers([STRANGER]);
        })
    }

    /// A stranger's packet for a container network of the laptop's.
    fn network() -> Self {
        Self::new().with(|policy| {
            policy.port = Port::Open;
            policy.is_local = false;
            policy.peers_of = peers([STRANGER]);
            policy.network = Some(Network {
                allowed: peers([LAPTOP]),
                mode: Mode::Enforce,
            });
        })
    }

    fn service(self, change: impl FnOnce(&mut Service)) -> Self {
        self.with(|policy| {
            if let Port::Registered(service) = &mut policy.port {
                change(service);
            }
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn query<T>(&self, name: &'static str, answer: T) -> T {
        self.queries.borrow_mut().push(name);
        answer
    }

    fn judge(&self, guard: Guard, packet: &Packet) -> Decision {
        decide(self, guard, Arrival::Received, packet)
    }

    /// Fails unless the guard comes to a reason by a rule; returns the decision.
    #[track_caller]
    fn expect(&self, guard: Guard, reason: Reason, rule: u8) -> Decision {
        let decision = self.judge(guard, &packet());
        assert_eq!((decision.reason, decision.rule()), (reason, Some(rule)));
        decision
    }

    /// As [`Self::expect`] for both guards, which must agree.
    #[track_caller]
    fn expect_both(&self, reason: Reason, rule: u8) -> Decision {
        let [wire, socket] = Guard::ALL.map(|guard| self.expect(guard, reason, rule));
        assert_eq!(wire, socket);
        wire
    }

    fn asked(&self, name: &str) -> bool {
        self.queries.borrow().contains(&name)
    }
}

impl Policy for Answers {
    type Peers = PeerSet;

    fn mode(&self) -> Mode {
        self.query("mode", self.mode)
    }

    fn port(&self, _: Protocol, _: &Packet) -> Port {
        self.query("port", self.port)
    }

    fn interface(&self) -> Interface {
        self.query("interface", self.interface)
    }

    fn carried(&self) -> PeerSet {
        self.query("carried", self.carried)
    }

    fn allowed(&self, _: Service) -> PeerSet {
        self.query("allowed", self.allowed)
    }

    fn allowed_unregistered(&self) -> PeerSet {
        self.query("allowed_unregistered", self.allowed_unregistered)
    }

    fn peers_of(&self, _: &Packet) -> PeerSet {
        self.query("peers_of", self.peers_of)
    }

    fn network(&self, _: &Packet) -> Option<Network<PeerSet>> {
        self.query("network", self.network)
    }

    fn is_local(&self, _: &Packet) -> bool {
        self.query("is_local", self.is_local)
    }

    fn is_own(&self, _: &Packet) -> bool {
        self.query("is_own", self.is_own)
    }

    fn is_for_other_mac(&self, _: &Packet) -> bool {
        self.query("is_for_other_mac", self.is_for_other_mac)
    }

    fn route(&self, _: &Packet) -> Route {
        self.query("route", self.route)
    }

    fn opens(&self, _: &Packet) -> bool {
        self.query("opens", self.opens)
    }

    fn is_proxied(&self, _: &Packet) -> bool {
        self.query("is_proxied", self.is_proxied)
    }

    fn is_anothers_fragment(&self, _: &Packet) -> bool {
        self.query("is_anothers_fragment", self.is_anothers_fragment)
    }
}

fn packet() -> Packet {
    Packet {
        loopback: false,
        ip_offset: 14,
        transport_offset: 34,
        transport: Transport::new(Protocol::Tcp, 9200),
    }
}

fn without_a_port(kind: Kind) -> Packet {
    Packet {
        transport_offset: 0,
        transport: Transport { kind, port: 0 },
        ..packet()
    }
}
