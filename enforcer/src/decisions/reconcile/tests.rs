//! Reconciliations as one line of text each: attached guards, plan, wishes, steps.

use std::fmt::Write as _;

use super::*;

/// Guards by number: ifindex N is interface `iN`. Hooks: `n` native XDP, `g` generic XDP, `t` tcx.
fn hook(letter: char) -> Hook {
    match letter {
        'n' => Hook::XdpNative,
        'g' => Hook::XdpGeneric,
        't' => Hook::Tcx,
        _ => panic!("no hook {letter}"),
    }
}

fn letter(hook: Hook) -> char {
    match hook {
        Hook::XdpNative => 'n',
        Hook::XdpGeneric => 'g',
        Hook::Tcx => 't',
    }
}

/// `2tg` is a guard on ifindex 2 by tcx, else by generic XDP; `3t>2` is a member of master 2.
fn guard(word: &str) -> WireGuard {
    let (front, master) = match word.split_once('>') {
        Some((front, master)) => (front, Some(master.parse().unwrap())),
        None => (word, None),
    };
    let (number, hooks) = front.split_at(1);
    let (ifindex, name) = (number.parse().unwrap(), format!("i{number}"));
    WireGuard {
        master,
        ..WireGuard::alone(ifindex, name, hooks.chars().map(hook).collect())
    }
}

fn guards(words: Option<&str>) -> Vec<WireGuard> {
    words
        .unwrap_or_default()
        .split(',')
        .filter(|it| !it.is_empty())
        .map(guard)
        .collect()
}

/// The value of `key=value` in a cell of words.
fn value<'a>(cell: &'a str, key: &str) -> Option<&'a str> {
    cell.split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// `2t 3g!` are attached guards, with `!` behind another program; `stale=4t`; `early=5,6-` are early
/// guards here, with `-` for a dead link; `before=5` are early guards of the set in force.
fn attached(cell: &str) -> (AttachedGuards, EarlyGuards) {
    let (mut attached, mut early) = (AttachedGuards::default(), EarlyGuards::default());
    for word in cell.split_whitespace().filter(|word| !word.contains('=')) {
        let (number, hooks) = word.split_at(1);
        let ifindex = number.parse().unwrap();
        attached
            .guards
            .insert(ifindex, hook(hooks.chars().next().unwrap()));
        if word.ends_with('!') {
            attached.behind.insert(ifindex);
        }
    }
    for word in value(cell, "stale")
        .into_iter()
        .flat_map(|it| it.split(','))
    {
        let (number, hooks) = word.split_at(1);
        attached
            .stale
            .push((number.parse().unwrap(), hook(hooks.chars().next().unwrap())));
    }
    for word in value(cell, "early")
        .into_iter()
        .flat_map(|it| it.split(','))
    {
        let number = word.trim_end_matches('-');
        early.here.insert(number.parse().unwrap(), number == word);
    }
    let before = value(cell, "before")
        .into_iter()
        .flat_map(|it| it.split(','));
    early.in_force = before.map(|number| number.parse().unwrap()).collect();
    (attached, early)
}

/// `guards=2tg members=3t>2 early=5t tolerated=4t`; the tolerated plan includes the wanted guards.
fn plan(cell: &str) -> GuardPlan {
    let wanted = Plan {
        guards: guards(value(cell, "guards")),
        early: guards(value(cell, "early")),
        members: guards(value(cell, "members")),
        ..Plan::default()
    };
    let mut tolerated = wanted.clone();
    tolerated.guards.extend(guards(value(cell, "tolerated")));
    GuardPlan { wanted, tolerated }
}

/// One step as words. A trailing letter tells why a guard stays: `p` planned, `o` other hook, `d`
/// tolerated.
fn show(step: Step<'_>) -> String {
    let kept = |verb: &str, guard: &WireGuard, hook, why| {
        let why = match why {
            Kept::Planned => 'p',
            Kept::OtherHook => 'o',
            Kept::Tolerated => 'd',
        };
        format!("{verb} {}{}{why}", guard.ifindex, letter(hook))
    };
    match step {
        Step::Unpin { ifindex, hook } => format!("unpin {ifindex}{}", letter(hook)),
        Step::Keep { guard, hook, why } => kept("keep", guard, hook, why),
        Step::TakeOver { guard, hook, why } => kept("take", guard, hook, why),
        Step::Attach { guard } => format!("attach {}", guard.ifindex),
        Step::Exchange { guard, from } => format!("exchange {}{}", guard.ifindex, letter(from)),
        Step::DetachLater { ifindex, hook } => format!("later {ifindex}{}", letter(hook)),
        Step::AttachEarly { guard } => format!("early {}", guard.ifindex),
        Step::DetachEarly { ifindex } => format!("late {ifindex}"),
    }
}

