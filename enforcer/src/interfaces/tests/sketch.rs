//! Hosts, registries and plans as lines of text.

use std::fmt::Write as _;
use std::io::Write as _;

use enforcer_ebpf::Link;

use super::super::facts::{Host, Interface, MacvlanMode, XdpAttached, XdpMode};
use super::super::guard::{Hook, WireGuard};
use super::super::plan::{InterfaceOptions, Plan, plan};
use crate::registry::{self, Registry, Source};

/// Checks every line of a table and shows all mismatches. A line is
/// `interfaces | options | host | plan`; cells but the first may be empty; `#` begins a comment.
#[track_caller]
pub(super) fn check(table: &str) {
    let mut wrong = String::new();
    let lines = table.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let &[interfaces, options, host, expected] = cells.as_slice() else {
            panic!("not four cells: {line}");
        };
        let got = render(&planned(interfaces, options, host), interfaces);
        if got != expected {
            write!(wrong, "\n{line}\n  got: {got}\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

pub(super) fn planned(line: &str, options: &str, on: &str) -> Plan {
    let registry = registry(options);
    plan(
        &interfaces(line),
        |interface| InterfaceOptions::of(&registry, interface),
        &host(on),
    )
}

/// Parses the facts about a host: `tcx`, `nf` for bridge-nf-call, `tags` for
/// bridge-nf-filter-vlan-tagged, `own=7` for an own program.
fn host(words: &str) -> Host {
    let mut host = Host::default();
    for word in words.split_whitespace() {
        match word.split_once('=') {
            None if word == "tcx" => host.tcx = true,
            None if word == "nf" => host.bridge_nf_call = true,
            None if word == "tags" => host.bridge_filter_vlan_tagged = true,
            Some(("own", id)) => {
                host.own_programs.insert(id.parse().unwrap());
            }
            _ => panic!("{word:?}"),
        }
    }
    host
}

/// Makes a registry from options such as `eth*.hook=tcx lan.side=inside`.
fn registry(options: &str) -> Registry {
    let mut text = String::from("[services.s]\nports = [9200]\n");
    for option in options.split_whitespace() {
        let (pattern, setting) = option.rsplit_once('.').unwrap();
        let (key, value) = setting.split_once('=').unwrap();
        let quote = if key == "forward" { "" } else { "\"" };
        writeln!(
            text,
            "[interfaces.\"{pattern}\"]\n{key} = {quote}{value}{quote}"
        )
        .unwrap();
    }
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    registry::load(&Source::Named(file.path().into()), &registry::Reader::NAMED)
        .unwrap_or_else(|rejected| panic!("{rejected}"))
        .registry
}

/// Parses interfaces, each `name[:kind][#type][@parent][>master][=flag,…]`, with ifindexes by
/// position, from 1. Flags: `down`, `p2p`, `macs`, `tagged`, `device`, `pi`, `nf` for a bridge's own
/// option, `passthru` and `source` for a macvlan mode, `alt-…` for an alternative name, `xdp7` for the
/// program with id 7, `xdp` for several programs.
fn interfaces(line: &str) -> Vec<Interface> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let name = |word: &str| {
        word.split([':', '#', '@', '>', '='])
            .next()
            .unwrap()
            .to_owned()
    };
    let names: Vec<String> = words.iter().map(|word| name(word)).collect();
    let index = |name: &str| {
        let position = names.iter().position(|it| it == name);
        u32::try_from(position.unwrap_or_else(|| panic!("no {name} in {line}")) + 1).unwrap()
    };
    words
        .iter()
        .map(|word| {
            let part = |mark: char| {
                let (_, rest) = word.split_once(mark)?;
                rest.split([':', '#', '@', '>', '=']).next()
            };
            let loopback = name(word) == "lo";
            let mut interface = Interface {
                index: index(&name(word)),
                name: name(word),
                kind: part(':').map(str::to_owned),
                link_type: match part('#') {
                    Some(number) => number.parse().unwrap(),
                    None if loopback => 772,
                    None => 1,
                },
                up: true,
                loopback,
                parent: part('@').map(index),
                master: part('>').map(index),
                ..Interface::default()
            };
            for flag in part('=').into_iter().flat_map(|flags| flags.split(',')) {
                set(&mut interface, flag);
            }
            interface
        })
        .collect()
}

fn set(interface: &mut Interface, flag: &str) {
    match flag {
        "down" => interface.up = false,
        "p2p" => interface.point_to_point = true,
        "macs" => interface.other_macs = true,
        "tagged" => interface.keeps_tag = true,
        "device" => interface.has_device = true,
        "pi" => interface.packet_info = true,
        "nf" => interface.nf_call = true,
        "passthru" => interface.macvlan_mode = Some(MacvlanMode::Passthru),
        "source" => interface.macvlan_mode = Some(MacvlanMode::Source),
        _ if flag.starts_with("alt-") => interface.alternative_names.push(flag.to_owned()),
        _ => {
            interface.xdp = Some(XdpAttached {
                prog_id: flag.strip_prefix("xdp").unwrap().parse().ok(),
                mode: XdpMode::Native,
            });
        }
    }
}

fn short(hook: Hook) -> &'static str {
    let name = hook.name();
    name.strip_prefix("xdp-").unwrap_or(name)
}

/// Renders a plan: `name/link hook,hook` and any other properties for a guard, `name?` for an
/// uncovered interface. `master` is the guarded master; `view` has the masters where there are
/// others, and Open vSwitch's ports; `switched` frames for other MACs are not the host's.
fn render(plan: &Plan, line: &str) -> String {
    let all = interfaces(line);
    let name = |index: u32| {
        let found = all.iter().find(|interface| interface.index == index);
        found.unwrap().name.as_str()
    };
    let all_guards = plan.guards.iter().map(|guard| (guard, ""));
    let all_guards = all_guards.chain(plan.early.iter().map(|guard| (guard, " early")));
    let guards = all_guards.map(|(guard, early)| {
        assert_eq!(guard.name, name(guard.ifindex));
        render_guard(guard, name) + early
    });
    let uncovered = plan.uncovered.iter().map(|it| {
        assert_eq!(it.name, name(it.index));
        format!("{}?", it.name)
    });
    guards.chain(uncovered).collect::<Vec<_>>().join("; ")
}

fn render_guard<'n>(guard: &WireGuard, name: impl Fn(u32) -> &'n str) -> String {
    let names = |all: &[u32]| all.iter().map(|it| name(*it)).collect::<Vec<_>>().join(",");
    let link = match guard.link {
        Link::Ethernet => "eth",
        Link::Ip => "ip",
    };
    let hooks: Vec<_> = guard.hooks.iter().map(|hook| short(*hook)).collect();
    let mut text = format!("{}/{link} {}", guard.name, hooks.join(","));
    if !guard.vlan_children.is_empty() {
        write!(text, " vlans={}", names(&guard.vlan_children)).unwrap();
    }
    if let Some(master) = guard.master {
        write!(text, " master={}", name(master)).unwrap();
    }
    let masters: Vec<u32> = guard.master.into_iter().collect();
    let view = &guard.view;
    if view.is_member() && (view.masters != masters || !view.ports.is_empty()) {
        let above = [&view.masters[..], &view.ports].concat();
        write!(text, " view={}", names(&above)).unwrap();
    }
    for (is_set, word) in [
        (guard.has_macvlan_children && !view.is_member(), " macvlans"),
        (guard.has_macvlan_children && view.is_member(), " switched"),
        (view.looks_through_tags, " tags"),
        (guard.sender_chooses_protocol, " chosen"),
    ] {
        text += if is_set { word } else { "" };
    }
    text
}
