//! Port conflicts: services must not share a (protocol, port) pair.

use std::collections::BTreeMap;

use enforcer_ebpf::Protocol;

use super::diagnostic::{Diagnostic, Fault, Severity};
use super::model::{MAX_PORTS, PortRange};
use super::report::Report;
use super::service::ServiceDraft;
use super::suggest::{grouped, quoted};

/// A range of ports, claimed by a service.
#[derive(Clone, Copy)]
struct Claim<'a> {
    service: &'a ServiceDraft,
    range: &'a PortRange,
}

/// An earlier claim that overlaps a range, and the protocols of the overlap.
struct Overlap<'a> {
    earlier: Claim<'a>,
    protocols: Vec<&'static str>,
}

/// Reports ports of two services, overlapping ranges within a service, and too many ports. Services
/// come in reading order, so that the report is at the later of two.
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

/// Registers a range and returns at most one overlap for each earlier range.
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
                // A range inside the earlier range interrupts the overlap, which then recurs.
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
    let common = common_ports(earlier.range, claim.range);
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

/// Returns the ports common to two ranges as "port 9200 is" or "ports 9000-9001 are".
fn common_ports(a: &PortRange, b: &PortRange) -> String {
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