/// Carries every phase out on paper. `refuse=2,3` are interfaces that refuse every hook.
fn run(attached_cell: &str, plan_cell: &str, wishes: &str) -> (String, AttachReport) {
    let (attached, early) = attached(attached_cell);
    let plan = plan(plan_cell);
    let set = match wishes.contains("new") {
        true => PinSet::New,
        false => PinSet::InPlace,
    };
    let hooks = match wishes.contains("keep") {
        true => HookPolicy::Keep,
        false => HookPolicy::AsPlanned,
    };
    let refuse = value(wishes, "refuse")
        .into_iter()
        .flat_map(|it| it.split(','));
    let refuse: Vec<u32> = refuse.map(|number| number.parse().unwrap()).collect();
    let request = Reconcile {
        attached: &attached,
        early: &early,
        plan: &plan,
        set,
        hooks,
    };
    let mut report = AttachReport::default();
    let mut shown = Vec::new();
    for phase in Phase::ALL {
        let mut steps = std::collections::VecDeque::from(request.steps(phase, &report));
        while let Some(step) = steps.pop_front() {
            shown.push(show(step));
            let outcome = match step {
                Step::Attach { guard } | Step::Exchange { guard, .. } => {
                    match refuse.contains(&guard.ifindex) {
                        true => Outcome::Refused("it says no".to_owned()),
                        false => Outcome::Attached(guard.hooks[0]),
                    }
                }
                _ => Outcome::Done,
            };
            steps.extend(report.record(step, outcome, set));
        }
    }
    (shown.join(", "), report)
}

fn hooks_of(guards: &BTreeMap<u32, Hook>) -> String {
    let mut text = String::new();
    for (ifindex, hook) in guards {
        write!(text, "{ifindex}{} ", letter(*hook)).unwrap();
    }
    text.trim_end().to_owned()
}

