//! Which trials a guest runs: those whose outcome is its kernel's doing.
//!
//! A guest without hardware virtualisation is ten times slower than its host, and there are
//! several of them, so every trial there has to earn its seconds. Two things need no second
//! kernel: what the command line says, and how the guards' one object reads a header, which is
//! the same code under every verifier and is tried frame by frame on the host. Of the variants
//! that differ in such bytes alone, the telling ones stand for the rest. Every row of the attack
//! table keeps its trials, each guard alone, in one lab for the two. So does every attack that
//! needs a feature of the kernel: where the host lacks it, guests are all that try it.

use std::str::FromStr;

/// Left out, by the beginning of the name, with the reason in the comment above.
const NOT_FOR_GUESTS: &[&str] = &[
    // The command line's texts, codes and files.
    "check::",
    "cli::",
    "confirm::",
    "counters::",
    "events::go_on_with_the_next",
    "events::of_a_flood",
    "events::one_reads_alone",
    "events::say_when",
    "events::tell_what_audit",
    "events::two_follow",
    "explain::",
    "force::",
    "human_output::",
    "refuses::",
    "reload::",
    "up::",
    "adversary::down_removes_nothing_but_pins",
    "adversary::the_pins_of_another_namespace_are_not_cleared_away",
    "adversary::a_closed_pipe_does_not_change_the_exit_code",
    "goes_on::the_admins_reserved_ports",
    "goes_on::2000_connections_of_the_host",
    "run::exits_0_when_down_comes",
    "run::is_ready_only_when_the_guards_hold",
    "run::keeps_what_is_pinned_under_a_bad_registry",
    "run::falls_back_at_boot_under_a_bad_registry",
    "keys::up_wants_static_peers",
    "keys::a_name_is_no_wireguard_device",
    // Long, or the loader's own doing: files, the clock, its memory.
    "live::a_day_",
    "live::a_silent_",
    "live::a_thousand_",
    "live::edits::",
    "live::ends_at_once_",
    "live::masters::a_bridge_that_",
    "live::looks_once_",
    "live::a_socket_guard_that_",
    "live::mixed_generations",
    "live::programs_are_ready_",
    "live::no_window_",
    "live::sleeps_",
    "live::the_window_",
    // Guests have the kernel's WireGuard: rows 5, 14 and 21 run through it.
    "keys::userspace::",
    "live::keys_move::userspace",
    "live::no_command_refuses_a_key::userspace",
    "row_21_a_hole_in_a_granted_prefix::userspace::",
    "row_05_weak_host_model::",
    "row_14_peers::an_allowed_",
    "row_14_peers::an_unknown_",
    "row_11_ipv4_fragments::udp",
    "row_11_ipv6_fragments::udp",
    "goes_on::an_allowed_peer::dual_stack_listener",
    "goes_on::an_allowed_peer::ipv4",
    "goes_on::an_allowed_peer::ipv6",
    "goes_on::an_allowed_peer::udp",
    // The same parse, or the same path through the stack, as that of a variant that is kept.
    "goes_on::a_container_to_itself_on_the_same_port",
    "goes_on::a_local_client_of_a_dnated_public_port",
    "goes_on::loopback::ipv6",
    "goes_on::loopback::udp",
    "goes_on::public::traefik_over_ipv6",
    "goes_on::row_17_another_namespace::tcp_and_wg0",
    "goes_on::the_host_to_a_container_on_the_same_port",
    "goes_on::the_host_to_its_own_lan_address::mptcp",
    "goes_on::the_same_number_in_another_protocol",
    "row_01_route_localnet::udp",
    "row_06_accidental_publish::on_[::]",
    "row_08_ipv6::a_v4_mapped_source_through_eth0",
    "row_08_ipv6::dual_stack_udp_over_ipv4",
    "row_08_ipv6::v4_mapped_loopback_on_the_wire",
    "row_08_ipv6::v6_only_listener",
    "row_11_ipv4_fragments::backwards",
    "row_11_ipv4_options::one_word_of_no_operation",
    "row_11_ipv4_options::record_route",
    "row_11_ipv4_options::router_alert",
    "row_11_ipv6_chains::all_kinds",
    "row_11_ipv6_chains::hop_by_hop",
    "row_11_ipv6_chains::sixty",
    "row_11_ipv6_chains::udp",
    "row_11_ipv6_fragments::atomic",
    "row_11_ipv6_fragments::behind_h",
    "row_11_ipv6_fragments::tiny_tcp",
    "row_11_overlapping_fragments::ipv4",
    "row_11_qinq::a_real_id_behind_a_priority_tag",
    "row_11_qinq::real_ids",
    "row_15_sctp::an_init_without_a_listener",
    "row_16_in_company::native_xdp_that_passes",
    "row_19_priority_tags::five_802.1ad",
    "row_19_priority_tags::four_802.1q",
    "row_19_priority_tags::one_",
    "row_19_priority_tags::sixty",
    "row_19_priority_tags::two_mixed",
    "row_22_datagrams::subnet_broadcast",
    // A hook that the kernel has shows every packet as that hook does elsewhere.
    "hook::xdp-generic::row_",
    "hook::xdp-native::row_01",
    "hook::xdp-native::row_06",
    "hook::xdp-native::row_11",
    "hook::xdp-native::row_19_priority_tags::five",
    "hook::xdp-native::row_19_priority_tags::one",
    "hook::xdp-native::row_22",
    // Both guards are up in the one that is kept.
    "row_12_reload_and_crash_under_a_syn_flood::wire",
    "row_12_reload_and_crash_under_a_syn_flood::socket",
];

