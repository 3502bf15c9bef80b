//! `reload --dry-run`: what another registry would change, in words.

use std::collections::BTreeSet;

use enforcer_ebpf::{Mode, Protocol};
use serde::Serialize;

use super::{
    Globals, Outcome,
    failure::{NOT_ENFORCING, note},
    output, policy, source,
};
use crate::{
    control::{self, Place},
    policy::Tables,
    registry::load,
};

/// One thing that would change.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    /// `+` where something becomes reachable or registered, `-` where it ends, `~` else.
    sign: char,
    service: Option<String>,
    protocol: Option<&'static str>,
    port: Option<u16>,
    what: String,
}

impl Change {
    /// One that is no port's.
    const fn of_the_whole(sign: char, what: String) -> Self {
        Self {
            sign,
            service: None,
            protocol: None,
            port: None,
            what,
        }
    }
}

/// Say what would change, and change nothing.
pub(super) async fn dry_run(globals: &Globals, place: &Place) -> Outcome {
    let loaded = load(&source(globals, place.is_embedded()?))?;
    let survey = control::survey_for(&loaded.registry).await?;
    policy::warn(&loaded, &survey)?;
    let Some((now, next)) = control::preview(place, &loaded, &survey)? else {
        note("nothing is pinned: `enforcer up` puts the registry in force");
        return Ok(NOT_ENFORCING);
    };
    let mut changes = changes(&now, &next);
    changes.extend(control::stale(&now, &survey).into_iter().map(|name| {
        Change::of_the_whole(
            '~',
            format!("the keys of {name} have other AllowedIPs than at the last reload"),
        )
    }));
    if globals.json {
        output::print_json(&changes)?;
        return Ok(0);
    }
    if changes.is_empty() {
        output::print("nothing would change")?;
    }
    for change in changes {
        let port = match (&change.service, change.port, change.protocol) {
            (Some(service), Some(port), Some(protocol)) => format!("{service} {port}/{protocol}: "),
            _ => String::new(),
        };
        output::print(&format!("{} {port}{}", change.sign, change.what))?;
    }
    Ok(0)
}

fn changes(now: &Tables, next: &Tables) -> Vec<Change> {
    let mut changes = Vec::new();
    if now.mode != next.mode {
        let what = format!("the global mode is {} and becomes {}", now.mode, next.mode);
        changes.push(Change::of_the_whole('~', what));
    }
    let is_in = |tables: &Tables, name: &str| {
        let mut peers = tables.peers.iter();
        peers.any(|peer| peer.active && peer.name == name)
    };
    for peer in next.peers.iter().filter(|peer| peer.key.is_some()) {
        let (sign, what) = match (is_in(now, &peer.name), peer.active) {
            (false, true) => ('+', "its key is there, with AllowedIPs"),
            (true, false) => ('-', "its key grants nothing: it waits"),
            _ => continue,
        };
        changes.push(Change::of_the_whole(
            sign,
            format!("peer {}: {what}", peer.name),
        ));
    }
    let ports: BTreeSet<(Protocol, u16)> =
        now.ports.keys().chain(next.ports.keys()).copied().collect();
    for (protocol, port) in ports {
        let (was, will) = (
            Reach::of(now, protocol, port),
            Reach::of(next, protocol, port),
        );
        let name = next
            .service_of(protocol, port)
            .or_else(|| now.service_of(protocol, port));
        let mut push = |sign, what| {
            changes.push(Change {
                sign,
                service: name.map(str::to_owned),
                protocol: Some(protocol.name()),
                port: Some(port),
                what,
            });
        };
        match (was, will) {
            (None, Some(will)) => push('+', format!("now registered, {}", will.words())),
            (Some(_), None) => push('-', "no longer registered: open to all".to_owned()),
            (Some(was), Some(will)) => was.compare(&will, &mut push),
            (None, None) => {}
        }
    }
    changes
}

/// Who may reach a port.
#[derive(PartialEq, Eq)]
struct Reach {
    service: String,
    public: bool,
    mode: Mode,
    peers: BTreeSet<String>,
}

impl Reach {
    fn of(tables: &Tables, protocol: Protocol, port: u16) -> Option<Self> {
        let binding = tables.ports.get(&(protocol, port))?;
        let row = tables.services.get(usize::from(binding.service))?;
        let peer = |number: u16| Some(tables.peers.get(usize::from(number))?.name.clone());
        Some(Self {
            service: row.name.clone(),
            public: binding.public,
            mode: if binding.audit {
                Mode::Audit
            } else {
                Mode::Enforce
            },
            peers: row.allow.iter().filter_map(peer).collect(),
        })
    }

    fn words(&self) -> String {
        let peers: Vec<&str> = self.peers.iter().map(String::as_str).collect();
        match (self.public, peers.is_empty()) {
            (true, _) => "reachable for anyone".to_owned(),
            (false, true) => "localhost only".to_owned(),
            (false, false) => format!("reachable for {}", peers.join(", ")),
        }
    }

    fn compare(&self, will: &Self, push: &mut impl FnMut(char, String)) {
        if self.service != will.service {
            push('~', format!("was {}'s", self.service));
        }
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
