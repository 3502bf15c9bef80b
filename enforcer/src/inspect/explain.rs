//! The model of `explain`: the verdict on a described packet, and the reasons.

use anyhow::{Context as _, anyhow};
use enforcer_ebpf::{Decision, Reason};
use serde::{Serialize, Serializer};

use super::{
    explain_error::ExplainError,
    explain_live::{Live, copies},
    explain_packet::{Question, as_run, describe, passes_on, through_both_guards},
    explain_policy::JudgedPolicy,
};
use crate::{
    control::Instance,
    host::{self, HostSnapshot},
    interfaces::Interface,
    policy::{Citation, PacketSpec, PolicyTables, cite},
    registry::{Loaded, Origin, Rejected},
};

/// The answer to a [`Question`]; serialised, the JSON of the design.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The packet at the guard that decided.
    pub packet: PacketSpec,
    /// The decision.
    pub decision: Decision,
    /// The service of the port.
    pub service: Option<String>,
    /// The peer whose grant lets the packet pass.
    pub peer: Option<String>,
    /// The registry lines behind the decision, or the reason why none can be cited.
    pub lines: Result<Vec<Citation>, String>,
    /// The bridge of the container network that rule 4 is about, where the registry has no table
    /// for the bridge: the name alone makes it a container engine's.
    pub engines_bridge: Option<String>,
    /// The kernel's answer, if asked for.
    pub live: Option<LiveAnswer>,
    /// The registry that was asked, with nothing pinned.
    pub hypothetical: Option<Origin>,
    /// Whether a socket guard is attached, or would be.
    pub has_socket_guard: bool,
    /// Whether the packet is for a container or another host, and meets no socket.
    pub passes_on: bool,
}

/// The run of the wire guard's program beside the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveAnswer {
    /// The run.
    pub live: Live,
    /// The decision on the same packet by the tables.
    pub model: Decision,
}

/// Explains a packet by the policy in force, or with nothing pinned by the policy that `up` would
/// put in force from the registry that `read` reads.
///
/// # Errors
/// The question makes no sense, the registry is bad, the pins cannot be read, or the kernel
/// refuses the run.
pub async fn explain(
    instance: &Instance,
    read: impl FnOnce() -> Result<Loaded, Rejected>,
    question: &Question,
) -> Result<Explanation, ExplainError> {
    question.check()?;
    let snapshot = host::snapshot().await?;
    // First, so that kernel and model are asked about the same generation.
    let mut copies = match question.live {
        true => copies(instance)?,
        false => None,
    };
    let policy = JudgedPolicy::find(instance, read, copies.as_ref()).await?;
    let tables = &policy.tables;
    let interface = named(&question.interface, &snapshot)?;
    let mut at_wire = describe(question, tables, instance, &snapshot, interface).await?;
    let mut answer = None;
    if question.live {
        let live = match &mut copies {
            Some(copies) => copies.run(instance, &snapshot, interface, &at_wire).await?,
            None => Live::NotRun("nothing is pinned".to_owned()),
        };
        at_wire = as_run(question, tables, at_wire, &live);
        let model = tables.judge(&at_wire);
        answer = Some(LiveAnswer { live, model });
    }
    let (packet, decision) = through_both_guards(tables, at_wire);
    let is_granted = decision.reason == Reason::Peer;
    let peer = tables.granting_peer(&packet).filter(|_| is_granted);
    let peer = peer.map(|peer| peer.name.clone());
    let registry = policy.registry.as_ref();
    let bridge = judged_bridge(tables, &snapshot, &packet, &decision);
    let table = registry
        .ok()
        .and_then(|registry| registry.interface_table(bridge?.names()));
    let lines = registry.map(|registry| {
        let peer = peer.as_deref();
        cite(registry, &packet, interface, &decision, peer, table)
    });
    let is_engines = registry.is_ok() && table.is_none();
    let service = tables.service_for(&packet);
    Ok(Explanation {
        packet,
        decision,
        service: service.map(str::to_owned),
        peer,
        lines: lines.map_err(Clone::clone),
        engines_bridge: bridge
            .filter(|_| is_engines)
            .map(|bridge| bridge.name.clone()),
        live: answer,
        passes_on: passes_on(tables, &packet, &decision),
        has_socket_guard: !instance.is_pinned()? || instance.has_socket_guard()?,
        hypothetical: policy.hypothetical,
    })
}

/// Returns the bridge of the container network that rule 4 is about.
fn judged_bridge<'a>(
    tables: &PolicyTables,
    snapshot: &'a HostSnapshot,
    packet: &PacketSpec,
    decision: &Decision,
) -> Option<&'a Interface> {
    let network = tables.network_of(packet);
    let network = network.filter(|_| decision.rule() == Some(4))?;
    snapshot.by_index(network.bridge)
}

