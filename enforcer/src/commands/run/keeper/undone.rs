//! What failed and is still to be done: it is tried again, with longer and longer waits.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::Woken;

/// When to try again what failed, to begin with; twice as long after each time.
const RETRY: Duration = Duration::from_secs(1);
/// The longest wait before another try.
const MOST: Duration = Duration::from_secs(60);

/// Which looks failed, and when the next try is.
#[derive(Debug, Default)]
pub(super) struct Undone {
    looks: BTreeSet<Woken>,
    next: Option<(Instant, Duration)>,
}

impl Undone {
    /// When to try again, if anything failed.
    pub(super) fn at(&self) -> Option<Instant> {
        self.next.map(|(at, _)| at)
    }

    /// What to try again first.
    pub(super) fn first(&self) -> Woken {
        self.looks.first().copied().unwrap_or(Woken::Host)
    }

    /// A look of this kind succeeded, which is no success of another one.
    pub(super) fn done(&mut self, woken: Woken) {
        self.looks.remove(&woken);
        if self.looks.is_empty() {
            self.next = None;
        }
    }

    /// One failed; says whether all was well before.
    pub(super) fn failed(&mut self, woken: Woken) -> bool {
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
        let mut undone = Undone::default();
        assert_eq!(undone.at(), None);
        assert!(undone.failed(Woken::Host));
        let first = undone.at().expect("another try");
        // The end of the failed look closes the lock, which is news of the pins.
        undone.done(Woken::Pins);
        assert_eq!(undone.at(), Some(first));
        assert!(!undone.failed(Woken::Pins), "it is said once");
        assert!(undone.at() > Some(first), "later and later");
        assert_eq!(undone.first(), Woken::Pins);
        undone.done(Woken::Pins);
        assert!(undone.at().is_some());
        assert_eq!(undone.first(), Woken::Host);
        undone.done(Woken::Host);
        assert_eq!(undone.at(), None);
        assert!(undone.failed(Woken::Files), "and said again");
    }
}
