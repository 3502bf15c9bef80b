//! Which service has which port: each (protocol, port) belongs to one.

use std::collections::BTreeMap;

use enforcer_ebpf::Protocol;

use super::diagnostic::{Diagnostic, Fault, Report, Severity};
use super::model::{MAX_PORTS, PortRange};
use super::service::ServiceDraft;
use super::suggest::{grouped, quoted};

#[derive(Clone, Copy)]
struct Claim<'a> {
    service: &'a ServiceDraft,
    range: &'a PortRange,
}

/// An earlier claim that a range overlaps, and for which protocols.
struct Overlap<'a> {
    earlier: Claim<'a>,
    protocols: Vec<&'static str>,
}

/// Notes ports that two services claim, ranges of one service that overlap, and too many ports.
/// The services come in the order of reading, so that the later of two is to blame.
pub(super) fn check<'a>(services: impl IntoIterator<Item = &'a ServiceDraft>, report: &mut Report) {
    let mut claims = BTreeMap::new();
    for service in services {
        for range in &service.ranges {
            let within = claims.len() <= MAX_PORTS;
            let claim = Claim { service, range };
            for overlap in register(&mut claims, claim) {
                report.push(diagnostic(&overlap, claim));
            }
            if within && claims.len() > MAX_PORTS {
                report.error(&range.at, too_many());
            }
        }
    }
}

/// Registers a range, and finds what it overlaps: one overlap for each earlier range, not for each
/// of a thousand ports.
fn register<'a>(
    claims: &mut BTreeMap<(Protocol, u16), Claim<'a>>,
    claim: Claim<'a>,
) -> Vec<Overlap<'a>> {
    let mut overlaps: Vec<Overlap<'a>> = Vec::new();
    for &protocol in &claim.service.protocols {
        let mut last = claim.range;
        for port in claim.range.first..=claim.range.last {
            let earlier = *claims.entry((protocol, port)).or_insert(claim);
            if std::ptr::eq(earlier.range, claim.range) || std::ptr::eq(earlier.range, last) {
                continue;
            }
            last = earlier.range;
            let known = overlaps
                .iter_mut()
                .find(|overlap| std::ptr::eq(overlap.earlier.range, earlier.range));
            match known {
                // Ranges inside it are met in between: an overlap may be met more than once.
                Some(overlap) if overlap.protocols.last() == Some(&protocol.name()) => {}
                Some(overlap) => overlap.protocols.push(protocol.name()),
                None => overlaps.push(Overlap {
                    earlier,
                    protocols: vec![protocol.name()],
                }),
            }
        }
    }
    overlaps
}

fn diagnostic(overlap: &Overlap<'_>, claim: Claim<'_>) -> Diagnostic {
    let Overlap { earlier, protocols } = overlap;
    let common = common(earlier.range, claim.range);
    let at = &earlier.range.at;
    let (severity, fault) = if std::ptr::eq(earlier.service, claim.service) {
        let fault = Fault::new(
            format!("{common} listed twice, first at {at}"),
            "remove one of them",
        );
        (Severity::Warning, fault)
    } else {
        let fault = Fault::new(
            format!(
                "{} {common} already registered for service {}, at {at}",
                protocols.join(" and "),
                quoted(&earlier.service.name)
            ),
            "a port belongs to one service; give one of them another port",
        );
        (Severity::Error, fault)
    };
    Diagnostic::new(severity, claim.range.at.clone(), fault)
        .related(at.clone(), "first registered here")
}

/// "port 9200 is", "ports 9000-9001 are": what two overlapping ranges share.
fn common(a: &PortRange, b: &PortRange) -> String {
    let shared = PortRange {
        first: a.first.max(b.first),
        last: a.last.min(b.last),
        at: b.at.clone(),
    };
    if shared.first == shared.last {
        format!("port {shared} is")
    } else {
        format!("ports {shared} are")
    }
}

fn too_many() -> Fault {
    let limit = grouped(MAX_PORTS);
    Fault::new(
        format!("more than {limit} ports are registered"),
        format!(
            "the limit is {limit} ports in all, counted for each protocol; register fewer, or smaller ranges"
        ),
    )
}
