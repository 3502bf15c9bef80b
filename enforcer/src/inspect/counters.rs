//! The model of `counters`: the policy's counters as rows.

use anyhow::Result;
use enforcer_ebpf::{
    NO_SLOT, Protocol,
    layout::{Cell, Count},
};
use serde::Serialize;

use crate::{
    control::{Error, Instance},
    policy::PolicyTables,
};

/// The counters that the operator wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only this service.
    pub service: Option<String>,
    /// Only this port.
    pub port: Option<u16>,
    /// Rows of zero too.
    pub all: bool,
}

/// One counter; the fields are the JSON of the design.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CounterRow {
    /// The service; `None` for packets without a registered port.
    pub service: Option<String>,
    /// The protocol, likewise.
    pub protocol: Option<&'static str>,
    /// The port, likewise.
    pub port: Option<u16>,
    /// `wire` or `socket`.
    pub guard: &'static str,
    /// The verdict before audit mode.
    pub verdict: &'static str,
    /// The reason for the verdict.
    pub reason: &'static str,
    /// Whether audit mode let the packets pass.
    pub audited: bool,
    /// The number of packets.
    pub packets: u64,
    /// The number of bytes.
    pub bytes: u64,
}

/// The selected counters of the policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The rows, by service, port and protocol; rows without a service come last.
    pub rows: Vec<CounterRow>,
    /// The names of all services, if the selection names an unknown service.
    pub known_services: Option<Vec<String>>,
}

/// The cells of one slot.
type Cells = Vec<(Cell, Count)>;

/// Reads the selected counters; `None` if nothing is pinned.
///
/// # Errors
/// The pins cannot be read, or are another namespace's.
pub fn counters(instance: &Instance, selection: &Selection) -> Result<Option<Counters>, Error> {
    let Some(maps) = instance.maps()? else {
        return Ok(None);
    };
    let counters = select(&maps.tables()?, selection, |slot| maps.counts(slot))?;
    Ok(Some(counters))
}

/// Selects counters of a policy; `cells` reads a slot.
fn select(
    tables: &PolicyTables,
    selection: &Selection,
    cells: impl Fn(u16) -> Result<Cells>,
) -> Result<Counters> {
    let mut rows = Vec::new();
    for (&(protocol, port), binding) in &tables.ports {
        let service = tables.service_of(protocol, port);
        let wanted = selection.service.as_deref();
        let is_selected = wanted.is_none_or(|name| service == Some(name))
            && selection.port.is_none_or(|only| only == port);
        if is_selected {
            let cells = cells(binding.slot)?.into_iter();
            rows.extend(cells.map(|cell| row(service, Some((protocol, port)), cell)));
        }
    }
    if selection.service.is_none() && selection.port.is_none() {
        let cells = cells(NO_SLOT)?.into_iter();
        rows.extend(cells.map(|cell| row(None, None, cell)));
    }
    rows.retain(|row| selection.all || row.packets > 0);
    rows.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    Ok(Counters {
        rows,
        known_services: unknown_service(tables, selection),
    })
}

/// Returns the names of all services if the selected service is none of them.
fn unknown_service(tables: &PolicyTables, selection: &Selection) -> Option<Vec<String>> {
    let wanted = selection.service.as_ref()?;
    let names = tables.services.iter().map(|service| service.name.clone());
    let names: Vec<String> = names.collect();
    (!names.contains(wanted)).then_some(names)
}

fn row(
    service: Option<&str>,
    port: Option<(Protocol, u16)>,
    (cell, count): (Cell, Count),
) -> CounterRow {
    CounterRow {
        service: service.map(str::to_owned),
        protocol: port.map(|(protocol, _)| protocol.name()),
        port: port.map(|(_, port)| port),
        guard: cell.guard.name(),
        verdict: cell.reason.verdict().name(),
        reason: cell.reason.name(),
        audited: cell.audited,
        packets: count.packets,
        bytes: count.bytes,
    }
}

fn sort_key(row: &CounterRow) -> (bool, &Option<String>, Option<u16>, Option<&str>) {
    (row.service.is_none(), &row.service, row.port, row.protocol)
}

#[cfg(test)]
mod tests {
    use enforcer_ebpf::{Guard, PeerSet, Reason, layout::Binding};

    use super::*;
    use crate::policy::ServiceRow;

    /// Service `web` on 80/tcp and 443/tcp in slots 1 and 2, service `cache` on 6379/tcp in slot 3.
    fn tables() -> PolicyTables {
        let service = |name: &str| ServiceRow {
            name: name.to_owned(),
            allow: PeerSet::EMPTY,
        };
        let mut tables = PolicyTables {
            services: vec![service("web"), service("cache")],
            ..PolicyTables::default()
        };
        for (port, slot, service) in [(443, 2, 0), (80, 1, 0), (6379, 3, 1)] {
            let binding = Binding {
                slot,
                service,
                ..Binding::default()
            };
            tables.ports.insert((Protocol::Tcp, port), binding);
        }
        tables
    }

    /// The cells of a slot: as many passed packets as the slot's number, and no drop.
    fn cells(slot: u16) -> Result<Cells> {
        let cell = |reason| Cell {
            guard: Guard::Wire,
            reason,
            audited: false,
        };
        let count = |packets| Count {
            packets,
            bytes: packets * 100,
        };
        Ok(vec![
            (cell(Reason::Public), count(u64::from(slot))),
            (cell(Reason::UntrustedInterface), count(0)),
        ])
    }

    fn selected(selection: &Selection) -> Counters {
        select(&tables(), selection, cells).expect("no slot fails")
    }

    fn ports(counters: &Counters) -> Vec<Option<u16>> {
        counters.rows.iter().map(|row| row.port).collect()
    }

    #[test]
    fn rows_are_sorted_and_zeroes_are_left_out() {
        let counters = selected(&Selection::default());
        assert_eq!(ports(&counters), [Some(6379), Some(80), Some(443)]);
        assert_eq!(counters.rows[0].service.as_deref(), Some("cache"));
        assert_eq!(counters.rows[0].packets, 3);
        assert_eq!(counters.known_services, None);
    }

    #[test]
    fn all_rows_end_with_those_without_a_port() {
        let all = selected(&Selection {
            all: true,
            ..Selection::default()
        });
        assert_eq!(all.rows.len(), 8);
        assert_eq!(ports(&all)[6..], [None, None]);
    }

    #[test]
    fn a_service_or_a_port_selects() {
        let web = selected(&Selection {
            service: Some("web".to_owned()),
            ..Selection::default()
        });
        assert_eq!(ports(&web), [Some(80), Some(443)]);
        let port = selected(&Selection {
            port: Some(443),
            all: true,
            ..Selection::default()
        });
        assert_eq!(ports(&port), [Some(443), Some(443)]);
    }

    #[test]
    fn an_unknown_service_is_answered_with_the_known_ones() {
        let none = selected(&Selection {
            service: Some("wbe".to_owned()),
            ..Selection::default()
        });
        assert_eq!(none.rows, []);
        assert_eq!(none.known_services.unwrap(), ["web", "cache"]);
    }
}
