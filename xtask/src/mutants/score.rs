//! The fates of mutants, and the verdict on the tests.

use std::{fmt, ops::AddAssign};

/// Least share of viable mutants found by the tests, in per cent.
const REQUIRED: usize = 90;

/// Mutants by fate, each as cargo-mutants names the mutant: `file:line:column: change`.
#[derive(Debug, Default)]
pub(super) struct Score {
    /// Mutants with a failed test.
    pub(super) killed: Vec<String>,
    /// Mutants under which all tests passed.
    pub(super) survived: Vec<String>,
    /// Mutants refused by the compiler.
    pub(super) unviable: Vec<String>,
    /// Mutants under which a test hung.
    pub(super) timeout: Vec<String>,
}

impl Score {
    /// Number of mutants.
    pub(super) fn total(&self) -> usize {
        self.viable() + self.unviable.len()
    }

    fn viable(&self) -> usize {
        self.found() + self.survived.len()
    }

    /// Number of mutants found by the tests, with a failure or a hang.
    fn found(&self) -> usize {
        self.killed.len() + self.timeout.len()
    }

    /// Returns a line for each survivor, then for each timeout.
    pub(super) fn lines(&self) -> Vec<String> {
        let name = |fate: &str, mutant: &String| format!("{fate} {}", without_column(mutant));
        let survived = self.survived.iter().map(|mutant| name("survived", mutant));
        let timeout = self.timeout.iter().map(|mutant| name("timeout ", mutant));
        survived.chain(timeout).collect()
    }

    /// Returns why the tests are not good enough, unless they are.
    pub(super) fn fault(&self) -> Option<String> {
        let (found, viable) = (self.found(), self.viable());
        if viable == 0 {
            return Some("no viable mutant was tested: choose other files or more mutants".into());
        }
        (found * 100 < viable * REQUIRED).then(|| {
            format!(
                "the unit tests found {found} of {viable} viable mutants, less than {REQUIRED} %: \
                 add a test for each survivor"
            )
        })
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.killed.extend(other.killed);
        self.survived.extend(other.survived);
        self.unviable.extend(other.unviable);
        self.timeout.extend(other.timeout);
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} mutants: {} killed, {} survived, {} unviable, {} timeout",
            self.total(),
            self.killed.len(),
            self.survived.len(),
            self.unviable.len(),
            self.timeout.len()
        )
    }
}

/// Returns `file:line: change` for `file:line:column: change`.
fn without_column(mutant: &str) -> String {
    let short = || {
        let (place, change) = mutant.split_once(": ")?;
        let (place, _column) = place.rsplit_once(':')?;
        Some(format!("{place}: {change}"))
    };
    short().unwrap_or_else(|| mutant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(killed: usize, survived: usize, unviable: usize, timeout: usize) -> Score {
        let mutants = |count| vec!["a.rs:1:2: replace + with - in f".to_owned(); count];
        Score {
            killed: mutants(killed),
            survived: mutants(survived),
            unviable: mutants(unviable),
            timeout: mutants(timeout),
        }
    }

    #[test]
    fn nine_in_ten_viable_mutants_are_enough() {
        assert_eq!(score(90, 10, 50, 0).fault(), None);
        assert_eq!(score(80, 10, 0, 10).fault(), None, "a hang is noticed");
        let fault = score(89, 11, 50, 0).fault().unwrap();
        assert!(fault.contains("89 of 100"), "{fault}");
        assert!(score(0, 0, 3, 0).fault().is_some());
    }

    #[test]
    fn survivors_are_listed_by_line() {
        assert_eq!(
            score(1, 1, 1, 1).lines(),
            [
                "survived a.rs:1: replace + with - in f",
                "timeout  a.rs:1: replace + with - in f"
            ]
        );
    }

    #[test]
    fn the_sum_has_all_fates() {
        let mut sum = score(1, 2, 3, 4);
        sum += score(10, 0, 0, 0);
        assert_eq!(
            sum.to_string(),
            "20 mutants: 11 killed, 2 survived, 3 unviable, 4 timeout"
        );
    }
}
