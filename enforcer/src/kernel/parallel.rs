//! Calls from two threads.

use std::{
    iter, panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// The number of threads, with the caller's.
///
/// The kernel attaches one program at a time: tcx waits for readers (`tcx_entry_sync` in
/// kernel/bpf/tcx.c) under the lock of all interfaces. A second thread that waits for the lock is
/// ready when the first thread gives the lock up, and pins meanwhile; a third thread gains nothing.
const THREADS: usize = 2;

/// Returns the results of a call for each item, in the order of the items. The order of the calls
/// is open.
pub(super) fn map<T: Sync, R: Send>(items: &[T], call: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || -> Vec<(usize, R)> {
        let calls = iter::from_fn(|| {
            let index = next.fetch_add(1, Ordering::Relaxed);
            Some((index, call(items.get(index)?)))
        });
        calls.collect()
    };
    let mut results = thread::scope(|scope| {
        // Without a second thread, the caller makes every call.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..THREADS).filter_map(start).collect();
        let mut results = work();
        for other in others {
            match other.join() {
                Ok(more) => results.extend(more),
                Err(payload) => panic::resume_unwind(payload),
            }
        }
        results
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Barrier, sync::Mutex, thread};

    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        let doubled: Vec<u32> = items.iter().map(|item| item * 2).collect();
        assert_eq!(map(&items, |item| item * 2), doubled);
        assert_eq!(map(&items[..1], |item| item * 2), [0]);
        assert!(map(&[], |item: &u32| *item).is_empty());
    }

    #[test]
    fn two_calls_are_made_at_the_same_time() {
        let meeting = Barrier::new(THREADS);
        let threads = Mutex::new(BTreeSet::new());
        map(&[(); THREADS], |()| {
            // A single thread would wait here for ever.
            meeting.wait();
            let id = format!("{:?}", thread::current().id());
            threads.lock().unwrap().insert(id);
        });
        assert_eq!(threads.into_inner().unwrap().len(), THREADS);
    }

    #[test]
    #[should_panic(expected = "on purpose")]
    fn a_panic_of_a_call_is_the_callers() {
        map(&[0, 1, 2, 3], |item| assert!(*item != 3, "on purpose"));
    }
}
