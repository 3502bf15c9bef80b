//! A watcher that may fail: looks at intervals take its place until the watcher works again.

use std::time::Duration;

use anyhow::{Error, Result};
use tokio::time::{Instant, sleep_until};

/// The time between two looks without a watcher.
const LOOK: Duration = Duration::from_secs(5);

/// A watcher of one kind of change.
pub trait Watch: Sized {
    /// Waits for a change. A cancelled call loses none.
    ///
    /// # Errors
    /// The kernel's refusal.
    fn changed(&mut self) -> impl Future<Output = Result<()>>;
}

/// A watcher, or looks at intervals.
pub struct Steady<W> {
    open: Box<dyn Fn() -> Result<W>>,
    watcher: Option<W>,
    /// The reason for looks, not told yet.
    failure: Option<Error>,
    next_look: Instant,
}

impl<W: Watch> Steady<W> {
    /// Opens a watcher.
    pub fn new(open: impl Fn() -> Result<W> + 'static) -> Self {
        let (watcher, failure) = match open() {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            open: Box::new(open),
            watcher,
            failure,
            next_look: Instant::now() + LOOK,
        }
    }

    /// Returns the working watcher.
    pub fn watcher(&mut self) -> Option<&mut W> {
        self.watcher.as_mut()
    }

    /// Waits for a change, or for the time of a look. The error tells once that the watcher fails,
    /// and counts as a change. A cancelled call loses neither.
    pub async fn changed(&mut self) -> Option<Error> {
        if let Some(error) = self.failure.take() {
            return Some(error);
        }
        if let Some(watcher) = &mut self.watcher {
            let Err(error) = watcher.changed().await else {
                return None;
            };
            self.watcher = None;
            self.next_look = Instant::now() + LOOK;
            return Some(error);
        }
        sleep_until(self.next_look).await;
        self.next_look = Instant::now() + LOOK;
        // A change before the watcher works again is found by this look.
        self.watcher = (self.open)().ok();
        None
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use anyhow::anyhow;
    use tokio::time::advance;

    use super::*;

    /// A watcher that works, fails, or cannot be opened.
    struct Fake(Rc<Cell<bool>>);

    impl Watch for Fake {
        async fn changed(&mut self) -> Result<()> {
            match self.0.get() {
                true => Ok(()),
                false => Err(anyhow!("out of order")),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn looks_take_the_place_of_a_watcher_that_fails() {
        let works = Rc::new(Cell::new(true));
        let state = Rc::clone(&works);
        let mut steady = Steady::new(move || match state.get() {
            true => Ok(Fake(Rc::clone(&state))),
            false => Err(anyhow!("no watcher")),
        });
        assert!(steady.changed().await.is_none());
        works.set(false);
        let told = steady.changed().await.map(|error| error.to_string());
        assert_eq!(told.as_deref(), Some("out of order"));
        for _ in 0..2 {
            let begin = Instant::now();
            assert!(steady.changed().await.is_none(), "told once");
            assert_eq!(begin.elapsed(), LOOK);
        }
        works.set(true);
        steady.changed().await;
        assert!(steady.watcher().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_waits_do_not_put_a_look_off() {
        let mut steady = Steady::<Fake>::new(|| Err(anyhow!("no watcher")));
        assert!(steady.changed().await.is_some(), "the failure to open");
        for _ in 0..4 {
            let wait = tokio::time::timeout(Duration::from_secs(1), steady.changed());
            assert!(wait.await.is_err());
        }
        advance(Duration::from_secs(1)).await;
        let wait = tokio::time::timeout(Duration::from_millis(1), steady.changed());
        assert!(wait.await.is_ok());
    }
}
