//! The retry queue: failed tasks, with exponential backoff.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::Task;

/// The first wait before a retry. Each further wait is twice as long.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait before a retry.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The longest wait after a look at the pins that failed: pins that can be put back are back within
/// 30 seconds, even if an attempt in between meets another obstacle.
const LONGEST_WAIT_FOR_PINS: Duration = Duration::from_secs(10);
/// The number of reported reasons to remember.
const MOST_REASONS: usize = 16;

/// Failed tasks without a later success, and the time of their next attempt.
///
/// All failed tasks are retried together. An event may bring an attempt earlier; a failure of that
/// attempt leaves the time as it is.
#[derive(Debug, Default)]
pub(super) struct RetryQueue {
    failing: BTreeSet<Task>,
    /// The time of the next attempt; `None` while the attempt is made.
    at: Option<Instant>,
    /// The last wait.
    wait: Duration,
    /// The reported reasons since the queue was empty.
    reasons: BTreeSet<String>,
}

impl RetryQueue {
    /// The time of the next attempt, if a task failed.
    pub(super) const fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Notes a reason for a failure. Returns whether the reason is to be reported: one fault fails
    /// several tasks, again and again, and a second fault has another reason.
    pub(super) fn is_news(&mut self, why: &str) -> bool {
        if self.reasons.contains(why) {
            return false;
        }
        // Reasons that differ each time, by the id of a process for example.
        if self.reasons.len() >= MOST_REASONS {
            self.reasons.clear();
        }
        self.reasons.insert(why.to_owned())
    }

    /// Whether a task failed at its last attempt.
    pub(super) fn contains(&self, task: Task) -> bool {
        self.failing.contains(&task)
    }

    /// The tasks to be retried, once their time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Task> {
        match self.at {
            Some(at) if at <= now => {
                self.at = None;
                self.failing.iter().copied().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Notes the success of a task. The last success resets the backoff.
    pub(super) fn succeeded(&mut self, task: Task) {
        self.failing.remove(&task);
        if self.failing.is_empty() {
            *self = Self::default();
        }
    }

    /// Notes the failure of a task.
    pub(super) fn failed(&mut self, task: Task, now: Instant) {
        self.failing.insert(task);
        if self.at.is_none() {
            self.wait = (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
            self.at = Some(now + self.wait);
        }
        if task == Task::Inspect {
            self.at = self.at.min(Some(now + LONGEST_WAIT_FOR_PINS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_task_is_retried_until_the_task_itself_succeeds() {
        let now = Instant::now();
        let mut queue = RetryQueue::default();
        assert_eq!(queue.at(), None);
        queue.failed(Task::Follow, now);
        assert_eq!(queue.at(), Some(now + FIRST_WAIT));
        // The end of the failed attempt closes the lock: an event of the pins.
        queue.succeeded(Task::Inspect);
        assert_eq!(queue.at(), Some(now + FIRST_WAIT));
        assert!(queue.contains(Task::Follow));
        assert!(!queue.contains(Task::Inspect));
        assert_eq!(queue.take_due(now), []);
        assert_eq!(queue.take_due(now + FIRST_WAIT), [Task::Follow]);
        assert_eq!(queue.at(), None, "during the attempt");
        queue.succeeded(Task::Follow);
        assert!(!queue.contains(Task::Follow));
        assert_eq!(queue.at(), None);
    }

    #[test]
    fn waits_double_up_to_a_minute_and_start_again_after_success() {
        let mut now = Instant::now();
        let mut queue = RetryQueue::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            queue.failed(Task::Edit, now);
            assert_eq!(queue.at(), Some(now + Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
            assert_eq!(queue.take_due(now), [Task::Edit]);
        }
        queue.succeeded(Task::Edit);
        queue.failed(Task::Edit, now);
        assert_eq!(queue.at(), Some(now + FIRST_WAIT));
    }

    #[test]
    fn the_wait_after_a_look_at_the_pins_is_short() {
        let mut now = Instant::now();
        let mut queue = RetryQueue::default();
        for seconds in [1, 2, 4, 8, 10, 10] {
            queue.failed(Task::Inspect, now);
            queue.failed(Task::Follow, now);
            assert_eq!(queue.at(), Some(now + Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
            assert_eq!(queue.take_due(now), [Task::Inspect, Task::Follow]);
        }
        // Also where another task waits for a minute.
        queue.failed(Task::Follow, now);
        assert!(queue.at() > Some(now + LONGEST_WAIT_FOR_PINS));
        queue.failed(Task::Inspect, now);
        assert_eq!(queue.at(), Some(now + LONGEST_WAIT_FOR_PINS));
    }

    #[test]
    fn a_reason_is_news_once_until_every_task_succeeds() {
        let now = Instant::now();
        let mut queue = RetryQueue::default();
        queue.failed(Task::Follow, now);
        assert!(queue.is_news("no netlink"));
        assert!(!queue.is_news("no netlink"));
        assert!(queue.is_news("the pins are gone"));
        queue.succeeded(Task::Follow);
        assert!(queue.is_news("no netlink"));
        // Reasons without end do not fill the memory, and silence no other reason.
        for number in 0..1000 {
            assert!(queue.is_news(&format!("process {number}")));
            assert!(queue.reasons.len() <= MOST_REASONS);
        }
    }

    #[test]
    fn tasks_that_fail_together_are_retried_together() {
        let now = Instant::now();
        let mut queue = RetryQueue::default();
        queue.failed(Task::Follow, now);
        queue.failed(Task::Inspect, now + FIRST_WAIT / 2);
        let due = now + FIRST_WAIT;
        assert_eq!(queue.at(), Some(due), "an attempt in between moves nothing");
        assert_eq!(queue.take_due(due), [Task::Inspect, Task::Follow]);
        queue.failed(Task::Inspect, due);
        queue.failed(Task::Follow, due);
        assert_eq!(queue.at(), Some(due + FIRST_WAIT * 2), "one step a round");
        queue.succeeded(Task::Inspect);
        assert_eq!(queue.take_due(due + FIRST_WAIT * 2), [Task::Follow]);
    }
}