fn named<'a>(name: &str, snapshot: &'a HostSnapshot) -> anyhow::Result<&'a Interface> {
    snapshot.by_name(name).with_context(|| {
        let names: Vec<&str> = snapshot.iter().map(|i| i.name.as_str()).collect();
        format!(
            "there is no interface {name} in this network namespace; there are: {}",
            names.join(", ")
        )
    })
}

impl Question {
    /// Refuses addresses of two families.
    fn check(&self) -> Result<(), ExplainError> {
        match self.destination {
            Some(destination) if destination.is_ipv4() != self.source.is_ipv4() => {
                Err(ExplainError::Question(anyhow!(
                    "{} and {destination} are of two families: no packet has both",
                    self.source
                )))
            }
            _ => Ok(()),
        }
    }
}

impl LiveAnswer {
    /// Whether the program ran and differed from the model.
    pub fn disagrees(&self) -> bool {
        match &self.live {
            Live::NotRun(_) => false,
            Live::Ran(run) => !run.agrees(&self.model),
        }
    }
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
    /// `null` where the registry's files have changed since the policy was put in force.
    r#where: Option<&'a [Citation]>,
    /// `null` without `--live`.
    live: Option<LiveJson<'a>>,
}

/// Without a run, every field but `why` is `null`.
#[derive(Default, Serialize)]
struct LiveJson<'a> {
    verdict: Option<&'static str>,
    reason: Option<&'static str>,
    agrees: Option<bool>,
    hook: Option<&'static str>,
    why: Option<&'a str>,
}

impl<'a> From<&'a LiveAnswer> for LiveJson<'a> {
    fn from(answer: &'a LiveAnswer) -> Self {
        match &answer.live {
            Live::NotRun(why) => Self {
                why: Some(why),
                ..Self::default()
            },
            Live::Ran(run) => Self {
                verdict: Some(run.verdict().name()),
                reason: run.reason().map(Reason::name),
                agrees: Some(!answer.disagrees()),
                hook: Some(run.hook.name()),
                why: None,
            },
        }
    }
}

impl Serialize for Explanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = Json {
            schema: 1,
            verdict: self.decision.verdict().name(),
            reason: self.decision.reason.name(),
            service: self.service.as_deref(),
            peer: self.peer.as_deref(),
            rule: self.decision.rule(),
            r#where: self.lines.as_deref().ok(),
            live: self.live.as_ref().map(LiveJson::from),
        };
        json.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use enforcer_ebpf::{Guard, Protocol};

    use super::*;

    fn explanation() -> Explanation {
        let source: IpAddr = "192.0.2.7".parse().unwrap();
        Explanation {
            packet: PacketSpec {
                guard: Guard::Wire,
                ifindex: 2,
                loopback: false,
                source: source.into(),
                destination: None,
                protocol: Protocol::Tcp,
                port: 6379,
                route: enforcer_ebpf::Route::Here,
                opens: true,
            },
            decision: Decision {
                reason: Reason::UntrustedInterface,
                rule: 10,
                audited: false,
                slot: 7,
            },
            service: Some("redis".to_owned()),
            peer: None,
            lines: Err("r.toml has changed".to_owned()),
            engines_bridge: None,
            live: None,
            hypothetical: None,
            has_socket_guard: true,
            passes_on: false,
        }
    }

    #[test]
    fn json_is_the_json_of_the_design() {
        let mut explanation = explanation();
        assert_eq!(
            serde_json::to_string(&explanation).unwrap(),
            r#"{"schema":1,"verdict":"drop","reason":"untrusted-interface","service":"redis","peer":null,"rule":10,"where":null,"live":null}"#
        );
        explanation.lines = Ok(Vec::new());
        explanation.live = Some(LiveAnswer {
            live: Live::NotRun("nothing is pinned".to_owned()),
            model: explanation.decision,
        });
        assert_eq!(
            serde_json::to_string(&explanation).unwrap(),
            r#"{"schema":1,"verdict":"drop","reason":"untrusted-interface","service":"redis","peer":null,"rule":10,"where":[],"live":{"verdict":null,"reason":null,"agrees":null,"hook":null,"why":"nothing is pinned"}}"#
        );
    }

    #[test]
    fn addresses_of_two_families_are_refused() {
        let mut question = Question {
            interface: "eth0".to_owned(),
            source: "192.0.2.7".parse().unwrap(),
            destination: None,
            protocol: Protocol::Tcp,
            port: 80,
            live: false,
        };
        assert!(question.check().is_ok());
        question.destination = Some("192.0.2.1".parse().unwrap());
        assert!(question.check().is_ok());
        question.destination = Some("::1".parse().unwrap());
        assert!(matches!(question.check(), Err(ExplainError::Question(_))));
    }
}
