//! An explanation, as a person reads it.

use std::fmt::Write as _;

use enforcer_ebpf::{Decision, Guard};

use super::{Explanation, Ran};
use crate::{
    commands::{
        cli::Explain,
        output::{GREEN, PLAIN, RED, YELLOW},
    },
    inspect::{Live, Seen},
    policy::PacketSpec,
};

pub(crate) fn human(
    explanation: &Explanation,
    description: &PacketSpec,
    packet: &Explain,
    has_socket_guard: bool,
) -> String {
    let decision = &explanation.decision;
    let (style, verdict) = match (decision.drops(), decision.audited) {
        (true, _) => (RED, "drop"),
        (false, true) => (YELLOW, "pass, counted as a drop (audit)"),
        (false, false) => (GREEN, "pass"),
    };
    let port = format!("{}/{}", description.port, description.protocol);
    let what = match &explanation.service {
        Some(service) => format!("{service} ({port})"),
        None => format!("{port}, which is not registered"),
    };
    let why = match (&explanation.peer, decision.rule()) {
        (Some(peer), Some(rule)) => format!("{} {peer}, rule {rule}", decision.reason),
        (_, Some(rule)) => format!("{}, rule {rule}", decision.reason),
        (_, None) => decision.reason.to_string(),
    };
    let guard = match (description.guard, has_socket_guard) {
        _ if description.loopback => "no guard stands in the way of lo",
        (Guard::Wire, _) if decision.drops() => "the wire guard ends it",
        (Guard::Wire, true) => "the wire guard lets it on, and so does the socket guard",
        (Guard::Wire, false) => "the wire guard lets it on, and there is no socket guard",
        (Guard::Socket, true) => "the socket guard judges it",
        (Guard::Socket, false) => {
            "no guard judges it: this interface has no wire guard, and there is no socket guard"
        }
    };
    let mut text = format!(
        "{style}{verdict}{PLAIN}: {why}\n  from {} on {} to {what}\n  {guard}",
        packet.source, packet.interface
    );
    match &explanation.lines {
        Ok(lines) => {
            for line in lines {
                _ = write!(text, "\n  by {}:{} ({})", line.file, line.line, line.what);
            }
        }
        Err(why) => _ = write!(text, "\n  no line of the registry is cited: {why}"),
    }
    if let Some(ran) = &explanation.live {
        _ = write!(text, "\n  {}", live(ran));
    }
    text
}

/// What the kernel said, in one line.
fn live(ran: &Ran) -> String {
    match &ran.live {
        Live::Nothing(why) => format!("nothing was run in the kernel: {why}"),
        Live::Ran(seen) if seen.agrees(&ran.model) => {
            format!("the kernel agrees: {}", said(seen))
        }
        Live::Ran(seen) => format!(
            "{RED}THE KERNEL DISAGREES{PLAIN}: {}, and the model says {}",
            said(seen),
            modelled(&ran.model)
        ),
    }
}

/// What a guard's program did with the packet.
fn said(seen: &Seen) -> String {
    let does = match seen.passes {
        true => "passes",
        false => "drops",
    };
    let counted = match seen.counted {
        Some((_, cell)) if cell.audited => format!("{} (audit)", cell.reason),
        Some((_, cell)) => cell.reason.to_string(),
        None => "not counted".to_owned(),
    };
    format!("the wire guard ({}) {does} it, {counted}", seen.hook)
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
    use enforcer_ebpf::{Reason, layout::Cell};

    use super::*;
    use crate::interfaces::Hook;

    const MODEL: Decision = Decision {
        reason: Reason::UntrustedInterface,
        audited: false,
        slot: 7,
    };

    fn seen(passes: bool, slot: u16, reason: Reason, audited: bool) -> Ran {
        let cell = Cell {
            guard: Guard::Wire,
            reason,
            audited,
        };
        Ran {
            model: MODEL,
            live: Live::Ran(Seen {
                hook: Hook::Tcx,
                passes,
                counted: Some((slot, cell)),
            }),
        }
    }

    #[test]
    fn agreement_takes_verdict_reason_slot_and_mode() {
        let agreed = live(&seen(false, 7, Reason::UntrustedInterface, false));
        assert_eq!(
            agreed,
            "the kernel agrees: the wire guard (tcx) drops it, untrusted-interface"
        );
        for other in [
            seen(true, 7, Reason::Peer, false),
            seen(false, 7, Reason::UnknownPeer, false),
            seen(false, 8, Reason::UntrustedInterface, false),
            seen(true, 7, Reason::UntrustedInterface, true),
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
    fn what_is_not_counted_is_compared_too() {
        let uncounted = |passes, model: Decision| {
            live(&Ran {
                model,
                live: Live::Ran(Seen {
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
