//! Guests side by side, one for each processor.

use std::{io::Write as _, sync::Mutex, thread};

use crate::{interrupt, summary::Summary};

/// Returns the number of guests at a time: one for each processor. With more guests, a starving
/// guest would miss the deadlines of its scenarios.
pub(super) fn size() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs each guest once and sums the results. The second argument of `run` tells whether other
/// guests run at the same time. After Ctrl-C no further guest starts.
pub(super) fn run<G: Sync>(guests: &[G], run: impl Fn(&G, bool) -> Summary + Sync) -> Summary {
    let size = size().min(guests.len());
    let waiting = Mutex::new(guests.iter());
    let sum = Mutex::new(Summary::default());
    let work = || {
        loop {
            let next = waiting.lock().ok().and_then(|mut guests| guests.next());
            let Some(guest) = next.filter(|_| !interrupt::seen()) else {
                break;
            };
            let result = run(guest, size > 1);
            if let Ok(mut sum) = sum.lock() {
                *sum += result;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..size {
            scope.spawn(work);
        }
    });
    sum.into_inner().unwrap_or_default()
}

/// Prints a line in one piece. Without a reader, the guests still end in good order.
pub(super) fn print(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

/// Prints a guest's line, after the guest's name where other guests run at the same time.
pub(super) fn print_as(name: &str, side_by_side: bool, line: &str) {
    match side_by_side {
        true => print(&format!("{name:>10} | {line}")),
        false => print(line),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_has_one_turn_and_all_are_summed() {
        let turns: Vec<AtomicUsize> = (0..9).map(|_| AtomicUsize::new(0)).collect();
        let sum = run(&turns, |turn, _| {
            turn.fetch_add(1, Ordering::Relaxed);
            Summary {
                passed: 2,
                failed: 1,
            }
        });
        assert!(turns.iter().all(|turn| turn.load(Ordering::Relaxed) == 1));
        assert_eq!(
            sum,
            Summary {
                passed: 18,
                failed: 9
            }
        );
    }

    #[test]
    fn no_guests_are_no_results() {
        let none: [(); 0] = [];
        assert_eq!(run(&none, |(), _| unreachable!()), Summary::default());
    }
}