/// These take minutes in a guest, and so begin first.
const LONG: &[&str] = &["kills::", "row_12_"];

/// Where a trial stands in a guest's run.
pub(super) fn order(name: &str) -> usize {
    usize::from(!LONG.iter().any(|with| name.starts_with(with)))
}

/// Whether a guest runs the trial, or the attack, of this name.
pub(super) fn is_for_guests(name: &str) -> bool {
    !NOT_FOR_GUESTS.iter().any(|with| name.starts_with(with))
}

/// Some of the trials: those of one guest, where several share a kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which part, from 0.
    number: usize,
    /// Into how many they are dealt out.
    parts: usize,
}

impl Part {
    /// What belongs to it: as much as to any other, of what takes long too, as that comes first.
    pub fn of<T>(self, all: Vec<T>) -> Vec<T> {
        let own = all.into_iter().skip(self.number).step_by(self.parts);
        own.collect()
    }
}

impl FromStr for Part {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse::<usize>().ok();
        let numbers = text
            .split_once('/')
            .and_then(|(part, parts)| Some((number(part)?, number(parts)?)));
        match numbers {
            Some((part, parts)) if 0 < part && part <= parts => Ok(Self {
                number: part - 1,
                parts,
            }),
            _ => Err("expected a part and the number of parts, such as 1/2"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use libtest_mimic::Trial;

    use super::*;
    use crate::lab::Feature;
    use crate::scenarios::{attacks, guest_trials, trials};

    fn names(trials: &[Trial]) -> Vec<String> {
        let names = trials.iter().map(|trial| trial.name().to_owned());
        names.collect()
    }

    #[test]
    fn parts_are_even_and_leave_nothing_out() {
        let part = |text: &str| text.parse::<Part>().unwrap().of((0..7).collect());
        assert_eq!(part("1/1"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(part("1/3"), [0, 3, 6]);
        assert_eq!(part("2/3"), [1, 4]);
        assert_eq!(part("3/3"), [2, 5]);
        for wrong in ["", "1", "0/2", "3/2", "1/0", "a/2", "1/2/3"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_line_of_the_list_leaves_something_out() {
        let names = names(&trials(Path::new("/nowhere")));
        for line in NOT_FOR_GUESTS {
            assert!(names.iter().any(|name| name.starts_with(line)), "{line}");
        }
    }

    #[test]
    fn every_row_keeps_its_trials() {
        let rows = |trials: Vec<Trial>| -> BTreeSet<String> {
            let row = |name: &String| {
                // Audit mode holds nothing, so its trials do not stand for a row.
                let from = name.find("row_").filter(|_| !name.starts_with("audit::"))?;
                name.get(from..)?.get(..6).map(str::to_owned)
            };
            names(&trials).iter().filter_map(row).collect()
        };
        let nowhere = Path::new("/nowhere");
        assert_eq!(rows(trials(nowhere)), rows(guest_trials(nowhere)));
    }

    #[test]
    fn what_the_host_may_lack_is_tried_in_guests() {
        for attack in attacks::all() {
            let is_tried = attack.needs.is_empty() || is_for_guests(attack.name);
            assert!(is_tried, "{} needs {:?}", attack.name, attack.needs);
        }
        let tried = names(&guest_trials(Path::new("/nowhere")));
        for feature in Feature::ALL {
            let is_audited = attacks::all().iter().any(|attack| {
                let name = format!("audit::{}", attack.name);
                attack.needs.contains(&feature) && tried.contains(&name)
            });
            assert!(is_audited, "audit mode with {}", feature.name());
        }
    }
}
