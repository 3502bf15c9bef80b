//! Guests side by side.

use std::{io::Write as _, sync::Mutex, thread};

use crate::{interrupt, summary::Summary};

/// How many guests have their turn at a time: a processor for each. More at once would be done
/// sooner, yet a guest that starves misses the deadlines of its trials.
pub(super) fn size() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Gives each guest its turn, and sums up what they gave. `run` is also told whether others have
/// theirs meanwhile. After Ctrl-C no turn begins.
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

/// Says a line, in one piece. If nobody reads it any more, the guests still end in good order.
pub(super) fn print(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

/// Says a guest's line, after its name where others say theirs meanwhile.
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
