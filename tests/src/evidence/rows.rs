//! Rows of the page: a title, and the variants that the scenarios' names tell.

use std::collections::BTreeSet;

use super::record::End;
use super::seen::{Facts, Seen};

/// Last parts of names that tell the guards of a scenario, not a variant.
const GUARDS: [&str; 4] = ["wire", "socket", "both", "each_guard_alone"];

/// A row, with the names of its scenarios by variant.
#[derive(Debug)]
pub(super) struct Row {
    /// Text of the first cell.
    pub(super) title: String,
    prefixes: Vec<String>,
    /// Variants known to this program.
    pub(super) variants: BTreeSet<String>,
}

/// What a kernel made of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Every scenario went as demanded, and one was not left out.
    Passed,
    /// The kernel lacks what the variant needs.
    LeftOut,
    /// No run tried the variant.
    Untried,
}

/// The variant of a scenario: the name without the guards.
pub(super) fn variant(scenario: &str) -> &str {
    match scenario.rsplit_once("::") {
        Some((variant, last)) if GUARDS.contains(&last) => variant,
        _ => scenario,
    }
}

impl Row {
    /// A row of scenarios with names of these prefixes.
    pub(super) fn new(title: String, prefixes: Vec<String>, names: &[String]) -> Self {
        let mut row = Self {
            title,
            prefixes,
            variants: BTreeSet::new(),
        };
        let known = names.iter().filter(|name| row.has(name));
        row.variants = known.map(|name| variant(name).to_owned()).collect();
        row
    }

    /// Whether a scenario belongs to the row.
    pub(super) fn has(&self, scenario: &str) -> bool {
        let mut prefixes = self.prefixes.iter();
        prefixes.any(|prefix| scenario.starts_with(prefix.as_str()))
    }

    /// Number of variants that two kernels or more showed.
    pub(super) fn on_two_kernels(&self, seen: &Seen) -> usize {
        let on_two = |variant: &&String| {
            let kernels = seen.kernels.values();
            let passed = kernels.filter(|facts| shown(variant, facts) == Shown::Passed);
            passed.count() >= 2
        };
        self.variants.iter().filter(on_two).count()
    }

    /// Numbers of variants that a kernel showed, and left out.
    pub(super) fn count(&self, facts: &Facts) -> (usize, usize) {
        let shown: Vec<Shown> = self.variants.iter().map(|of| shown(of, facts)).collect();
        let count = |wanted| shown.iter().filter(|one| **one == wanted).count();
        (count(Shown::Passed), count(Shown::LeftOut))
    }
}

/// What a kernel made of a variant.
pub(super) fn shown(of: &str, facts: &Facts) -> Shown {
    let names = std::iter::once(of.to_owned());
    let names = names.chain(GUARDS.iter().map(|guards| format!("{of}::{guards}")));
    let ends: Vec<&End> = names.filter_map(|name| facts.ends.get(&name)).collect();
    match ends.iter().any(|end| **end == End::Passed) {
        true => Shown::Passed,
        false if ends.is_empty() => Shown::Untried,
        false => Shown::LeftOut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let names = [
            "a01_x::tcp::wire",
            "a01_x::tcp::both",
            "a01_x::udp",
            "a02_y",
        ];
        let names = names.map(str::to_owned);
        Row::new("A1".to_owned(), vec!["a01_x::".to_owned()], &names)
    }

    #[test]
    fn guards_are_no_variants() {
        let variants: Vec<_> = row().variants.into_iter().collect();
        assert_eq!(variants, ["a01_x::tcp", "a01_x::udp"]);
        assert_eq!(variant("a02_y"), "a02_y");
    }

    #[test]
    fn kernels_are_counted_by_variant() {
        let mut seen = Seen::default();
        seen.add("guest: up 6.1.0 after\ntest a01_x::tcp::each_guard_alone ... ok\n")
            .unwrap();
        let both = "test a01_x::tcp::wire ... ignored (this kernel has no tcx)
test a01_x::tcp::both ... ok
test a01_x::udp ... ignored (this kernel has no tcx)";
        seen.add(&format!("guest: up 7.2.1 after\n{both}\n"))
            .unwrap();
        let row = row();
        let on = |of| -> Vec<Shown> {
            let kernels = seen.kernels.values();
            kernels.map(|facts| shown(of, facts)).collect()
        };
        assert_eq!(on("a01_x::tcp"), [Shown::Passed; 2]);
        assert_eq!(on("a01_x::udp"), [Shown::Untried, Shown::LeftOut]);
        assert_eq!(row.on_two_kernels(&seen), 1);
        let counts: Vec<_> = seen
            .kernels
            .values()
            .map(|facts| row.count(facts))
            .collect();
        assert_eq!(counts, [(1, 0), (1, 1)]);
    }
}
