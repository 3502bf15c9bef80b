//! An explanation in words.

use enforcer_ebpf::{Decision, Guard, Reason};

use crate::{
    commands::{
        output::{GREEN, PLAIN, RED, YELLOW},
        wrap::{Width, wrap},
    },
    inspect::{Explanation, Live, LiveAnswer, Question, Run},
    printable::{self, name},
};

/// Returns an explanation in words.
pub(crate) fn human(question: &Question, explanation: &Explanation, width: Width) -> String {
    let mut lines = vec![
        verdict(explanation),
        format!(
            "  from {} on {} to {}",
            question.source,
            name(&question.interface),
            target(explanation)
        ),
        format!("  {}", guard(explanation)),
    ];
    if !explanation.packet.opens && explanation.decision.reason == Reason::Unregistered {
        lines.push(format!(
            "  rule 6 judges datagrams for an unconnected socket, and none is at {}/{}",
            explanation.packet.port, explanation.packet.protocol
        ));
    }
    match &explanation.lines {
        Ok(cited) => lines.extend(cited.iter().map(|line| {
            let what = printable::text(&line.what);
            format!("  by {}:{} ({what})", name(&line.file), line.line)
        })),
        Err(why) => {
            let why = printable::text(why);
            lines.push(format!("  no line of the registry is cited: {why}"));
        }
    }
    if let Some(bridge) = &explanation.engines_bridge {
        lines.push(format!(
            "  the container network is of {0}, by its name a bridge that a container engine \
             created; no [interfaces] table is for {0}",
            name(bridge)
        ));
    }
    if let Some(answer) = &explanation.live {
        lines.push(format!("  {}", live(answer)));
    }
    wrap(&lines.join("\n"), width, 2)
}

fn verdict(explanation: &Explanation) -> String {
    let decision = &explanation.decision;
    let (style, verdict) = match (decision.drops(), decision.audited) {
        (true, _) => (RED, "drop"),
        (false, true) => (YELLOW, "pass, counted as a drop (audit)"),
        (false, false) => (GREEN, "pass"),
    };
    let why = match (&explanation.peer, decision.rule()) {
        (Some(peer), Some(rule)) => format!("{} {}, rule {rule}", decision.reason, name(peer)),
        (_, Some(rule)) => format!("{}, rule {rule}", decision.reason),
        (_, None) => decision.reason.to_string(),
    };
    format!("{style}{verdict}{PLAIN}: {why}")
}

/// The service and the port that the packet is for.
fn target(explanation: &Explanation) -> String {
    let packet = &explanation.packet;
    let port = format!("{}/{}", packet.port, packet.protocol);
    match &explanation.service {
        Some(service) => format!("{} ({port})", name(service)),
        None => format!("{port}, which is not registered"),
    }
}

/// The guards on the packet's way.
fn guard(explanation: &Explanation) -> &'static str {
    let packet = &explanation.packet;
    match (packet.guard, explanation.has_socket_guard) {
        _ if packet.loopback => "no guard stands in the way of lo",
        (Guard::Wire, _) if explanation.decision.drops() => "the wire guard ends it",
        (Guard::Wire, _) if explanation.passes_on => {
            "the wire guard lets it on, and no socket of this host gets it"
        }
        (Guard::Wire, true) => "the wire guard lets it on, and so does the socket guard",
        (Guard::Wire, false) => "the wire guard lets it on, and there is no socket guard",
        (Guard::Socket, true) => "the socket guard judges it",
        (Guard::Socket, false) => {
            "no guard judges it: this interface has no wire guard, and there is no socket guard"
        }
    }
}

/// The kernel's answer beside the model's.
fn live(answer: &LiveAnswer) -> String {
    match &answer.live {
        Live::NotRun(why) => {
            format!("nothing was run in the kernel: {}", printable::text(why))
        }
        Live::Ran(run) if !answer.disagrees() => {
            format!("the kernel agrees: {}", observed(run))
        }
        Live::Ran(run) => format!(
            "{RED}THE KERNEL DISAGREES{PLAIN}: {}, and the model says {}",
            observed(run),
            modelled(&answer.model)
        ),
    }
}

/// The effect of a guard's program on the packet.
fn observed(run: &Run) -> String {
    let does = match run.passes {
        true => "passes",
        false => "drops",
    };
    let counted = match run.counted {
        Some((_, cell)) if cell.audited => format!("{} (audit)", cell.reason),
        Some((_, cell)) => cell.reason.to_string(),
        None => "not counted".to_owned(),
    };
    format!("the wire guard ({}) {does} it, {counted}", run.hook)
}

fn modelled(decision: &Decision) -> String {
    let does = match decision.drops() {
        true => "drop",
        false => "pass",
    };
    match decision.audited {
        true => format!("{does}, {} (audit)", decision.reason),
        false => format!("{does}, {}", decision.reason),
    }
}

#[cfg(test)]
mod tests {
    use enforcer_ebpf::{Address, Protocol, layout::Cell};

    use super::*;
    use crate::{
        commands::snapshots::assert_snapshot,
        interfaces::Hook,
        policy::{Citation, PacketSpec},
    };

    const MODEL: Decision = Decision {
        reason: Reason::UntrustedInterface,
        rule: 10,
        audited: false,
        slot: 7,
    };

    fn answer(passes: bool, slot: u16, reason: Reason, audited: bool) -> LiveAnswer {
        let cell = Cell {
            guard: Guard::Wire,
            reason,
            audited,
        };
        LiveAnswer {
            model: MODEL,
            live: Live::Ran(Run {
                hook: Hook::Tcx,
                passes,
                counted: Some((slot, cell)),
            }),
        }
    }

