//! Candidates from one registry and hosts of a few interfaces.

use std::collections::BTreeSet;

use enforcer_ebpf::layout::WIRE_VIEW;

use super::*;
use crate::{
    decisions::{fixtures, reconcile::unknown_macs},
    interfaces::{Interface, View, XdpAttached, XdpMode},
    registry::Identity,
    wireguard::AllowedIps,
};

/// linux/if_arp.h.
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_NONE: u16 = 0xfffe;

const ETH0: u32 = 2;
const VLAN5: u32 = 3;
const WG0: u32 = 4;

fn loaded(extra: &str) -> Loaded {
    let key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
    let text = format!(
        "[services.redis]\nports = [6379]\nallow = [\"laptop\", \"vlan\"]\n\
         [peers.laptop]\ninterface = \"wg0\"\npublic-key = \"{key}\"\n\
         [peers.vlan]\ninterface = \"eth0.5\"\naddresses = [\"192.0.2.0/24\"]\n{extra}"
    );
    fixtures::loaded(&text)
}

fn interface(index: u32, name: &str, kind: Option<&str>) -> Interface {
    Interface {
        index,
        name: name.to_owned(),
        kind: kind.map(str::to_owned),
        link_type: match kind {
            Some("wireguard") => ARPHRD_NONE,
            _ => ARPHRD_ETHER,
        },
        up: true,
        ..Interface::default()
    }
}

/// A NIC, its VLAN device, and a WireGuard device with the laptop's key.
fn host(change: impl Fn(&mut Interface)) -> HostSnapshot {
    let mut allowed = AllowedIps::default();
    let registry = loaded("").registry;
    let mut identities = registry.peers().iter().map(|peer| &peer.identity);
    let key = identities.find_map(|identity| match identity {
        Identity::Key(key) => Some(*key),
        Identity::Addresses(_) => None,
    });
    let key = key.expect("the laptop's key");
    allowed.insert(key);
    allowed.allow(key, "10.10.0.7/32".parse().unwrap()).unwrap();
    let lo = Interface {
        loopback: true,
        ..interface(1, "lo", None)
    };
    let vlan = Interface {
        parent: Some(ETH0),
        ..interface(VLAN5, "eth0.5", Some("vlan"))
    };
    let found = [
        (lo, Answer::NotWireGuard),
        (interface(ETH0, "eth0", None), Answer::NotWireGuard),
        (vlan, Answer::NotWireGuard),
        (
            interface(WG0, "wg0", Some("wireguard")),
            Answer::Device(allowed),
        ),
    ];
    let changed = found.into_iter().map(|(mut interface, answer)| {
        change(&mut interface);
        (interface, answer)
    });
    HostSnapshot::of(changed.collect())
}

fn attached(guards: &[(u32, Hook)]) -> AttachedGuards {
    AttachedGuards {
        guards: guards.iter().copied().collect(),
        ..AttachedGuards::default()
    }
}

fn hooks(guards: &[(u32, Hook)]) -> BTreeMap<u32, Hook> {
    guards.iter().copied().collect()
}

fn indexes(guards: &[WireGuard]) -> Vec<u32> {
    guards.iter().map(|guard| guard.ifindex).collect()
}

#[test]
fn a_new_guard_gets_the_first_hook_and_an_attached_guard_stays_on_a_hook_of_the_plan() {
    let loaded = loaded("[interfaces.\"eth0.5\"]\nside = \"inside\"\n");
    let snapshot = host(|interface| interface.parent = None);
    let recipe = Recipe {
        loaded: &loaded,
        snapshot: &snapshot,
        flags: EVERY_GUARD,
    };
    let compile = |guards: &[(u32, Hook)]| {
        let candidate = Candidate::compile(&recipe, &attached(guards), &Slots::new());
        candidate.unwrap().hooks
    };
    let native = (ETH0, Hook::XdpNative);
    let generic = (ETH0, Hook::XdpGeneric);
    let wg0 = (WG0, Hook::XdpGeneric);
    assert_eq!(compile(&[]), hooks(&[native, wg0]));
    assert_eq!(compile(&[generic]), hooks(&[generic, wg0]), "it stays");
    assert_eq!(
        compile(&[(ETH0, Hook::Tcx)]),
        hooks(&[native, wg0]),
        "this kernel has no tcx"
    );
    assert_eq!(
        compile(&[(9, Hook::Tcx)]),
        hooks(&[native, wg0]),
        "no such interface"
    );
}

