//! Which trials a guest runs: those whose outcome is its kernel's doing.
//!
//! A guest without hardware virtualisation is ten times slower than its host, and there are
//! several of them, so every trial there has to earn its seconds. Two things need no second
//! kernel: what the command line says, and how the guards' one object reads a header, which is
//! the same code under every verifier and is tried frame by frame on the host. Of the variants
//! that differ in such bytes alone, the telling ones stand for the rest. Every row of the attack
//! table keeps its trials, each guard alone, in one lab for the two.

/// Left out, by the beginning of the name, with the reason in the comment above.
const NOT_FOR_GUESTS: &[&str] = &[
    // The command line's texts, codes and files.
    "audit::of_one_service",
    "check::",
    "cli::",
    "counters::",
    "explain::",
    "human_output::",
    "refuses::",
    "reload::",
    "up::",
    "adversary::down_removes_nothing_but_pins",
    "adversary::the_pins_of_another_namespace_are_not_cleared_away",
    "adversary::a_closed_pipe_does_not_change_the_exit_code",
    "run::exits_0_when_down_comes",
    "run::keeps_what_is_pinned_under_a_bad_registry",
    "run::falls_back_at_boot_under_a_bad_registry",
    "keys::up_wants_static_peers",
    "keys::a_name_is_no_wireguard_device",
    // Guests have the kernel's WireGuard: rows 5, 14 and 21 run through it.
    "keys::userspace::",
    "row_21_a_hole_in_a_granted_prefix::userspace::",
    "row_05_weak_host_model::",
    "row_14_peers::an_allowed_",
    "row_14_peers::an_unknown_",
    "goes_on::an_allowed_peer::dual_stack_listener",
    "goes_on::an_allowed_peer::ipv4",
    "goes_on::an_allowed_peer::ipv6",
    "goes_on::an_allowed_peer::udp",
    // The same parse as that of a variant that is kept.
    "row_08_ipv6::a_v4_mapped_source_through_eth0",
    "row_08_ipv6::dual_stack_udp_over_ipv4",
    "row_11_ipv4_fragments::backwards",
    "row_11_ipv4_options::one_word_of_no_operation",
    "row_11_ipv4_options::record_route",
    "row_11_ipv4_options::router_alert",
    "row_11_ipv6_chains::all_kinds",
    "row_11_ipv6_chains::sixty",
    "row_11_ipv6_chains::udp",
    "row_11_ipv6_fragments::behind_headers",
    "row_11_ipv6_fragments::tiny_tcp",
    "row_11_qinq::a_real_id_behind_a_priority_tag",
    "row_11_wireguard::ipv4_options",
    "row_19_priority_tags::five_802.1ad",
    "row_19_priority_tags::four_802.1q",
    "row_19_priority_tags::one_802.1q",
    "row_19_priority_tags::sixty",
    "row_19_priority_tags::two_mixed",
    // A hook that the kernel has shows every packet as that hook does elsewhere.
    "hook::xdp-generic::row_",
    "hook::xdp-native::row_01",
    "hook::xdp-native::row_11",
    "hook::xdp-native::row_19_priority_tags::five",
    "hook::xdp-native::row_19_priority_tags::one",
    // Both guards are up in the one that is kept.
    "row_12_reload_and_crash_under_a_syn_flood::wire",
    "row_12_reload_and_crash_under_a_syn_flood::socket",
];

/// Whether a guest runs the trial, or the attack, of this name.
pub(super) fn is_for_guests(name: &str) -> bool {
    !NOT_FOR_GUESTS.iter().any(|with| name.starts_with(with))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use libtest_mimic::Trial;

    use super::*;
    use crate::scenarios::{guest_trials, trials};

    fn names(trials: &[Trial]) -> Vec<String> {
        let names = trials.iter().map(|trial| trial.name().to_owned());
        names.collect()
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
            let row = |name: &String| name.get(name.find("row_")?..)?.get(..6).map(str::to_owned);
            names(&trials).iter().filter_map(row).collect()
        };
        let nowhere = Path::new("/nowhere");
        assert_eq!(rows(trials(nowhere)), rows(guest_trials(nowhere)));
    }
}