/// Checks every row `attached | plan | wishes | steps | guards | detach later`.
#[track_caller]
fn check(table: &str) {
    let mut wrong = String::new();
    let rows = table.lines().map(str::trim);
    for row in rows.filter(|row| !row.is_empty() && !row.starts_with('#')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let &[attached, plan, wishes, steps, guards, later] = cells.as_slice() else {
            panic!("not six cells: {row}");
        };
        let (shown, report) = run(attached, plan, wishes);
        let detached: BTreeMap<u32, Hook> = report.detach_later.iter().copied().collect();
        let got = [shown, hooks_of(&report.guards), hooks_of(&detached)];
        if got != [steps, guards, later] {
            write!(wrong, "\n{row}\n  got: {}\n", got.join(" | ")).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_wanted_guard_is_attached_kept_or_exchanged() {
    check(
        "
        # attached | plan | wishes | steps | guards | detach later
          | guards=2tg,3n | | attach 2, attach 3 | 2t 3n |
        2t | guards=2tg | | keep 2tp | 2t |
        2g | guards=2tg | | keep 2gp | 2g |
        2n | guards=2tg | | exchange 2n | 2t | 2n
        2n | guards=2tg | refuse=2 | exchange 2n, keep 2nd | 2n |
          | guards=2tg | refuse=2 | attach 2 | |
        # A link in place stays behind another program; a new set goes before the program.
        2t! | guards=2t | | keep 2tp | 2t |
        2t! | guards=2t | new | exchange 2t | 2t |
        2t! | guards=2t | new refuse=2 | exchange 2t, take 2td | 2t |
        ",
    );
}

#[test]
fn a_new_set_takes_guards_over_and_leaves_the_old_set_alone() {
    check(
        "
        2t | guards=2tg | new | take 2tp | 2t |
        2n | guards=2tg | new | exchange 2n | 2t |
        2n | guards=2tg | new refuse=2 | exchange 2n, take 2nd | 2n |
        2t 4t stale=5t | guards=2t | new | take 2tp | 2t |
        2t 4t | guards=2t tolerated=4t | new | take 2tp, take 4td | 2t 4t |
        ",
    );
}

#[test]
fn a_guard_on_another_hook_stays_for_the_policy_that_was_compiled_for_it() {
    check(
        "
        2n | guards=2tg | keep | keep 2no | 2n |
        2t | guards=2tg | keep | keep 2tp | 2t |
        2t! | guards=2tg | keep | keep 2tp | 2t |
        2n | guards=2tg | keep new | take 2no | 2n |
        3n | tolerated=3t | keep | keep 3nd | 3n |
        ",
    );
}

#[test]
fn a_guard_that_nobody_wants_is_detached_after_the_switch() {
    check(
        "
        2t 3t | guards=2t | | keep 2tp, later 3t | 2t | 3t
        2t 3t | guards=2t tolerated=3tg | | keep 2tp, keep 3td | 2t 3t |
        # The interface is down, and its guard is on a hook that the plan would not take.
        3n | tolerated=3tg | | later 3n | | 3n
        ",
    );
}

#[test]
fn pins_that_guard_nothing_go_first() {
    check(
        "
        2t stale=2n,7g | guards=2t | | unpin 2n, unpin 7g, keep 2tp | 2t |
        stale=2t | guards=2t | | unpin 2t, attach 2 | 2t |
        ",
    );
}

#[test]
fn a_member_is_guarded_if_its_master_got_no_guard() {
    check(
        "
          | guards=2t members=3t>2,4t>2 | | attach 2 | 2t |
          | guards=2t members=3t>2,4t>2 | refuse=2 | attach 2, attach 3, attach 4 | 3t 4t |
        3t | guards=2t members=3t>2 | refuse=2 | attach 2, keep 3tp | 3t |
        3t | guards=2t members=3t>2 | | attach 2, later 3t | 2t | 3t
        ",
    );
}

#[test]
fn an_interface_that_is_down_has_an_early_guard() {
    check(
        "
          | early=5t | | early 5 | |
        early=5 | early=5t | | | |
        # Its link is dead, so the pin goes and a new guard comes.
        early=5- | early=5t | | late 5, early 5 | |
        # The interface came up: its guard takes over, or the early guard stays.
        early=5 | guards=5t | | attach 5, late 5 | 5t |
        early=5 before=5 | guards=5t | refuse=5 | attach 5 | |
        # The interface has left, or is wanted no more.
        early=5 | guards=2t | | attach 2, late 5 | 2t |
        # A new set needs an early guard where the old set has nothing else.
        before=5 | guards=5t | new refuse=5 | attach 5, early 5 | |
        before=5 | guards=5t | new | attach 5 | 5t |
        before=5 | early=5t | new | early 5 | |
          | guards=5t | new refuse=5 | attach 5 | |
        ",
    );
}

#[test]
fn refusals_and_other_hooks_are_notes_on_their_interface() {
    let notes = |attached: &str, plan: &str, wishes: &str| {
        let (_, report) = run(attached, plan, wishes);
        let notes = report.notes.into_iter();
        notes
            .map(|note| (note.kind, note.interface.unwrap(), note.text))
            .collect::<Vec<_>>()
    };
    let [(kind, interface, text)] = &notes("", "guards=2t", "refuse=2")[..] else {
        panic!("one note");
    };
    assert_eq!((*kind, interface.as_str()), (NoteKind::NoWireGuard, "i2"));
    assert_eq!(text, "i2 has no wire guard: it says no");
    let [(kind, interface, text)] = &notes("2n", "guards=2t", "refuse=2")[..] else {
        panic!("one note");
    };
    assert_eq!((*kind, interface.as_str()), (NoteKind::HookKept, "i2"));
    assert!(
        text.starts_with("i2 keeps its guard on xdp-native (it says no)"),
        "{text}"
    );
    let [(kind, _, text)] = &notes("2n", "guards=2t", "keep")[..] else {
        panic!("one note");
    };
    assert_eq!(*kind, NoteKind::HookKept);
    assert!(text.contains("without --confirm"), "{text}");
    assert_eq!(notes("2t", "guards=2t", "keep"), []);
    assert_eq!(notes("3n", "tolerated=3t", "keep"), []);
}

#[test]
fn guards_to_detach_are_kept_for_a_rollback() {
    let (_, mut report) = run("2t 3t 4n", "guards=2t,4t", "");
    assert_eq!(hooks_of(&report.guards), "2t 4t");
    let mut kept = report.keep_detached();
    kept.sort_unstable();
    assert_eq!(kept, [3, 4]);
    // An exchanged guard counts as the new one, whose hook the policy was compiled for.
    assert_eq!(hooks_of(&report.guards), "2t 3t 4t");
    assert_eq!(report.detach_later, []);
}

#[test]
fn only_new_guards_without_relations_are_attached_at_the_same_time() {
    let parent = |word: &str, vlans: &[u32], macvlan| WireGuard {
        vlan_children: vlans.to_vec(),
        has_macvlan_children: macvlan,
        ..guard(word)
    };
    let all = [
        guard("1t"),
        guard("2t"),
        // A bridge, after its member.
        guard("3t>5"),
        guard("4t"),
        guard("5t"),
        guard("6t"),
        parent("7t", &[9], false),
        parent("8t", &[], true),
        guard("9t"),
    ];
    let mut steps: Vec<Step<'_>> = all.iter().map(|guard| Step::Attach { guard }).collect();
    let (guard, from) = (&all[0], Hook::Tcx);
    steps.extend([
        Step::Exchange { guard, from },
        Step::Exchange { guard, from },
    ]);
    let shown = |group: &[Step<'_>]| group.iter().map(|step| show(*step)).collect::<Vec<_>>();
    let groups: Vec<String> = groups(&steps).map(|it| shown(it).join(" + ")).collect();
    let expected = "attach 1 + attach 2, attach 3, attach 4, attach 5, attach 6, attach 7, \
                    attach 8, attach 9, exchange 1t, exchange 1t";
    assert_eq!(groups.join(", "), expected);
}
