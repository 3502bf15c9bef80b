//! The tasks that wait, taken in turns.

use std::collections::BTreeSet;

use super::Task;

/// The tasks that wait, and the tasks of this round.
///
/// Tasks are taken in their order, each once a round. A task that was added again after its turn
/// waits for the next round, so that events without end for one task hold up no other task.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    waiting: BTreeSet<Task>,
    /// The tasks that had their turn in this round.
    taken: BTreeSet<Task>,
}

impl Tasks {
    /// Adds a task.
    pub(super) fn add(&mut self, task: Task) {
        self.waiting.insert(task);
    }

    /// Adds a task that needs another one before it. The first addition gives the other task a turn
    /// in this round again; a further one does not, because the waiting task has its look ahead
    /// already.
    pub(super) fn add_after(&mut self, first: Task, task: Task) {
        self.waiting.insert(first);
        if self.waiting.insert(task) {
            self.taken.remove(&first);
        }
    }

    /// Gives a task its turn of this round back.
    pub(super) fn give_back(&mut self, task: Task) {
        self.taken.remove(&task);
    }

    /// Removes a task. Returns whether the task waited.
    pub(super) fn remove(&mut self, task: Task) -> bool {
        self.waiting.remove(&task)
    }

    /// Whether a task waits.
    pub(super) fn contains(&self, task: Task) -> bool {
        self.waiting.contains(&task)
    }

    /// Whether no task waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether every waiting task had its turn in this round; also if no task waits.
    pub(super) fn is_round_over(&self) -> bool {
        self.waiting.is_subset(&self.taken)
    }

    /// Takes the next task, from a new round if this one is over.
    pub(super) fn take(&mut self) -> Option<Task> {
        if self.is_round_over() {
            self.taken.clear();
        }
        let task = self.waiting.difference(&self.taken).next().copied()?;
        self.waiting.remove(&task);
        self.taken.insert(task);
        Some(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tasks: &[Task]) -> Tasks {
        let mut waiting = Tasks::default();
        tasks.iter().for_each(|task| waiting.add(*task));
        waiting
    }

    #[test]
    fn tasks_are_taken_in_their_order() {
        let mut tasks = with(&[Task::Follow, Task::Edit, Task::RollBack, Task::Inspect]);
        for task in [Task::RollBack, Task::Inspect, Task::Edit, Task::Follow] {
            assert_eq!(tasks.take(), Some(task));
        }
        assert_eq!(tasks.take(), None);
    }

    #[test]
    fn a_task_that_comes_again_and_again_holds_up_no_other_task() {
        for noisy in [Task::RollBack, Task::Inspect, Task::Edit, Task::Follow] {
            let mut tasks = with(&[Task::RollBack, Task::Inspect, Task::Edit, Task::Follow]);
            let mut seen = BTreeSet::new();
            for _ in 0..4 {
                seen.extend(tasks.take());
                tasks.add(noisy);
            }
            assert_eq!(seen.len(), 4, "{noisy:?}: {seen:?}");
            assert!(tasks.is_round_over());
            assert_eq!(tasks.take(), Some(noisy), "alone, in a new round");
        }
    }

    #[test]
    fn a_task_that_needs_another_before_it_gets_it_once() {
        let mut tasks = with(&[Task::Inspect, Task::Follow]);
        assert_eq!(tasks.take(), Some(Task::Inspect));
        tasks.add_after(Task::Inspect, Task::Edit);
        assert_eq!(tasks.take(), Some(Task::Inspect), "before the edit");
        tasks.add_after(Task::Inspect, Task::Edit);
        assert_eq!(tasks.take(), Some(Task::Edit));
        tasks.add_after(Task::Inspect, Task::Edit);
        assert_eq!(tasks.take(), Some(Task::Inspect));
        tasks.add_after(Task::Inspect, Task::Edit);
        assert_eq!(tasks.take(), Some(Task::Follow), "the turn of the last one");
        assert_eq!(tasks.take(), Some(Task::Inspect));
        assert_eq!(tasks.take(), Some(Task::Edit));
    }
}