#[test]
fn the_tables_have_the_registry_and_the_slots_in_use() {
    let loaded = loaded("");
    let snapshot = host(|_| {});
    let recipe = Recipe {
        loaded: &loaded,
        snapshot: &snapshot,
        flags: EVERY_GUARD,
    };
    let redis = (enforcer_ebpf::Protocol::Tcp, 6379);
    let slots = Slots::from([((redis.0, redis.1, None), 77)]);
    let candidate = Candidate::compile(&recipe, &AttachedGuards::default(), &slots).unwrap();
    assert_eq!(candidate.tables.provenance, loaded.provenance);
    assert_eq!(candidate.tables.ports[&redis].slot, 77);
    // The loopback interface needs no policy; the laptop's key has its AllowedIPs.
    let laptop: Vec<u32> = candidate
        .tables
        .prefixes
        .keys()
        .map(|(ifindex, ..)| *ifindex)
        .collect();
    assert!(
        laptop.contains(&WG0) && laptop.contains(&VLAN5),
        "{laptop:?}"
    );
    assert!(!candidate.tables.interfaces.contains_key(&1));
}

#[test]
fn without_wire_guards_no_guard_is_planned() {
    let loaded = loaded("");
    let snapshot = host(|_| {});
    let plan = |flags| {
        let recipe = Recipe {
            loaded: &loaded,
            snapshot: &snapshot,
            flags,
        };
        recipe.guard_plan(&AttachedGuards::default())
    };
    assert_eq!(plan(State::WANT_SOCKET), GuardPlan::default());
    assert_eq!(plan(0), GuardPlan::default());
    let every = plan(EVERY_GUARD);
    assert_eq!(indexes(&every.wanted.guards), [ETH0, WG0, VLAN5]);
    assert_eq!(every, plan(State::WANT_WIRE));
    assert_ne!(EVERY_GUARD & State::WANT_SOCKET, 0);
}

#[test]
fn an_interface_that_is_down_is_tolerated_and_not_wanted() {
    let loaded = loaded("");
    let snapshot = host(|interface| interface.up = interface.index != ETH0);
    let options = |interface: &Interface| InterfaceOptions::of(&loaded.registry, interface);
    let plan = guard_plan(&snapshot, EVERY_GUARD, options, &AttachedGuards::default());
    assert_eq!(indexes(&plan.wanted.guards), [WG0, VLAN5]);
    assert_eq!(indexes(&plan.tolerated.guards), [ETH0, WG0, VLAN5]);
}

#[test]
fn a_program_of_enforcers_own_keeps_no_hook_from_its_interface() {
    let loaded = loaded("");
    let snapshot = host(|interface| {
        interface.xdp = (interface.index == WG0).then_some(XdpAttached {
            prog_id: Some(7),
            mode: XdpMode::Generic,
        });
    });
    let options = |interface: &Interface| InterfaceOptions::of(&loaded.registry, interface);
    let plan = |own: &[u32]| {
        let attached = AttachedGuards {
            programs: own.iter().copied().collect::<BTreeSet<_>>(),
            ..AttachedGuards::default()
        };
        guard_plan(&snapshot, EVERY_GUARD, options, &attached)
    };
    assert_eq!(indexes(&plan(&[]).wanted.guards), [ETH0, VLAN5]);
    let own = plan(&[7]);
    assert_eq!(indexes(&own.wanted.guards), [ETH0, WG0, VLAN5]);
    assert_eq!(indexes(&own.tolerated.guards), [ETH0, WG0, VLAN5]);
}

