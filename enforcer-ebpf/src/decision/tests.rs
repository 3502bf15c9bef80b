use std::cell::RefCell;

use super::*;
use crate::{address::MAX_PEERS, packet::Kind};

const LAPTOP: u16 = 3;
const STRANGER: u16 = 200;
const SLOT: u16 = 7;

/// Answers of a policy for a packet, and a record of the queries.
struct Answers {
    mode: Mode,
    service: Option<Service>,
    interface: Interface,
    carried: PeerSet,
    allowed: PeerSet,
    peers_of: PeerSet,
    is_forwarded: bool,
    queries: RefCell<Vec<&'static str>>,
}

fn peers<const N: usize>(numbers: [u16; N]) -> PeerSet {
    let mut set = PeerSet::EMPTY;
    numbers.into_iter().for_each(|number| set.insert(number));
    set
}

impl Answers {
    /// The laptop's packet for a service of the laptop, on the laptop's interface.
    fn new() -> Self {
        Self {
            mode: Mode::Enforce,
            service: Some(Service {
                slot: SLOT,
                number: 1,
                public: false,
                has_peers: true,
                mode: Mode::Enforce,
            }),
            interface: Interface {
                forward: false,
                has_peers: true,
            },
            carried: peers([LAPTOP, STRANGER]),
            allowed: peers([LAPTOP]),
            peers_of: peers([LAPTOP]),
            is_forwarded: false,
            queries: RefCell::default(),
        }
    }

    fn service(mut self, change: impl FnOnce(&mut Service)) -> Self {
        if let Some(service) = &mut self.service {
            change(service);
        }
        self
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
        decide(self, guard, false, packet)
    }

    /// Decides for both guards, which must agree.
    #[track_caller]
    fn expect(&self, reason: Reason, rule: u8) -> Decision {
        let [wire, socket] = Guard::ALL.map(|guard| self.judge(guard, &packet()));
        assert_eq!(wire, socket);
        assert_eq!((wire.reason, wire.rule()), (reason, Some(rule)));
        wire
    }
}

impl Policy for Answers {
    fn mode(&self) -> Mode {
        self.query("mode", self.mode)
    }

