//! The decision table, from the top down.

use std::net::IpAddr;

use enforcer_ebpf::{Mode, Protocol, Reason};

use super::{
    Answer, Arrival, Counter, Fib, LO, Reading, Registry, Socket, SocketState,
    host::{Forward, Registered},
};

/// A packet of a guard, for the rows that both guards share.
struct Judged {
    port: (Protocol, u16),
    source: Option<IpAddr>,
    /// The address of the host, for `on`.
    at: Option<IpAddr>,
    index: u32,
    opens: bool,
}

impl Registry {
    /// The wire guard's answer.
    pub(crate) fn wire(&self, reading: &Reading, arrival: &Arrival) -> Answer {
        let index = arrival.interface;
        let from = reading.addresses.map(|both| both.0);
        let to = reading.addresses.map(|both| both.1);
        let port = reading.outcome.ok();
        let counter = port.and_then(|port| self.port_counter(port, to));
        // Rule 1. The type is believed only if the source is in the local table.
        if index == LO || (arrival.handed_back && self.is_own(from, to)) {
            return Answer::pass(Reason::Loopback, Some(1), counter);
        }
        // Rule 2.
        if reading.has_loopback() {
            let counter = counter.unwrap_or(Counter::NoPort);
            return Answer::drop(Reason::LoopbackAddress, Some(2), counter, self.mode);
        }
        let not_for_us = self.rule_3_or_5(to, arrival);
        if let Some(answer) = self.rule_4(from, to, index, not_for_us == Some(3)) {
            return answer;
        }
        match reading.outcome {
            Err(reason) => self.without_port(reason, from, index, not_for_us),
            Ok(port) => {
                let judged = Judged {
                    port,
                    source: from,
                    at: to,
                    index,
                    opens: match port.0 {
                        Protocol::Udp => arrival.unasked,
                        _ => reading.opens,
                    },
                };
                self.with_port(&judged, not_for_us, None)
            }
        }
    }

    /// The socket guard's answer: port and state are the socket's own, the addresses are the
    /// packet's. No rule but 3, 4 and 5 knows of the frame.
    pub(crate) fn socket(
        &self,
        reading: &Reading,
        index: u32,
        handed_back: bool,
        socket: &Socket,
    ) -> Answer {
        let from = reading.addresses.map(|both| both.0);
        let to = reading.addresses.map(|both| both.1);
        // A VRF device brings this host's own packets, too.
        let is_vrf = self.interface(index).is_some_and(|i| i.is_vrf);
        if index == LO || ((handed_back || is_vrf) && self.is_own(from, to)) {
            let counter = self.port_counter(socket.port, to);
            return Answer::pass(Reason::Loopback, Some(1), counter);
        }
        let opens = match socket.port.0 {
            Protocol::Udp => matches!(socket.state, SocketState::Unasked),
            _ => matches!(socket.state, SocketState::Listening),
        };
        let judged = Judged {
            port: socket.port,
            source: from,
            at: to,
            index,
            opens,
        };
        self.with_port(&judged, None, Some(socket.state))
    }

    fn port_counter(&self, port: (Protocol, u16), at: Option<IpAddr>) -> Option<Counter> {
        match self.registered(port, at)? {
            Registered::By(number, _) | Registered::Elsewhere(number, _) => {
                Some(Counter::Port(number, port.0, port.1))
            }
        }
    }

    /// Whether the source is this host; 0.0.0.0 counts only towards 255.255.255.255.
    fn is_own(&self, from: Option<IpAddr>, to: Option<IpAddr>) -> bool {
        match (from, to) {
            (Some(IpAddr::V4(from)), Some(to)) if from.is_unspecified() => {
                to == IpAddr::from([255, 255, 255, 255])
            }
            (Some(from), Some(_)) => self.is_local(from),
            _ => false,
        }
    }

    /// The rule by which a packet is not for this host, if any.
    fn rule_3_or_5(&self, to: Option<IpAddr>, arrival: &Arrival) -> Option<u8> {
        let view = self.view(arrival.interface);
        let interface = self.interface(view);
        let forward = interface.map_or(Forward::Auto, |interface| interface.forward);
        // Without a readable destination the packet is judged.
        let to = to?;
        if forward == Forward::False || self.is_local(to) {
            return None;
        }
        if let Some(mac) = arrival.mac {
            let is_unicast = mac[0] % 2 == 0;
            if is_unicast && !self.macs.contains(&mac) {
                return Some(3);
            }
        }
        let Fib::Through(out) = arrival.fib else {
            return None;
        };
        let same_counts =
            forward == Forward::True || interface.is_some_and(|interface| !interface.has_ethernet);
        (is_unicast(to) && (out != view || same_counts)).then_some(5)
    }

