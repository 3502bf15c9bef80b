//! Port conflicts: services must not share a (protocol, port) pair.

use std::collections::BTreeMap;

use enforcer_ebpf::Protocol;

use super::diagnostic::{Diagnostic, Fault, Severity};
use super::model::{MAX_PORTS, PortRange};
use super::report::Report;
use super::service::ServiceDraft;
use super::suggest::{grouped, quoted};

/// The most ports that are looked up, several times where a port is listed several times.
const MAX_LOOKS: usize = 500_000;

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

impl Overlap<'_> {
    /// A port of two services is an error.
    fn severity(&self, claim: Claim<'_>) -> Severity {
        match std::ptr::eq(self.earlier.service, claim.service) {
            true => Severity::Warning,
            false => Severity::Error,
        }
    }
}

/// Reports ports of two services, overlapping ranges within a service, and too many ports. Services
/// come in reading order, so that the report is at the later of two.
pub(super) fn check<'a>(services: impl IntoIterator<Item = &'a ServiceDraft>, report: &mut Report) {
    let mut claims = BTreeMap::new();
    let mut looks = 0;
    for service in services {
        for range in &service.ranges {
            let within = claims.len() <= MAX_PORTS;
            let claim = Claim { service, range };
            looks += service.protocols.len() * (usize::from(range.last - range.first) + 1);
            if looks > MAX_LOOKS {
                return report.error(&range.at, too_often());
            }
            for overlap in register(&mut claims, claim) {
                report.push_with(overlap.severity(claim), || diagnostic(&overlap, claim));
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
    let severity = overlap.severity(claim);
    let fault = match severity {
        Severity::Warning => Fault::new(
            format!("{common} listed twice, first at {at}"),
            "remove one of them",
        ),
        Severity::Error => Fault::new(
            format!(
                "{} {common} already registered for service {}, at {at}",
                protocols.join(" and "),
                quoted(&earlier.service.name)
            ),
            "a port belongs to one service; give one of them another port",
        ),
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

fn too_often() -> Fault {
    let (limit, looks) = (grouped(MAX_PORTS), grouped(MAX_LOOKS));
    Fault::new(
        format!("the ports, counted as often as they are listed, are more than {looks}"),
        format!("list each port once; the limit is {limit} ports in all"),
    )
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