    fn service(&self, _: Protocol, _: u16) -> Option<Service> {
        self.query("service", self.service)
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

    fn peers_of(&self, _: &Packet) -> PeerSet {
        self.query("peers_of", self.peers_of)
    }

    fn is_forwarded(&self, _: &Packet) -> bool {
        self.query("is_forwarded", self.is_forwarded)
    }
}

fn packet() -> Packet {
    Packet {
        loopback: false,
        ip_offset: 14,
        transport: Transport::new(Protocol::Tcp, 9200),
    }
}

fn without_a_port(kind: Kind) -> Packet {
    Packet {
        transport: Transport { kind, port: 0 },
        ..packet()
    }
}

#[test]
fn rule_1_passes_lo_and_counts_registered_ports() {
    for guard in Guard::ALL {
        let registered = decide(&Answers::new(), guard, true, &packet());
        assert_eq!(
            (registered.reason, registered.slot),
            (Reason::Loopback, SLOT)
        );
        assert_eq!(registered.rule(), Some(1));
        assert!(registered.is_counted() && !registered.drops());

        let unregistered = Answers::new().with(|policy| policy.service = None);
        for (policy, packet) in [
            (unregistered, packet()),
            (Answers::new(), without_a_port(Kind::Malformed)),
        ] {
            let decision = decide(&policy, guard, true, &packet);
            assert_eq!(
                (decision.reason, decision.slot),
                (Reason::Loopback, NO_SLOT)
            );
            assert!(!decision.is_counted() && !decision.drops());
        }
    }
}

#[test]
fn rule_2_drops_loopback_addresses_on_the_wire_alone() {
    let forged = Packet {
        loopback: true,
        ..packet()
    };
    let wire = Answers::new().judge(Guard::Wire, &forged);
    assert_eq!((wire.reason, wire.slot), (Reason::LoopbackAddress, NO_SLOT));
    assert_eq!(wire.rule(), Some(2));
    assert!(wire.drops() && wire.is_counted());
    let audit = Answers::new().with(|policy| policy.mode = Mode::Audit);
    let audited = audit.judge(Guard::Wire, &forged);
    assert!(audited.audited && !audited.drops());
    let socket = Answers::new().judge(Guard::Socket, &forged);
    assert_eq!(socket.reason, Reason::Peer);
}

#[test]
fn packets_without_a_port_follow_the_parser_and_the_global_mode() {
    for (kind, reason, verdict) in [
        (Kind::Fragment, Reason::Fragment, Verdict::Pass),
        (Kind::Tagged, Reason::Tagged, Verdict::Pass),
        (Kind::OtherProtocol, Reason::OtherProtocol, Verdict::Pass),
        (Kind::HeaderChain, Reason::HeaderChain, Verdict::Drop),
        (Kind::Malformed, Reason::Malformed, Verdict::Drop),
    ] {
        let drop = verdict == Verdict::Drop;
        for mode in [Mode::Enforce, Mode::Audit] {
            let policy = Answers::new().with(|policy| policy.mode = mode);
            let decision = policy.judge(Guard::Wire, &without_a_port(kind));
            assert_eq!((decision.reason, decision.verdict()), (reason, verdict));
            assert_eq!((decision.slot, decision.rule()), (NO_SLOT, None));
            assert_eq!(decision.audited, drop && mode == Mode::Audit);
            assert_eq!(decision.drops(), drop && mode == Mode::Enforce);
            assert_eq!(decision.is_counted(), drop);
        }
    }
}

#[test]
fn rule_3_passes_an_unregistered_port_after_one_query() {
    let policy = Answers::new().with(|policy| policy.service = None);
    let decision = policy.judge(Guard::Wire, &packet());
    assert_eq!(
        (decision.reason, decision.slot),
        (Reason::Unregistered, NO_SLOT)
    );
    assert_eq!(decision.rule(), Some(3));
    assert!(!decision.is_counted() && !decision.drops());
    assert_eq!(*policy.queries.borrow(), ["service"]);
}

#[test]
fn rule_4_needs_the_wire_the_setting_and_the_fib() {
    for (guard, forward, is_forwarded) in [
        (Guard::Wire, true, true),
        (Guard::Wire, true, false),
        (Guard::Wire, false, true),
        (Guard::Socket, true, true),
    ] {
        let policy = Answers::new().with(|policy| {
            policy.interface.forward = forward;
            policy.is_forwarded = is_forwarded;
        });
        let decision = policy.judge(guard, &packet());
        let matches = guard == Guard::Wire && forward && is_forwarded;
        assert_eq!(decision.rule(), Some(if matches { 4 } else { 6 }));
        assert_eq!(decision.reason == Reason::Forwarded, matches);
        assert_eq!(decision.slot, SLOT);
        assert_eq!(decision.is_counted(), !matches);
        let asked = policy.queries.borrow().contains(&"is_forwarded");
        assert_eq!(asked, guard == Guard::Wire && forward);
    }
}

#[test]
fn rule_5_passes_a_public_service_without_a_look_at_peers() {
    let policy = Answers::new()
        .service(|service| service.public = true)
        .with(|policy| policy.peers_of = PeerSet::EMPTY);
    let decision = policy.expect(Reason::Public, 5);
    assert_eq!(decision.slot, SLOT);
    assert!(decision.is_counted() && !decision.drops());
    assert!(!policy.queries.borrow().contains(&"peers_of"));
}

#[test]
fn rule_6_passes_an_allowed_peer() {
    let decision = Answers::new().expect(Reason::Peer, 6);
    assert_eq!(decision.slot, SLOT);
    assert!(decision.is_counted() && !decision.drops());
}

#[test]
fn rule_7_drops_other_sources_on_an_interface_of_an_allowed_peer() {
    for source in [peers([STRANGER]), PeerSet::EMPTY] {
        let policy = Answers::new().with(|policy| policy.peers_of = source);
        let decision = policy.expect(Reason::UnknownPeer, 7);
        assert_eq!(decision.slot, SLOT);
        assert!(decision.is_counted() && decision.drops());
    }
}

#[test]
fn rule_8_drops_on_an_interface_without_an_allowed_peer() {
    for policy in [
        Answers::new().service(|service| service.has_peers = false),
        Answers::new().with(|policy| policy.interface.has_peers = false),
        Answers::new().with(|policy| policy.carried = peers([STRANGER])),
        Answers::new().with(|policy| policy.allowed = PeerSet::EMPTY),
    ] {
        let decision = policy.expect(Reason::UntrustedInterface, 8);
        assert_eq!(decision.slot, SLOT);
        assert!(decision.is_counted() && decision.drops());
        assert!(!policy.queries.borrow().contains(&"peers_of"));
    }
}

#[test]
fn drops_of_a_service_follow_the_mode_of_the_service() {
    for (global, own) in [(Mode::Enforce, Mode::Audit), (Mode::Audit, Mode::Enforce)] {
        for change in [
            |policy: &mut Answers| policy.peers_of = PeerSet::EMPTY,
            |policy: &mut Answers| policy.carried = PeerSet::EMPTY,
        ] {
            let policy = Answers::new()
                .with(|policy| policy.mode = global)
                .service(|service| service.mode = own)
                .with(change);
            let decision = policy.judge(Guard::Wire, &packet());
            assert_eq!(decision.verdict(), Verdict::Drop);
            assert_eq!(decision.audited, own == Mode::Audit);
            assert_eq!(decision.drops(), own == Mode::Enforce);
        }
    }
}

#[test]
fn every_peer_number_can_be_the_one_that_matches() {
    for number in (0..256).step_by(51) {
        assert!(usize::from(number) < MAX_PEERS);
        let everyone = |policy: &mut Answers| {
            policy.carried = peers([number]);
            policy.allowed = peers([number]);
            policy.peers_of = peers([number]);
        };
        Answers::new().with(everyone).expect(Reason::Peer, 6);
    }
}

#[test]
fn a_packet_at_a_socket_has_the_sockets_protocol_and_port() {
    let packet = at_socket(Protocol::Udp, 8125);
    assert_eq!(packet.transport, Transport::new(Protocol::Udp, 8125));
    assert!(!packet.loopback);
    assert_eq!(packet.ip_offset, 0);
}
