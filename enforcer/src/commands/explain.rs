//! `explain`: what would become of a packet.

mod words;

use anyhow::{Context as _, Result, anyhow};
use enforcer_ebpf::{Decision, Guard, Protocol, Reason};
use serde::Serialize;

use super::{Globals, Outcome, cli::Explain, failure::Failure, output, source};
use crate::{
    control::Instance,
    host::{self, HostSnapshot},
    inspect::{self, Copies, Live},
    interfaces::Interface,
    note::{Note, NoteKind},
    policy::{Citation, PacketSpec, PolicyTables, cite},
    registry::{MissingFile, Origin, Provenance, Registry, Source, load},
};

/// What is to be said of a packet.
struct Explanation {
    decision: Decision,
    service: Option<String>,
    peer: Option<String>,
    /// The lines of the registry that decided, or why none can be named.
    lines: Result<Vec<Citation>, String>,
    /// What the kernel says, if it was asked.
    live: Option<Ran>,
}

/// What the wire guard's program did, and should have done.
struct Ran {
    live: Live,
    model: Decision,
}

/// The fields are the JSON of the design.
#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    verdict: &'static str,
    reason: &'static str,
    service: Option<&'a str>,
    peer: Option<&'a str>,
    rule: Option<u8>,
    /// `null` where the registry is not what it was when it was put in force.
    r#where: Option<&'a [Citation]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<LiveJson<'a>>,
}

/// All but `why` are `null` where nothing was run.
#[derive(Serialize)]
struct LiveJson<'a> {
    verdict: Option<&'static str>,
    reason: Option<&'static str>,
    agrees: Option<bool>,
    hook: Option<&'static str>,
    why: Option<&'a str>,
}

/// Say what would become of a packet.
pub(crate) async fn explain(globals: &Globals, instance: &Instance, packet: &Explain) -> Outcome {
    if let Some(destination) = packet.destination
        && destination.is_ipv4() != packet.source.is_ipv4()
    {
        return Err(Failure::usage(anyhow!(
            "{} and {destination} are of two families: no packet has both",
            packet.source
        )));
    }
    let snapshot = host::snapshot().await?;
    // First, so that kernel and model are asked about the same generation.
    let mut copies = match packet.live {
        true => inspect::copies(instance)?,
        false => None,
    };
    let policy = Policy::find(globals, instance, copies.as_ref()).await?;
    let tables = &policy.tables;
    let interface = named(packet, &snapshot)?;
    let at_wire = describe(packet, tables, instance, &snapshot, interface).await?;
    let (description, decision) = both(tables, at_wire);
    let peer = match decision.reason {
        Reason::Peer => tables.granting_peer(&description),
        _ => None,
    };
    let peer = peer.map(|peer| peer.name.clone());
    let lines = policy.registry.as_ref().map(|registry| {
        let (name, peer) = (&packet.interface, peer.as_deref());
        cite(registry, &description, name, &decision, peer)
    });
    let mut explanation = Explanation {
        decision,
        service: tables
            .service_of(description.protocol, description.port)
            .map(str::to_owned),
        peer,
        lines: lines.map_err(Clone::clone),
        live: None,
    };
    if packet.live {
        explanation.live = Some(Ran {
            live: match &mut copies {
                Some(copies) => copies.run(instance, &snapshot, interface, &at_wire).await?,
                None => Live::Nothing("nothing is pinned".to_owned()),
            },
            model: tables.judge(&at_wire),
        });
    }
    if globals.json {
        output::print_json(&explanation.json())?;
    } else {
        let guarded = !instance.is_pinned()? || instance.has_socket_guard()?;
        output::print(&words::human(&explanation, &description, packet, guarded))?;
    }
    if explanation.live.as_ref().is_some_and(Ran::disagrees) {
        output::note(&Note::new(
            NoteKind::VerdictsDiffer,
            "the kernel's verdict differs from the verdict by its maps: `enforcer up` writes them \
             anew; please report this",
        ));
    }
    Ok(0)
}

impl Ran {
    /// Whether the kernel was asked, and said something else.
    fn disagrees(&self) -> bool {
        match &self.live {
            Live::Nothing(_) => false,
            Live::Ran(seen) => !seen.agrees(&self.model),
        }
    }
}