    /// Rule 4, and rule 3 for its packets.
    fn rule_4(
        &self,
        from: Option<IpAddr>,
        to: Option<IpAddr>,
        index: u32,
        is_for_another: bool,
    ) -> Option<Answer> {
        let to = to?;
        let network = self.network(to)?;
        let belongs = index == network.bridge
            || self
                .interface(index)
                .is_some_and(|interface| interface.network == Some(network.bridge));
        let length = if to.is_ipv4() { 32 } else { 128 };
        let is_anothers_address = self
            .local
            .iter()
            .any(|row| row.prefix == (to, length) && row.interface != network.bridge);
        if network.routed || belongs || is_anothers_address {
            return None;
        }
        if is_for_another {
            return Some(Answer::pass(Reason::Forwarded, Some(3), None));
        }
        let counter = Counter::Networks;
        Some(if self.is_peer(&network.allow, from, index) {
            Answer::pass(Reason::Peer, Some(4), Some(counter))
        } else {
            let mode = network.mode.unwrap_or(self.mode);
            Answer::drop(Reason::ContainerNetwork, Some(4), counter, mode)
        })
    }

    fn without_port(
        &self,
        reason: Reason,
        from: Option<IpAddr>,
        index: u32,
        not_for_us: Option<u8>,
    ) -> Answer {
        let drop = |reason| Answer::drop(reason, None, Counter::NoPort, self.mode);
        match reason {
            Reason::HeaderChain | Reason::Malformed => match not_for_us {
                Some(rule) => Answer::pass(Reason::Forwarded, Some(rule), None),
                None => drop(reason),
            },
            Reason::Fragment
                if not_for_us.is_none()
                    && from.is_some_and(|from| self.is_anothers_fragment(from, index)) =>
            {
                drop(Reason::UnknownPeer)
            }
            _ => Answer::pass(reason, None, None),
        }
    }

    /// Rules 3 and 5 for a packet with a port, and 6 to 10.
    fn with_port(
        &self,
        judged: &Judged,
        not_for_us: Option<u8>,
        socket: Option<SocketState>,
    ) -> Answer {
        let (protocol, port) = judged.port;
        let Some(registered) = self.registered(judged.port, judged.at) else {
            return self.rule_6(judged, not_for_us);
        };
        if let Some(rule) = not_for_us {
            return Answer::pass(Reason::Forwarded, Some(rule), None);
        }
        let (number, service, is_here) = match registered {
            Registered::By(number, service) => (number, service, true),
            Registered::Elsewhere(number, service) => (number, service, false),
        };
        let counter = Counter::Port(number, protocol, port);
        if is_here && service.public {
            return Answer::pass(Reason::Public, Some(7), Some(counter));
        }
        if is_here && self.is_peer(&service.allow, judged.source, judged.index) {
            return Answer::pass(Reason::Peer, Some(8), Some(counter));
        }
        // The accepted side of a transparent proxy serves no port of this host.
        if let Some(SocketState::Connected(own)) = socket
            && !self.is_local(own)
        {
            return Answer::pass(Reason::Forwarded, Some(5), None);
        }
        let carries = self.peers_on(&service.allow, judged.index).count() > 0;
        let (reason, rule) = if is_here && carries {
            (Reason::UnknownPeer, 9)
        } else {
            (Reason::UntrustedInterface, 10)
        };
        let mode = service.mode.unwrap_or(self.mode);
        Answer::drop(reason, Some(rule), counter, mode)
    }

    /// A port that is not registered.
    fn rule_6(&self, judged: &Judged, not_for_us: Option<u8>) -> Answer {
        let protocol = judged.port.0;
        let mode: Option<Mode> = match protocol {
            Protocol::Tcp => self.unregistered.tcp,
            Protocol::Sctp => self.unregistered.sctp,
            Protocol::Udp => self.unregistered.udp,
        };
        let view = self.view(judged.index);
        let is_inside = self
            .interface(view)
            .is_some_and(|interface| interface.inside);
        let Some(mode) = mode.filter(|_| judged.opens && !is_inside) else {
            return Answer::pass(Reason::Unregistered, Some(6), None);
        };
        if let Some(rule) = not_for_us {
            return Answer::pass(Reason::Forwarded, Some(rule), None);
        }
        let counter = Counter::Unregistered(protocol);
        if self.is_peer(&self.unregistered.allow, judged.source, judged.index) {
            Answer::pass(Reason::Peer, Some(6), Some(counter))
        } else {
            Answer::drop(Reason::UnregisteredPort, Some(6), counter, mode)
        }
    }
}

/// 224/4, 255.255.255.255, 0/8, ff00::/8 and :: are no unicast addresses.
fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            first != 0 && !(224..240).contains(&first) && v4.octets() != [255; 4]
        }
        IpAddr::V6(v6) => v6.octets()[0] != 0xff && v6.octets() != [0; 16],
    }
}