    fn question() -> Question {
        Question {
            interface: "eth0".to_owned(),
            source: "192.0.2.7".parse().unwrap(),
            destination: None,
            protocol: Protocol::Tcp,
            port: 6379,
            live: true,
        }
    }

    fn explanation() -> Explanation {
        Explanation {
            packet: PacketSpec {
                guard: Guard::Wire,
                ifindex: 2,
                loopback: false,
                source: Address::v4([192, 0, 2, 7]),
                destination: None,
                protocol: Protocol::Tcp,
                port: 6379,
                route: enforcer_ebpf::Route::Here,
                opens: true,
            },
            decision: MODEL,
            service: Some("redis".to_owned()),
            peer: None,
            lines: Ok(vec![Citation {
                file: "/etc/enforcer/enforcer.toml".to_owned(),
                line: 3,
                what: "port 6379 of redis".to_owned(),
            }]),
            engines_bridge: None,
            live: None,
            hypothetical: None,
            has_socket_guard: true,
            passes_on: false,
        }
    }

    fn assert_explanation(name: &str, explanation: &Explanation) {
        assert_snapshot(name, |width| human(&question(), explanation, width));
    }

    #[test]
    fn drops() {
        assert_explanation("explain-drop", &explanation());
        let audited = Explanation {
            decision: Decision {
                audited: true,
                ..MODEL
            },
            lines: Err(
                "/etc/e\u{1b}.toml has changed since the policy was put in force".to_owned(),
            ),
            ..explanation()
        };
        assert_explanation("explain-audit", &audited);
    }

    #[test]
    fn container_networks() {
        let network = Explanation {
            decision: Decision {
                reason: Reason::ContainerNetwork,
                rule: 4,
                ..MODEL
            },
            service: None,
            lines: Ok(Vec::new()),
            engines_bridge: Some("podman\u{1b}1".to_owned()),
            ..explanation()
        };
        assert_explanation("explain-network", &network);
    }

    #[test]
    fn passes() {
        let pass = Explanation {
            decision: Decision {
                reason: Reason::Peer,
                ..MODEL
            },
            peer: Some("office".to_owned()),
            ..explanation()
        };
        assert_explanation("explain-pass", &pass);
        let forwarded = Explanation {
            decision: Decision {
                reason: Reason::Forwarded,
                rule: 5,
                ..MODEL
            },
            passes_on: true,
            peer: None,
            lines: Ok(Vec::new()),
            ..explanation()
        };
        assert_explanation("explain-forwarded", &forwarded);
        let unregistered = Explanation {
            packet: PacketSpec {
                guard: Guard::Socket,
                ..pass.packet
            },
            decision: Decision {
                reason: Reason::Unregistered,
                ..MODEL
            },
            service: None,
            peer: None,
            lines: Ok(Vec::new()),
            has_socket_guard: false,
            ..pass
        };
        assert_explanation("explain-unregistered", &unregistered);
    }

    #[test]
    fn a_datagram_without_a_socket() {
        let mut nobodys = explanation();
        nobodys.packet = PacketSpec {
            protocol: Protocol::Udp,
            port: 9999,
            opens: false,
            ..nobodys.packet
        };
        nobodys.decision.reason = Reason::Unregistered;
        nobodys.decision.rule = 6;
        (nobodys.service, nobodys.lines) = (None, Ok(Vec::new()));
        assert_explanation("explain-no-socket", &nobodys);
    }

    #[test]
    fn live_answers() {
        let with = |live| Explanation {
            live: Some(live),
            ..explanation()
        };
        let agrees = with(answer(false, 7, Reason::UntrustedInterface, false));
        assert_explanation("explain-live-agrees", &agrees);
        let disagrees = with(answer(true, 7, Reason::Peer, false));
        assert_explanation("explain-live-disagrees", &disagrees);
        let nothing = with(LiveAnswer {
            model: MODEL,
            live: Live::NotRun(
                "eth0 has no wire guard, and the socket guard wants a socket".into(),
            ),
        });
        assert_explanation("explain-live-nothing", &nothing);
    }

    #[test]
    fn agreement_takes_verdict_reason_slot_and_mode() {
        let agreed = live(&answer(false, 7, Reason::UntrustedInterface, false));
        assert_eq!(
            agreed,
            "the kernel agrees: the wire guard (tcx) drops it, untrusted-interface"
        );
        for other in [
            answer(true, 7, Reason::Peer, false),
            answer(false, 7, Reason::UnknownPeer, false),
            answer(false, 8, Reason::UntrustedInterface, false),
            answer(true, 7, Reason::UntrustedInterface, true),
        ] {
            let said = live(&other);
            assert!(said.contains("THE KERNEL DISAGREES"), "{said}");
            assert!(
                said.ends_with("and the model says drop, untrusted-interface"),
                "{said}"
            );
        }
    }

    #[test]
    fn uncounted_packets_are_compared_too() {
        let uncounted = |passes, model: Decision| {
            live(&LiveAnswer {
                model,
                live: Live::Ran(Run {
                    hook: Hook::XdpNative,
                    passes,
                    counted: None,
                }),
            })
        };
        let unregistered = Decision {
            reason: Reason::Unregistered,
            slot: 0,
            ..MODEL
        };
        assert_eq!(
            uncounted(true, unregistered),
            "the kernel agrees: the wire guard (xdp-native) passes it, not counted"
        );
        assert!(uncounted(false, unregistered).contains("DISAGREES"));
        assert!(uncounted(true, MODEL).contains("DISAGREES"));
    }
}
