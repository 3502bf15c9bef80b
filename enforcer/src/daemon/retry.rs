//! What failed and is still to be done: it is tried again, with longer and longer waits.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::reconciler::Trigger;

/// When to try again what failed, to begin with; twice as long after each time.
const RETRY: Duration = Duration::from_secs(1);
/// The longest wait before another try.
const MOST: Duration = Duration::from_secs(60);

/// Which looks failed, and when the next try is.
#[derive(Debug, Default)]
pub(crate) struct RetryQueue {
    looks: BTreeSet<Trigger>,
    next: Option<(Instant, Duration)>,
}

impl RetryQueue {
    /// When to try again, if anything failed.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.next.map(|(at, _)| at)
    }

    /// What to try again first.
    pub(crate) fn first(&self) -> Trigger {
        self.looks.first().copied().unwrap_or(Trigger::Host)
    }

    /// A look of this kind succeeded, which is no success of another one.
    pub(crate) fn done(&mut self, woken: Trigger) {
        self.looks.remove(&woken);
        if self.looks.is_empty() {
            self.next = None;
        }
    }

    /// One failed; says whether all was well before.
    pub(crate) fn failed(&mut self, woken: Trigger) -> bool {
        let wait = self.next.map_or(RETRY, |(_, wait)| (wait * 2).min(MOST));
        self.next = Some((Instant::now() + wait, wait));
        self.looks.insert(woken);
        self.looks.len() == 1 && wait == RETRY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_tried_again_until_it_succeeds_itself() {
        let mut undone = RetryQueue::default();
        assert_eq!(undone.at(), None);
        assert!(undone.failed(Trigger::Host));
        let first = undone.at().expect("another try");
        // The end of the failed look closes the lock, which is news of the pins.
        undone.done(Trigger::Pins);
        assert_eq!(undone.at(), Some(first));
        assert!(!undone.failed(Trigger::Pins), "it is said once");
        assert!(undone.at() > Some(first), "later and later");
        assert_eq!(undone.first(), Trigger::Pins);
        undone.done(Trigger::Pins);
        assert!(undone.at().is_some());
        assert_eq!(undone.first(), Trigger::Host);
        undone.done(Trigger::Host);
        assert_eq!(undone.at(), None);
        assert!(undone.failed(Trigger::Files), "and said again");
    }
}
