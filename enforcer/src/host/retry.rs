//! The time of the next question to a device that did not answer.

use std::time::{Duration, Instant};

use crate::wireguard::Answer;

/// The longest time between two questions.
const LONGEST: Duration = Duration::from_secs(60);

/// The failed questions to a device in a row, and the time of the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Retry {
    failures: u32,
    not_before: Option<Instant>,
}

impl Retry {
    /// Whether the device may be asked.
    pub(super) fn is_due(self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    /// Returns the state after an answer: 1 second until the next question after the first failure,
    /// twice as long after each further failure, and 60 seconds at most.
    pub(super) fn after(self, answer: &Answer, now: Instant) -> Self {
        let Answer::Unknown(_) = answer else {
            return Self::default();
        };
        let doubled = 1u64.checked_shl(self.failures).map(Duration::from_secs);
        let wait = doubled.map_or(LONGEST, |wait| wait.min(LONGEST));
        Self {
            failures: self.failures.saturating_add(1),
            not_before: Some(now + wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wireguard::AllowedIps;

    #[test]
    fn a_device_is_asked_less_often_with_each_failure_and_at_once_after_an_answer() {
        let failed = Answer::Unknown("silent".to_owned());
        let start = Instant::now();
        let mut retry = Retry::default();
        assert!(retry.is_due(start));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            retry = retry.after(&failed, start);
            let wait = Duration::from_secs(seconds);
            assert!(
                !retry.is_due(start + wait - Duration::from_millis(1)),
                "{wait:?}"
            );
            assert!(retry.is_due(start + wait), "{wait:?}");
        }
        for _ in 0..100 {
            retry = retry.after(&failed, start);
        }
        assert!(retry.is_due(start + LONGEST));
        for answer in [Answer::Device(AllowedIps::default()), Answer::NotWireGuard] {
            assert_eq!(retry.after(&answer, start), Retry::default());
        }
    }
}