#[test]
fn an_xdp_guard_of_a_vlan_parent_judges_as_its_vlan_devices_do() {
    let loaded = loaded("");
    let snapshot = host(|_| {});
    let recipe = Recipe {
        loaded: &loaded,
        snapshot: &snapshot,
        flags: EVERY_GUARD,
    };
    let plan = recipe.guard_plan(&AttachedGuards::default()).wanted;
    let view = |guards: &[(u32, Hook)]| {
        let candidate = Candidate::compile_for(&recipe, &plan, hooks(guards), &Slots::new());
        let tables = candidate.unwrap().tables;
        tables.interfaces.get(&(ETH0 | WIRE_VIEW)).cloned()
    };
    for xdp in [Hook::XdpNative, Hook::XdpGeneric] {
        let view = view(&[(ETH0, xdp)]).expect("it sees no tag");
        assert!(view.hairpin, "{xdp}: VLAN 5 may leave by eth0");
    }
    assert_eq!(view(&[(ETH0, Hook::Tcx)]), None, "tcx sees the tag");
    assert_eq!(view(&[]), None, "no guard, no view");
}

#[test]
fn a_bridge_with_unknown_macs_judges_every_packet() {
    let outside = "[interfaces.\"eth0*\"]\nside = \"outside\"\n";
    let loaded = loaded(outside);
    let judges_all = |macs_unknown: bool| {
        let snapshot = host(|interface| {
            if interface.index == ETH0 {
                interface.kind = Some("bridge".to_owned());
                interface.macs_unknown = macs_unknown;
            }
        });
        let recipe = Recipe {
            loaded: &loaded,
            snapshot: &snapshot,
            flags: EVERY_GUARD,
        };
        let plan = recipe.guard_plan(&AttachedGuards::default()).wanted;
        let about: Vec<_> = unknown_macs(&plan)
            .filter_map(|note| note.interface)
            .collect();
        let candidate = Candidate::compile(&recipe, &AttachedGuards::default(), &Slots::new());
        let rows = candidate.unwrap().tables.interfaces;
        (
            [ETH0, VLAN5, WG0].map(|index| rows[&index].judges_all),
            about,
        )
    };
    assert_eq!(judges_all(false), ([false; 3], Vec::new()));
    let both = ["eth0", "eth0.5"].map(str::to_owned).to_vec();
    assert_eq!(judges_all(true), ([true, true, false], both));
}

#[test]
fn a_member_judges_as_its_master_under_every_hook() {
    let guard = |masters: &[u32]| WireGuard {
        vlan_children: vec![9],
        view: View {
            masters: masters.to_vec(),
            ..View::default()
        },
        ..WireGuard::alone(8, "eth8".to_owned(), vec![Hook::Tcx])
    };
    for hook in [None, Some(Hook::Tcx), Some(Hook::XdpNative)] {
        assert_eq!(guard(&[7]).merged(hook), [7, 9]);
        // A bond's member under a bridge.
        assert_eq!(guard(&[7, 6]).merged(hook), [7, 6, 9]);
    }
    assert_eq!(guard(&[]).merged(Some(Hook::XdpGeneric)), [9]);
    assert_eq!(guard(&[]).merged(Some(Hook::Tcx)), [0; 0]);
    assert_eq!(guard(&[]).merged(None), [0; 0]);
    // Under tcx a member's view has the peers of VLAN devices, and their tags show.
    let hides = |hook| guard(&[7]).hides_vlans(hook);
    assert!(hides(Some(Hook::XdpNative)) && hides(Some(Hook::XdpGeneric)));
    assert!(!hides(Some(Hook::Tcx)) && !hides(None));
}
