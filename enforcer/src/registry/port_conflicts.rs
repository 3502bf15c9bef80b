//! Port conflicts: services must not share a (protocol, port, address) triple.
//!
//! A service without `on` has its ports at every address that no `on` of another service names, so
//! one such service may share a port with any number of services with `on`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use enforcer_ebpf::Protocol;

use super::diagnostic::{Diagnostic, Fault, Severity};
use super::model::{MAX_PORTS, MAX_PORTS_AT_ADDRESSES, PortRange};
use super::report::Report;
use super::service::ServiceDraft;
use super::suggest::{grouped, quoted};

/// The most ports that are looked up, several times where a port is listed several times.
const MAX_LOOKS: usize = 500_000;
/// The most addresses that an error names.
const MAX_NAMED: usize = 3;

/// A port at an address; without an address, at every other address.
type PortAt = (Protocol, u16, Option<IpAddr>);

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

/// The claims so far.
#[derive(Default)]
struct Claims<'a> {
    first: BTreeMap<PortAt, Claim<'a>>,
    /// The registered ports, each protocol and service counted.
    ports: usize,
    /// The ports at single addresses.
    at_addresses: usize,
}

/// Reports ports of two services, overlapping ranges within a service, and too many ports. Services
/// come in reading order, so that the report is at the later of two.
pub(super) fn check<'a>(services: impl IntoIterator<Item = &'a ServiceDraft>, report: &mut Report) {
    let mut claims = Claims::default();
    let mut looks = 0;
    for service in services {
        for range in &service.ranges {
            let was = (claims.ports, claims.at_addresses);
            let claim = Claim { service, range };
            let ports = usize::from(range.last - range.first) + 1;
            looks += service.protocols.len() * ports * service.on.len().max(1);
            if looks > MAX_LOOKS {
                return report.error(&range.at, too_often());
            }
            for overlap in claims.register(claim) {
                report.push_with(overlap.severity(claim), || diagnostic(&overlap, claim));
            }
            if (was.0..claims.ports).contains(&MAX_PORTS) {
                report.error(&range.at, too_many());
            }
            if (was.1..claims.at_addresses).contains(&MAX_PORTS_AT_ADDRESSES) {
                report.error(&range.at, too_many_at_addresses());
            }
        }
    }
}

impl<'a> Claims<'a> {
    /// Registers a range and returns at most one overlap for each earlier range.
    fn register(&mut self, claim: Claim<'a>) -> Vec<Overlap<'a>> {
        let mut overlaps = Vec::new();
        let on = &claim.service.on;
        for &protocol in &claim.service.protocols {
            match on.is_empty() {
                true => self.register_at(claim, (protocol, None), true, &mut overlaps),
                false => {
                    for (index, address) in on.keys().enumerate() {
                        let place = (protocol, Some(*address));
                        self.register_at(claim, place, index == 0, &mut overlaps);
                    }
                }
            }
        }
        overlaps
    }

    /// Registers a range for one protocol at one address. `counts` tells that the ports count as
    /// registered: a port at several addresses of one service is one.
    fn register_at(
        &mut self,
        claim: Claim<'a>,
        (protocol, address): (Protocol, Option<IpAddr>),
        counts: bool,
        overlaps: &mut Vec<Overlap<'a>>,
    ) {
        let mut last = claim.range;
        for port in claim.range.first..=claim.range.last {
            let earlier = match self.first.entry((protocol, port, address)) {
                Entry::Occupied(earlier) => *earlier.get(),
                Entry::Vacant(vacant) => {
                    self.ports += usize::from(counts);
                    self.at_addresses += usize::from(address.is_some());
                    *vacant.insert(claim)
                }
            };
            if std::ptr::eq(earlier.range, claim.range) || std::ptr::eq(earlier.range, last) {
                continue;
            }
            last = earlier.range;
            let known = overlaps
                .iter_mut()
                .find(|overlap| std::ptr::eq(overlap.earlier.range, earlier.range));
            match known {
                // A range inside the earlier range interrupts the overlap, which then recurs; and
                // each common address shows the overlap again.
                Some(overlap) if overlap.protocols.last() == Some(&protocol.name()) => {}
                Some(overlap) => overlap.protocols.push(protocol.name()),
                None => overlaps.push(Overlap {
                    earlier,
                    protocols: vec![protocol.name()],
                }),
            }
        }
    }
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
                "{} {common} already registered for service {}{}, at {at}",
                protocols.join(" and "),
                quoted(&earlier.service.name),
                common_addresses(earlier.service, claim.service)
            ),
            "a port belongs to one service; give one of them another port, or other addresses with `on`",
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

/// Returns the addresses that two services share as " at 192.168.1.10"; empty without `on`.
fn common_addresses(a: &ServiceDraft, b: &ServiceDraft) -> String {
    let common = || a.on.keys().filter(|address| b.on.contains_key(address));
    let named: Vec<String> = common().take(MAX_NAMED).map(IpAddr::to_string).collect();
    match (named.is_empty(), common().count() - named.len()) {
        (true, _) => String::new(),
        (false, 0) => format!(" at {}", named.join(", ")),
        (false, more) => format!(" at {} and {more} more", named.join(", ")),
    }
}

fn too_often() -> Fault {
    let (limit, looks) = (grouped(MAX_PORTS), grouped(MAX_LOOKS));
    Fault::new(
        format!("the ports, counted as often as they are listed, are more than {looks}"),
        format!("list each port once; the limit is {limit} ports in all"),
    )
}

fn too_many_at_addresses() -> Fault {
    let limit = grouped(MAX_PORTS_AT_ADDRESSES);
    Fault::new(
        format!("services with `on` have more than {limit} ports at single addresses"),
        format!(
            "the limit is {limit} in all, counted for each protocol and address; leave `on` out where every address may be the service's"
        ),
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
