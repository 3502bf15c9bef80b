//! `status`.

mod findings;

use findings::finding;

use super::{
    Globals, Outcome, confirm,
    output::{self, BOLD, GREEN, PLAIN, RED, YELLOW, count, table},
    wrap::{Width, wrap},
};
use crate::{
    control::Instance,
    inspect::{
        self, BypassRow, Condition, Finding, GuardRow, NetworkView, PeerStatus, Status,
        UnregisteredView, toml_key,
    },
    printable::{self, name},
};

/// Shows the state as a whole, the guards, the peers and every gap.
pub(crate) async fn status(globals: &Globals, instance: &Instance) -> Outcome {
    confirm::settle(instance).await;
    let status = inspect::status(instance).await?;
    print(globals, &status)?;
    Ok(status.exit_code())
}

/// Prints a status, for people or for scripts.
///
/// # Errors
/// Standard output fails.
pub(crate) fn print(globals: &Globals, status: &Status) -> output::Printed {
    output::lossy(match globals.json {
        true => output::print_json(status),
        false => output::print(&human(status, output::width())),
    })
}

/// Returns a status in words.
pub(super) fn human(status: &Status, width: Width) -> String {
    if status.state == Condition::Off {
        let text = match status.findings.contains(&Finding::NamespaceGone) {
            true => {
                "these pins guarded a network namespace that is gone: `enforcer up` guards this one"
            }
            false => "nothing is pinned, registered ports are as open as their sockets",
        };
        return wrap(&format!("{RED}off{PLAIN}: {text}"), width, 2);
    }
    let mut text = wrap(&summary(status), width, 2);
    for line in remarks(status) {
        let line = wrap(&format!("  {YELLOW}!{PLAIN} {line}"), width, 2);
        text.push('\n');
        text.push_str(&line);
    }
    text += "\n\n";
    text += &guards(&status.guards);
    if !status.peers.is_empty() {
        text += "\n\n";
        text += &peers(&status.peers);
    }
    if !status.container_networks.is_empty() {
        text += "\n\n";
        text += &networks(&status.container_networks);
    }
    if !status.unregistered.is_none() {
        text += "\n\n";
        text += &unregistered(status.unregistered);
    }
    if !status.bypassed.is_empty() {
        text += "\n\n";
        text += &bypassed(&status.bypassed, width);
    }
    text
}

fn summary(status: &Status) -> String {
    let (style, word) = match status.state {
        Condition::Enforcing => (GREEN, "enforcing"),
        Condition::Audit => (YELLOW, "audit"),
        Condition::Degraded => (YELLOW, "degraded"),
        Condition::Off => (RED, "off"),
    };
    let audit = match status.state {
        Condition::Audit => "; drops are counted, and everything passes",
        _ => "",
    };
    format!(
        "{style}{word}{PLAIN}: generation {}, {}, {}{audit}",
        status.generation,
        count(status.services, "service"),
        count(status.registered_ports, "registered port"),
    )
}

/// Returns the facts that an operator should act on.
fn remarks(status: &Status) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(pending) = status.confirm {
        remarks.push(format!(
            "awaiting confirmation: the policy is rolled back in {} s, unless `enforcer confirm` \
             follows",
            pending.seconds_left
        ));
    }
    if status.rolled_back {
        remarks.push(
            "the last pending policy was not confirmed and was rolled back; the registry's files \
             are as they were edited"
                .to_owned(),
        );
    }
    remarks.extend(status.findings.iter().map(finding));
    let warnings = status.warnings.iter();
    remarks.extend(warnings.map(|it| printable::text(&format!("{}; {}", it.text(), it.help()))));
    remarks.extend(status.promiscuous.iter().map(|it| promiscuous(it)));
    remarks
}

fn promiscuous(interface: &str) -> String {
    format!(
        "{0} is promiscuous: normal for a packet capture; if the cause is a macvlan passthru \
         device in another namespace, the guard judges that namespace's packets, and `side = \
         \"inside\"` under `[interfaces.{1}]` takes the guard off",
        name(interface),
        name(&toml_key(interface))
    )
}

