//! The model of `counters`: the policy's counters as rows.

use anyhow::Result;
use enforcer_ebpf::{
    NETWORK_SLOT, NO_SLOT, Protocol,
    layout::{Cell, Count},
    unregistered_slot,
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
    /// The protocol; `None` for packets that several protocols share a counter for.
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
    for (protocol, port, service, slot) in tables.slots() {
        let wanted = selection.service.as_deref();
        let is_selected = wanted.is_none_or(|name| service == name)
            && selection.port.is_none_or(|only| only == port);
        if is_selected {
            let cells = cells(slot)?.into_iter();
            rows.extend(cells.map(|cell| row(Some(service), Some(protocol), Some(port), cell)));
        }
    }
    if selection.service.is_none() && selection.port.is_none() {
        let unregistered = Protocol::ALL.map(|it| (Some(it), unregistered_slot(it)));
        let fixed = [(None, NO_SLOT), (None, NETWORK_SLOT)].into_iter();
        for (protocol, slot) in fixed.chain(unregistered) {
            let cells = cells(slot)?.into_iter();
            rows.extend(cells.map(|cell| row(None, protocol, None, cell)));
        }
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
    protocol: Option<Protocol>,
    port: Option<u16>,
    (cell, count): (Cell, Count),
) -> CounterRow {
    CounterRow {
        service: service.map(str::to_owned),
        protocol: protocol.map(Protocol::name),
        port,
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
    use enforcer_ebpf::{FIRST_PORT_SLOT, Guard, PeerSet, Reason, layout::Binding};

    use super::*;
    use crate::policy::ServiceRow;

    /// Service `web` on 80/tcp and 443/tcp in slots 6 and 7, service `cache` on 6379/tcp in slot 8.
    fn tables() -> PolicyTables {
        let service = |name: &str| ServiceRow {
            name: name.to_owned(),
            allow: PeerSet::EMPTY,
        };
        let mut tables = PolicyTables {
            services: vec![service("web"), service("cache")],
            ..PolicyTables::default()
        };
        for (port, slot, service) in [(443, 7, 0), (80, 6, 0), (6379, 8, 1)] {
            let binding = Binding {
                slot,
                service,
                ..Binding::default()
            };
            tables.ports.insert((Protocol::Tcp, port), binding);
        }
        tables
    }

    /// The cells of a slot: as many passed packets as the slot's number above 5, and no drop.
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
            (
                cell(Reason::Public),
                count(u64::from(slot.saturating_sub(FIRST_PORT_SLOT))),
            ),
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
        // Three ports, three protocols' unregistered ports, container networks, and the rest.
        assert_eq!(all.rows.len(), 2 * (3 + 3 + 2));
        assert_eq!(ports(&all)[6..], [None; 10]);
        let protocols: Vec<_> = all.rows[6..].iter().map(|row| row.protocol).collect();
        let unregistered = [Some("sctp"), Some("tcp"), Some("udp")];
        assert_eq!(protocols[..4], [None; 4]);
        assert_eq!([protocols[4], protocols[6], protocols[8]], unregistered);
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
