//! The changes of ports: the sources that may reach a port, before and after.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use enforcer_ebpf::{Address, Mode, Protocol, layout::Binding};

use super::{Change, names};
use crate::policy::tables::PolicyTables;

/// Ports of a service; without an address, at every address that no service of the port names.
type Ports = BTreeSet<(Protocol, u16, Option<Address>)>;

fn ports_by_service(tables: &PolicyTables) -> BTreeMap<&str, Ports> {
    let mut services: BTreeMap<&str, Ports> = BTreeMap::new();
    let everywhere = tables.ports.iter();
    let everywhere = everywhere.map(|(&(protocol, port), bound)| ((protocol, port, None), bound));
    let at = tables.ports_at.iter();
    let at = at.map(|(&(protocol, port, at), bound)| ((protocol, port, Some(at)), bound));
    for (place, binding) in everywhere.chain(at) {
        if let Some(row) = tables.services.get(usize::from(binding.service)) {
            services.entry(&row.name).or_default().insert(place);
        }
    }
    services
}

/// Returns the old and the new name of each renamed service: another name with the same ports.
pub(super) fn renamed<'a>(
    now: &'a PolicyTables,
    next: &'a PolicyTables,
) -> Vec<(&'a str, &'a str)> {
    let (was, will) = (ports_by_service(now), ports_by_service(next));
    let gone = was.iter().filter(|(name, _)| !will.contains_key(*name));
    gone.filter_map(|(old, ports)| {
        let mut new = will.iter().filter(|(name, _)| !was.contains_key(*name));
        let (name, _) = new.find(|(_, others)| *others == ports)?;
        Some((*old, *name))
    })
    .collect()
}

/// Adds the changes of each port: at the addresses that an `on` names, and at all others.
pub(super) fn ports(
    now: &PolicyTables,
    next: &PolicyTables,
    renamed: &[(&str, &str)],
    changes: &mut Vec<Change>,
) {
    let mut addresses: BTreeMap<(Protocol, u16), BTreeSet<Address>> = BTreeMap::new();
    for place in now.ports.keys().chain(next.ports.keys()) {
        addresses.entry(*place).or_default();
    }
    for &(protocol, port, address) in now.ports_at.keys().chain(next.ports_at.keys()) {
        let of_port = addresses.entry((protocol, port)).or_default();
        of_port.insert(address);
    }
    for (place, addresses) in addresses {
        let port = PortChanges {
            now,
            next,
            renamed,
            place,
        };
        let is_there = |tables: &PolicyTables| tables.ports.contains_key(&place);
        if is_there(now) && !is_there(next) {
            let what = "no longer registered: open to all".to_owned();
            port.push(changes, None, '-', what);
            continue;
        }
        let others = match addresses.is_empty() {
            true => "",
            false => "at other addresses: ",
        };
        for address in addresses {
            let at = format!("at {}: ", IpAddr::from(address));
            port.compare(changes, Some(address), &at);
        }
        port.compare(changes, None, others);
    }
}

/// The comparison of one port between two policies.
struct PortChanges<'a> {
    now: &'a PolicyTables,
    next: &'a PolicyTables,
    renamed: &'a [(&'a str, &'a str)],
    place: (Protocol, u16),
}

impl PortChanges<'_> {
    /// Adds the changes at one address, or at all others.
    fn compare(&self, changes: &mut Vec<Change>, address: Option<Address>, at: &str) {
        let reach = |tables: &PolicyTables| {
            let binding = tables.binding_at(self.place, address)?;
            Reach::of(tables, binding)
        };
        let (was, will) = (reach(self.now), reach(self.next));
        let mut push =
            |sign, what: String| self.push(changes, address, sign, at.to_owned() + &what);
        match (was, will) {
            (None, Some(will)) => push('+', format!("now registered, {}", will.words())),
            (Some(was), Some(will)) => {
                let is_rename = self.renamed.contains(&(&was.service, &will.service));
                if was.service != will.service && !is_rename {
                    push('~', format!("was {}'s", was.service));
                }
                was.compare(&will, &mut push);
            }
            // The whole port is gone, which is told once.
            (_, None) => {}
        }
    }

    /// Adds a change of the port at an address, under the name of the port's service there.
    fn push(&self, changes: &mut Vec<Change>, address: Option<Address>, sign: char, what: String) {
        let (protocol, port) = self.place;
        let name = |tables: &PolicyTables| {
            let binding = tables.binding_at(self.place, address)?;
            let row = tables.services.get(usize::from(binding.service))?;
            Some(row.name.clone())
        };
        changes.push(Change {
            sign,
            service: name(self.next).or_else(|| name(self.now)),
            protocol: Some(protocol.name()),
            port: Some(port),
            what,
        });
    }
}

/// The sources that may reach a port.
#[derive(PartialEq, Eq)]
struct Reach {
    service: String,
    public: bool,
    mode: Mode,
    peers: BTreeSet<String>,
}

impl Reach {
    fn of(tables: &PolicyTables, binding: &Binding) -> Option<Self> {
        let row = tables.services.get(usize::from(binding.service))?;
        Some(Self {
            service: row.name.clone(),
            public: binding.public,
            mode: if binding.audit {
                Mode::Audit
            } else {
                Mode::Enforce
            },
            peers: match binding.has_peers {
                true => names(tables, &row.allow),
                false => BTreeSet::new(),
            },
        })
    }

    fn words(&self) -> String {
        let peers: Vec<&str> = self.peers.iter().map(String::as_str).collect();
        let audit = match self.mode {
            Mode::Audit => "; drops are only counted (audit)",
            Mode::Enforce => "",
        };
        let who = match (self.public, peers.is_empty()) {
            (true, _) => "reachable for anyone".to_owned(),
            (false, true) => "localhost only".to_owned(),
            (false, false) => format!("reachable for {}", peers.join(", ")),
        };
        who + audit
    }

    fn compare(&self, will: &Self, push: &mut impl FnMut(char, String)) {
        if self.public != will.public {
            let sign = if will.public { '+' } else { '-' };
            push(sign, format!("was {}, now {}", self.words(), will.words()));
        } else {
            for peer in will.peers.difference(&self.peers) {
                push('+', format!("now reachable for {peer}"));
            }
            for peer in self.peers.difference(&will.peers) {
                push('-', format!("no longer reachable for {peer}"));
            }
        }
        if self.mode != will.mode {
            push(
                '~',
                format!("the mode is {} and becomes {}", self.mode, will.mode),
            );
        }
    }
}
