//! The pace of looks at the host: the first changes of a burst are looked at one by one, and the
//! rest together.

use std::time::Duration;

use tokio::time::Instant;

/// The number of looks at once, after a long rest.
const AT_ONCE: u32 = 8;
/// The time that gives back one look at once, and the time between two looks in a burst. An
/// interface that left takes no packet, so its guard may stay for so long.
const GAP: Duration = Duration::from_millis(200);
/// The time between two looks in a burst, where an interface may have come up.
const URGENT_GAP: Duration = Duration::from_millis(20);

/// The budget of looks at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The time at which the budget is whole again (the generic cell rate algorithm of ITU-T
    /// I.371).
    whole_at: Instant,
    /// The last look.
    last: Instant,
}

impl Pace {
    /// Returns a whole budget.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            whole_at: now,
            last: now,
        }
    }

    /// Returns the time of the next look, for a change that is known `now`.
    pub(super) fn next_look(&self, now: Instant, is_urgent: bool) -> Instant {
        let gap = match is_urgent {
            _ if self.whole_at <= now + GAP * (AT_ONCE - 1) => return now,
            true => URGENT_GAP,
            false => GAP,
        };
        now.max(self.last + gap)
    }

    /// Takes a look off the budget.
    pub(super) fn look(&mut self, now: Instant) {
        self.whole_at = (self.whole_at.max(now) + GAP).min(now + GAP * AT_ONCE);
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times of the looks, in milliseconds, at changes that come at a fixed distance.
    fn looks(changes: u64, distance: u64, is_urgent: bool) -> Vec<u64> {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut looks: Vec<u64> = Vec::new();
        for change in 0..changes {
            let now = start + Duration::from_millis(change * distance);
            let is_seen = |at: &u64| start + Duration::from_millis(*at) >= now;
            // A change before the end of the wait is part of the same look.
            if looks.last().is_some_and(is_seen) {
                continue;
            }
            let at = pace.next_look(now, is_urgent);
            pace.look(at);
            looks.push(u64::try_from((at - start).as_millis()).unwrap());
        }
        looks
    }

    #[test]
    fn few_changes_are_looked_at_at_once() {
        assert_eq!(looks(8, 10, false), [0, 10, 20, 30, 40, 50, 60, 70]);
        // For ever, where the changes are as far apart as a gap.
        let every: Vec<u64> = (0..50).map(|number| number * 200).collect();
        assert_eq!(looks(50, 200, false), every);
    }

    #[test]
    fn a_burst_is_looked_at_in_gaps() {
        let at = looks(500, 10, false);
        assert_eq!(at[..10], [0, 10, 20, 30, 40, 50, 60, 70, 270, 470]);
        assert!(at.len() <= 8 + 5_000 / 200, "{at:?}");
        let last = at.last().unwrap();
        assert!(*last >= 4_990, "the last change is seen: {last}");
    }

    #[test]
    fn an_interface_that_may_be_up_waits_for_a_moment_only() {
        let at = looks(500, 1, true);
        assert_eq!(at[..10], [0, 1, 2, 3, 4, 5, 6, 7, 27, 47]);
        for pair in at.windows(2) {
            assert!(pair[1] - pair[0] <= 21, "{pair:?}");
        }
    }

    #[test]
    fn a_rest_gives_the_budget_back() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for _ in 0..100 {
            pace.look(start);
        }
        assert_eq!(pace.next_look(start, false), start + GAP);
        assert_eq!(pace.next_look(start, true), start + URGENT_GAP);
        let later = start + GAP;
        assert_eq!(pace.next_look(later, false), later, "one look");
        pace.look(later);
        assert_eq!(pace.next_look(later, false), later + GAP, "and no more");
        let rested = later + GAP * AT_ONCE;
        for _ in 0..AT_ONCE {
            assert_eq!(pace.next_look(rested, false), rested);
            pace.look(rested);
        }
        assert_eq!(pace.next_look(rested, false), rested + GAP);
    }
}
