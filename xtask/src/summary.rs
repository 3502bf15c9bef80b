//! The closing line of a test run, summed over several test programs.

use std::{fmt, ops::AddAssign};

/// Counts of passed and failed tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Passed tests.
    pub(crate) passed: usize,
    /// Failed tests, and failed test programs.
    pub(crate) failed: usize,
}

impl Summary {
    /// Result of a test program, or guest, without trustworthy results.
    pub(crate) const FAILURE: Self = Self {
        passed: 0,
        failed: 1,
    };

    /// Sums the lines `test result: ok. 12 passed; 0 failed; …` of libtest and of its imitations.
    pub(crate) fn parse(output: &str) -> Self {
        output
            .lines()
            .filter(|line| line.starts_with("test result: "))
            .fold(Self::default(), |sum, line| Self {
                passed: sum.passed + number_before(line, " passed"),
                failed: sum.failed + number_before(line, " failed"),
            })
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

fn number_before(line: &str, word: &str) -> usize {
    line.split_once(word)
        .and_then(|(before, _)| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_programs_are_summed() {
        let output = "
running 2 tests
test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.02s

test said: test result: ok. 99 passed; 0 failed
test result: \u{1b}[31mFAILED\u{1b}[m. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out
";
        let sum = Summary::parse(output);
        assert_eq!(
            sum,
            Summary {
                passed: 15,
                failed: 2
            }
        );
        assert_eq!(sum.to_string(), "15 passed, 2 failed");
    }

    #[test]
    fn no_line_is_no_test() {
        assert_eq!(Summary::parse("error: no test target"), Summary::default());
    }
}
