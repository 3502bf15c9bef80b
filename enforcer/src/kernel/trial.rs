//! A policy on trial: in force until a deadline, unless somebody confirms it.
//!
//! The idle bank holds the policy before it, whole, as nobody fills a bank while a trial is armed:
//! to take it back is one store. What is stored here is told apart by the generation alone, so
//! that a crash between two stores leaves a trial that is armed, or none.

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::{Context as _, Result, bail};
use enforcer_ebpf::layout::{State, Trial};

use super::{
    array::Mapped,
    maps::{self, Maps, mapped},
    object::misshapen,
    pins::PinDir,
    sys,
};
use crate::{
    failpoint::{self, Call},
    policy::Tables,
    registry::Provenance,
};

/// The flags of [`State`] that belong to a policy and come back with it.
const OF_THE_POLICY: u32 = State::FALLBACK | State::EMBEDDED;

/// How the last trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is none, or it was confirmed.
    None,
    /// The generation in force is on trial for this long; zero once its time is over.
    Armed {
        /// The generation.
        generation: u32,
        /// What is left of its time.
        left: Duration,
    },
    /// The policy before it is in force again, and what goes with it may not be.
    Returning,
    /// It was taken back.
    RolledBack,
}

impl Standing {
    /// What the maps say at a moment, in nanoseconds of CLOCK_BOOTTIME.
    fn of(trial: Trial, generation: u32, now: u64) -> Self {
        match trial.state {
            Trial::ARMED if trial.generation == generation => Self::Armed {
                generation,
                left: Duration::from_nanos(trial.deadline.saturating_sub(now)),
            },
            Trial::ARMED if maps::next(trial.generation) == generation => Self::Returning,
            Trial::ROLLED_BACK => Self::RolledBack,
            // Armed for a generation that never came: its reload was cut short.
            _ => Self::None,
        }
    }
}

/// Reads a trial without opening every map.
pub(crate) struct Peek {
    state: Mapped<State>,
    trial: Mapped<Trial>,
}

impl Peek {
    /// Opens the two maps of a directory; `None` where they are of another layout.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn open(pins: &PinDir) -> Result<Option<Self>> {
        let map = |name| -> Result<_> {
            let pin = pins.map(name);
            if !pin.try_exists()? {
                return Ok(None);
            }
            let map = maps::open(&pin).with_context(|| format!("failed to open the map {name}"))?;
            Ok(misshapen(name, &map)?.is_none().then_some(map))
        };
        let (Some(state), Some(trial)) = (map("STATE")?, map("TRIAL")?) else {
            return Ok(None);
        };
        Ok(Some(Self {
            state: mapped(&state, "STATE", 1)?,
            trial: mapped(&trial, "TRIAL", 1)?,
        }))
    }

    /// How the last trial stands.
    pub(crate) fn standing(&self) -> Standing {
        Standing::of(
            self.trial.get(0),
            self.state.get(0).generation,
            sys::boottime(),
        )
    }

    /// The cookie of the network namespace that the pins guard.
    pub(crate) fn netns_cookie(&self) -> u64 {
        self.state.get(0).netns_cookie
    }
}

impl Maps {
    /// How the last trial stands.
    pub(crate) fn trial(&self) -> Standing {
        Standing::of(self.trial.get(0), self.state().generation, sys::boottime())
    }

    /// As [`Maps::switch_to`], but only for a time: the policy in force until now stays in the
    /// other bank, for [`Maps::roll_back`].
    ///
    /// # Errors
    /// A map refuses an entry, or a trial is armed: nothing has changed.
    pub(crate) fn try_out(&mut self, tables: &Tables, time: Duration) -> Result<u32> {
        let next = self.fill_idle(tables)?;
        let time = u64::try_from(time.as_nanos()).context("a trial is over within centuries")?;
        self.set_trial(Trial::NONE);
        self.trial.set(
            0,
            Trial {
                state: Trial::NONE,
                generation: next,
                deadline: sys::boottime().saturating_add(time),
                digest: tables.provenance.digest,
                flags: self.state().flags,
                zero: 0,
            },
        );
        // Armed before it is in force: whoever ends in between has armed nothing.
        self.set_trial(Trial::ARMED);
        self.switch(next);
        Ok(next)
    }

    /// Puts the policy in force again that was before the trial, with one write.
    ///
    /// What goes with a policy is the caller's to bring back, and then [`Maps::end_trial`].
    ///
    /// # Errors
    /// Nothing is armed.
    pub(crate) fn roll_back(&self) -> Result<u32> {
        let Standing::Armed { generation, .. } = self.trial() else {
            bail!("no policy is on trial");
        };
        let next = maps::next(generation);
        self.switch(next);
        Ok(next)
    }

    /// Brings the flags back that the policy had which a trial gave way to.
    pub(crate) fn restore_flags(&self) {
        let (state, before) = (self.state(), self.trial.get(0).flags);
        let flags = state.flags & !OF_THE_POLICY | before & OF_THE_POLICY;
        self.describe(state.netns_cookie, flags);
    }

    /// Whether this registry was tried last, and taken back.
    pub(crate) fn was_taken_back(&self, registry: &Provenance) -> bool {
        let trial = self.trial.get(0);
        matches!(self.trial(), Standing::RolledBack | Standing::Returning)
            && registry.digest != 0
            && trial.digest == registry.digest
    }

    /// Nothing is on trial from now on: what is in force stays.
    pub(crate) fn end_trial(&self, was_rolled_back: bool) {
        self.set_trial(match was_rolled_back {
            true => Trial::ROLLED_BACK,
            false => Trial::NONE,
        });
    }

    fn set_trial(&self, state: u32) {
        let offset = std::mem::offset_of!(Trial, state);
        self.trial.word(0, offset).store(state, Ordering::SeqCst);
        failpoint::stored(Call::Trial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(state: u32, on_trial: u32, in_force: u32, now: u64) -> Standing {
        let trial = Trial {
            state,
            generation: on_trial,
            deadline: 100,
            ..Trial::default()
        };
        Standing::of(trial, in_force, now)
    }

    #[test]
    fn a_trial_is_of_the_generation_in_force_alone() {
        let armed = |left| Standing::Armed {
            generation: 7,
            left: Duration::from_nanos(left),
        };
        assert_eq!(standing(Trial::ARMED, 7, 7, 40), armed(60));
        assert_eq!(standing(Trial::ARMED, 7, 7, 100), armed(0));
        assert_eq!(standing(Trial::ARMED, 7, 7, 200), armed(0));
        // The reload that armed it ended before it switched.
        assert_eq!(standing(Trial::ARMED, 7, 6, 40), Standing::None);
        // Whoever took it back ended after the switch.
        assert_eq!(standing(Trial::ARMED, 7, 8, 40), Standing::Returning);
        assert_eq!(standing(Trial::ARMED, 7, 9, 40), Standing::None);
        assert_eq!(standing(Trial::NONE, 7, 7, 40), Standing::None);
        assert_eq!(standing(Trial::default().state, 0, 0, 0), Standing::None);
        assert_eq!(
            standing(Trial::ROLLED_BACK, 7, 8, 400),
            Standing::RolledBack
        );
        assert_eq!(
            standing(Trial::ROLLED_BACK, 7, 12, 400),
            Standing::RolledBack
        );
    }
}