fn guards(guards: &[GuardRow]) -> String {
    let dash = || "-".to_owned();
    let interface = |guard: &GuardRow| guard.interface.as_deref().map(|it| name(it).into_owned());
    let rows = guards.iter().map(|guard| {
        vec![
            guard.guard.to_owned(),
            guard.hook.to_owned(),
            interface(guard).unwrap_or_else(dash),
            guard.ifindex.map_or_else(dash, |index| index.to_string()),
            guard.peers.to_string(),
        ]
    });
    table(
        &["guard", "hook", "interface", "ifindex", "peers"],
        &[3, 4],
        rows.collect(),
    )
}

fn peers(peers: &[PeerStatus]) -> String {
    let rows = peers.iter().map(|peer| {
        let state = match &peer.why {
            None => "active".to_owned(),
            Some(why) => format!("waiting: {}", printable::text(why)),
        };
        vec![name(&peer.name).into_owned(), state]
    });
    table(&["peer", "state"], &[], rows.collect())
}

fn networks(networks: &[NetworkView]) -> String {
    let rows = networks.iter().map(|network| {
        let mode = match network.routed {
            true => "routed, not judged",
            false => network.mode,
        };
        let interface = name(&network.interface).into_owned();
        vec![interface, network.prefix.clone(), mode.to_owned()]
    });
    table(
        &["container network", "prefix", "mode"],
        &[],
        rows.collect(),
    )
}

fn unregistered(actions: UnregisteredView) -> String {
    let rows = [
        ("tcp", actions.tcp),
        ("udp", actions.udp),
        ("sctp", actions.sctp),
    ];
    let rows = rows.map(|(protocol, action)| vec![protocol.to_owned(), action.to_owned()]);
    table(&["unregistered ports", "action"], &[], rows.to_vec())
}

