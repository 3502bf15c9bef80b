//! The tables of every variant by name: guards that held alone, by kernel line.

use super::rows::{Row, Shown, shown};
use super::seen::{Facts, Seen, Status};
use super::tables::{head, line};
use crate::lab::enforcer::Guards;
use crate::scenarios::attack::{Attack, Control};

/// A table of attacks and a table of traffic.
pub(super) fn tables(list: &[Row], traffic: &[Row], attacks: &[Attack], seen: &Seen) -> String {
    let mut text = head("attack", &["id", "control"], seen, &[]);
    for (row, variant) in variants(list) {
        let attack = attacks.iter().find(|attack| attack.name == variant);
        let cells = [
            format!("`{variant}`"),
            row.title.clone(),
            control(attack).to_owned(),
        ];
        let kernels = seen.kernels.values();
        let kernels = kernels.map(|facts| of_attack(variant, attack, facts));
        line(&mut text, cells.into_iter().chain(kernels));
    }
    text.push('\n');
    text.push_str(&head("traffic", &[], seen, &[]));
    for (_, variant) in variants(traffic) {
        let name = std::iter::once(format!("`{variant}`"));
        let kernels = seen.kernels.values();
        let kernels = kernels.map(|facts| words(shown(variant, facts), "untouched"));
        line(&mut text, name.chain(kernels));
    }
    text
}

fn variants(rows: &[Row]) -> impl Iterator<Item = (&Row, &str)> {
    rows.iter().flat_map(|row| {
        row.variants
            .iter()
            .map(move |variant| (row, variant.as_str()))
    })
}

fn control(attack: Option<&Attack>) -> &'static str {
    match attack.map(|attack| attack.control) {
        None => "in own steps",
        Some(Control::Reached) => "reached",
        Some(Control::RefusedByTheStack(_)) => "refused by the stack",
        Some(Control::UpToTheKernel(_)) => "up to the kernel",
    }
}

/// The guards that held an attack alone, if the attack has data.
fn of_attack(variant: &str, attack: Option<&Attack>, facts: &Facts) -> String {
    let shown = shown(variant, facts);
    let Some(attack) = attack.filter(|_| shown == Shown::Passed) else {
        return words(shown, "passed");
    };
    let guards = [("W", Guards::Wire), ("S", Guards::Socket)];
    let held = guards.into_iter().filter(|(_, guards)| {
        let status = facts.status(attack, *guards);
        matches!(status, Status::Held(_))
    });
    let held: Vec<&str> = held.map(|(letter, _)| letter).collect();
    match held.is_empty() {
        true => "held".to_owned(),
        false => held.join(", "),
    }
}

fn words(shown: Shown, passed: &str) -> String {
    let words = match shown {
        Shown::Passed => passed,
        Shown::LeftOut => "left out",
        Shown::Untried => "-",
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Port;
    use enforcer_ebpf::Reason::UntrustedInterface;

    #[test]
    fn each_variant_has_a_row() {
        let names = ["a01_x::tcp::both", "a01_x::told", "goes_on::lo"].map(str::to_owned);
        let row =
            |title: &str, prefix: &str| Row::new(title.to_owned(), vec![prefix.to_owned()], &names);
        let attack = Attack::new("a01_x::tcp", Port("tcp", 9200), |_| {
            anyhow::bail!("no stage")
        })
        .held_by_both(UntrustedInterface);
        let mut seen = Seen::default();
        seen.add(
            "guest: up 6.1.0 after
test a01_x::tcp::each_guard_alone ... ok
test a01_x::told ... ignored (this kernel has no tcx)
test goes_on::lo ... ok
",
        )
        .unwrap();
        let (list, traffic) = (row("A1", "a01_"), row("lo", "goes_on::"));
        let table = tables(&[list], &[traffic], &[attack], &seen);
        let expected = "| attack | id | control | 6.1 |
| --- | --- | --- | --- |
| `a01_x::tcp` | A1 | reached | W, S |
| `a01_x::told` | A1 | in own steps | left out |

| traffic | 6.1 |
| --- | --- |
| `goes_on::lo` | untouched |
";
        assert_eq!(table, expected);
    }
}