impl Explanation {
    fn json(&self) -> Json<'_> {
        Json {
            schema: 1,
            verdict: self.decision.verdict().name(),
            reason: self.decision.reason.name(),
            service: self.service.as_deref(),
            peer: self.peer.as_deref(),
            rule: self.decision.rule(),
            r#where: self.lines.as_deref().ok(),
            live: self.live.as_ref().map(|ran| match &ran.live {
                Live::Nothing(why) => LiveJson {
                    verdict: None,
                    reason: None,
                    agrees: None,
                    hook: None,
                    why: Some(why),
                },
                Live::Ran(seen) => LiveJson {
                    verdict: Some(seen.verdict().name()),
                    reason: seen.reason().map(Reason::name),
                    agrees: Some(!ran.disagrees()),
                    hook: Some(seen.hook.name()),
                    why: None,
                },
            }),
        }
    }
}

/// The policy that is asked, and the registry that it came from.
struct Policy {
    tables: PolicyTables,
    /// The registry, or why its lines cannot be cited.
    registry: Result<Registry, String>,
}

impl Policy {
    /// The policy in force, or the one that `up` would put in force.
    async fn find(
        globals: &Globals,
        instance: &Instance,
        copies: Option<&Copies>,
    ) -> Result<Self, Failure> {
        let tables = match copies {
            Some(copies) => Some(copies.tables()?),
            None => instance.maps()?.map(|maps| maps.tables()).transpose()?,
        };
        if let Some(tables) = tables {
            return Ok(Self {
                registry: again(&tables.provenance),
                tables,
            });
        }
        let loaded = load(&source(globals, MissingFile::Embedded))?;
        let what = match &loaded.origin {
            Origin::Embedded => "the embedded default".to_owned(),
            Origin::Files(files) => files
                .iter()
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
        };
        let text = format!("nothing is pinned: this is what {what} would do if it were in force");
        output::note(&Note::new(NoteKind::NothingPinned, text));
        let snapshot = host::snapshot_for(&loaded.registry).await?;
        Ok(Self {
            tables: inspect::would_be(&loaded, &snapshot)?,
            registry: Ok(loaded.registry),
        })
    }
}

/// What becomes of a packet in the end: one that the wire guard lets through to this host's sockets
/// meets the socket guard, which may know the interface better (a bridge, a VLAN device).
fn both(tables: &PolicyTables, wire: PacketSpec) -> (PacketSpec, Decision) {
    let first = tables.judge(&wire);
    let ends = first.drops() || first.reason == Reason::Forwarded || wire.guard == Guard::Socket;
    if !ends {
        let socket = PacketSpec {
            guard: Guard::Socket,
            ..wire
        };
        let second = tables.judge(&socket);
        if second.drops() {
            return (socket, second);
        }
    }
    (wire, first)
}

/// The registry that a policy in force was made from, read again, if it still is what it was.
///
/// Only for its lines: the policy is what is pinned.
fn again(provenance: &Provenance) -> Result<Registry, String> {
    let file = match &provenance.path {
        Some(path) => path.display().to_string(),
        None => "the embedded default".to_owned(),
    };
    if provenance.digest == 0 {
        return Err(format!("{file} is nothing that could be read again"));
    }
    match load(&Source::in_force(provenance)) {
        Ok(loaded) if loaded.provenance.digest == provenance.digest => Ok(loaded.registry),
        Ok(_) => Err(format!(
            "{file} has changed since it was put in force (`enforcer reload` would apply it)"
        )),
        Err(_) => Err(format!(
            "{file} has changed since it was put in force, or cannot be read (`enforcer check` says \
             why)"
        )),
    }
}

fn named<'a>(packet: &Explain, snapshot: &'a HostSnapshot) -> Result<&'a Interface> {
    snapshot.by_name(&packet.interface).with_context(|| {
        let names: Vec<&str> = snapshot.iter().map(|i| i.name.as_str()).collect();
        format!(
            "there is no interface {} in this network namespace; there are: {}",
            packet.interface,
            names.join(", ")
        )
    })
}

async fn describe(
    packet: &Explain,
    tables: &PolicyTables,
    instance: &Instance,
    snapshot: &HostSnapshot,
    interface: &Interface,
) -> Result<PacketSpec> {
    // What no wire guard looks at (podman0, a bridge's member) meets the socket guard alone.
    let guard = match inspect::has_wire_guard(instance, tables, snapshot, interface.index)? {
        true => Guard::Wire,
        false => Guard::Socket,
    };
    let forwards = tables.options_of(&packet.interface).forward && guard == Guard::Wire;
    let forwarded = match packet.destination {
        Some(destination) if forwards => {
            inspect::would_forward(interface.index, packet.source, destination).await?
        }
        _ => false,
    };
    Ok(PacketSpec {
        guard,
        ifindex: interface.index,
        loopback: interface.loopback,
        source: packet.source.into(),
        destination: packet.destination.map(Into::into),
        protocol: Protocol::from(packet.protocol),
        port: packet.port,
        forwarded,
    })
}