fn bypassed(rows: &[BypassRow], width: Width) -> String {
    let title = format!(
        "{BOLD}Dropped at a socket, past a wire guard{PLAIN} (later fragments, a REDIRECT rule, \
         decapsulated packets, or a reload at that moment):"
    );
    let rows = rows
        .iter()
        .map(|row| vec![name(&row.interface).into_owned(), row.packets.to_string()]);
    let rows = table(&["interface", "packets"], &[1], rows.collect());
    format!("{}\n{rows}", wrap(&title, width, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        commands::snapshots::assert_snapshot,
        inspect::{NetworkWarning, PeerState, PendingView, UncoveredRow},
    };

    fn enforcing() -> Status {
        let wire = |interface: &str, hook, ifindex, peers| GuardRow {
            guard: "wire",
            hook,
            interface: Some(interface.to_owned()),
            ifindex: Some(ifindex),
            peers,
        };
        let socket = GuardRow {
            guard: "socket",
            hook: "cgroup_skb",
            interface: None,
            ifindex: None,
            peers: 1,
        };
        Status {
            schema: 1,
            state: Condition::Enforcing,
            generation: 12,
            services: 3,
            registered_ports: 5,
            guards: vec![
                wire("eth0", "xdp-native", 2, 0),
                wire("wg0", "tcx", 14, 1),
                socket,
            ],
            uncovered: Vec::new(),
            peers: vec![PeerStatus {
                name: "office".to_owned(),
                state: PeerState::Active,
                why: None,
            }],
            bypassed: Vec::new(),
            container_networks: Vec::new(),
            unregistered: UnregisteredView::NONE,
            confirm: None,
            rolled_back: false,
            findings: Vec::new(),
            warnings: Vec::new(),
            promiscuous: Vec::new(),
        }
    }

    fn assert_status(name: &str, status: &Status) {
        assert_snapshot(name, |width| human(status, width));
    }

    #[test]
    fn whole_states() {
        let enforcing = enforcing();
        assert_status("status-enforcing", &enforcing);
        let audit = Status {
            state: Condition::Audit,
            services: 1,
            registered_ports: 1,
            peers: Vec::new(),
            ..enforcing.clone()
        };
        assert_status("status-audit", &audit);
        let off = Status {
            state: Condition::Off,
            ..enforcing
        };
        assert_status("status-off", &off);
        let gone = Status {
            findings: vec![Finding::NamespaceGone],
            ..off
        };
        assert_status("status-off-gone", &gone);
    }

    #[test]
    fn pending_and_rolled_back() {
        let pending = Status {
            confirm: Some(PendingView { seconds_left: 42 }),
            ..enforcing()
        };
        assert_status("status-pending", &pending);
        let rolled_back = Status {
            rolled_back: true,
            ..enforcing()
        };
        assert_status("status-rolled-back", &rolled_back);
    }

    #[test]
    fn waiting_peers_and_bypasses() {
        let mut status = enforcing();
        let waiting = |name: &str, why: &str| PeerStatus {
            name: name.to_owned(),
            state: PeerState::Waiting,
            why: Some(why.to_owned()),
        };
        status.peers.extend([
            waiting("laptop", "wg0 has no peer with its key"),
            waiting("backup", "there is no interface tun\u{1b}0"),
        ]);
        status.bypassed = vec![BypassRow {
            interface: "eth0".to_owned(),
            packets: 17,
        }];
        assert_status("status-waiting-bypassed", &status);
    }

    #[test]
    fn container_networks_with_warnings() {
        let network = |interface: &str, prefix: &str, routed| NetworkView {
            interface: interface.to_owned(),
            prefix: prefix.to_owned(),
            mode: "enforce",
            routed,
        };
        let evil = "evil\u{1b}[2J";
        let status = Status {
            container_networks: vec![
                network("podman1", "2001:db8:1::/64", false),
                network(evil, "10.89.0.0/24", false),
                network("podman2", "10.89.1.0/24", true),
            ],
            warnings: vec![
                NetworkWarning::GlobalUnicast {
                    bridge: "podman1".to_owned(),
                    prefixes: vec!["2001:db8:1::/64".parse().unwrap()],
                },
                NetworkWarning::PeersCutOff {
                    bridges: vec![evil.to_owned(), "podman1".to_owned()],
                    peers: vec!["office".to_owned()],
                },
            ],
            promiscuous: vec!["eth0".to_owned()],
            ..enforcing()
        };
        assert_status("status-networks", &status);
    }

    /// Every finding, with an interface name that would clear the screen.
    #[test]
    fn degraded_by_everything() {
        let row = |interface: &str, why: &str| UncoveredRow {
            interface: interface.to_owned(),
            why: why.to_owned(),
        };
        let up =
            "it has come up since, lost its guard, or refused the guard: run `enforcer reload`";
        let none = "its packets have no link layer of a known kind";
        let (evil, eth0) = ("evil\u{1b}[2J".to_owned(), "eth0".to_owned());
        let status = Status {
            state: Condition::Degraded,
            uncovered: vec![row("eth1", up), row(&evil, none)],
            findings: vec![
                Finding::NoWireGuard(row("eth1", up)),
                Finding::NoWireGuard(row(&evil, none)),
                Finding::WireNotWanted,
                Finding::SocketNotWanted,
                Finding::NoSocketGuard,
                Finding::Fallback,
                Finding::Behind(eth0.clone()),
                Finding::KeysChanged("wg0".to_owned()),
                Finding::GrantAstray {
                    peer: "office".to_owned(),
                    registered: eth0.clone(),
                    actual: evil,
                },
                Finding::MacChanged(eth0),
                Finding::AddressesChanged,
                Finding::Interrupted,
                Finding::MissingMap("EVENTS"),
                Finding::NoCgroup("no cgroup2 is mounted".to_owned()),
                Finding::SocketBelowRoot,
                Finding::ParentWritable("/sys/fs/bpf may be written".to_owned()),
                Finding::Strays(vec![
                    "the socket guard (link 7)".to_owned(),
                    "a wire guard on ifindex 2 (link 8)".to_owned(),
                ]),
                Finding::NamespaceGone,
            ],
            ..enforcing()
        };
        assert_status("status-degraded", &status);
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_remark() {
        let status = Status {
            state: Condition::Degraded,
            findings: vec![Finding::Interrupted],
            ..enforcing()
        };
        let human = human(&status, None);
        let remark = human.lines().nth(1).unwrap();
        assert!(remark.ends_with("run `enforcer up`, or `down`"), "{remark}");
    }
}
