//! The cells of the fault matrix of `up`: an obstacle, and the demands with and without pins.

use anyhow::Result;

use super::super::cell::{Obstacle, State};
use super::attempt::{Attempt, Placed};
use crate::lab::Feature;

/// The pins before the `up` under trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pins {
    /// None: the first `up`.
    None,
    /// Those of an earlier `up`, in force.
    InForce,
}

impl Pins {
    /// Both, in the order of the table.
    pub const ALL: [Self; 2] = [Self::None, Self::InForce];

    /// The word in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::InForce => "in force",
        }
    }

    /// The last part of the scenario's name.
    pub const fn part(self) -> &'static str {
        match self {
            Self::None => "first",
            Self::InForce => "over_pins",
        }
    }
}

/// The state after `up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Guards hold, with the policy of the registry.
    Guards,
    /// Nothing has changed: no pin is left behind, or the pinned policy is in force as before.
    Nothing,
}

impl After {
    /// The words in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guards => "guards",
            Self::Nothing => "nothing changed",
        }
    }
}

/// The demands on an `up`.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// The exit code.
    pub code: i32,
    /// One of these stands in a line of the output; none for an `up` with nothing to say.
    pub says: &'static [&'static str],
    /// The state afterwards.
    pub after: After,
}

/// The demand on an `up` that puts the policy in force.
pub const fn guards(code: i32, says: &'static [&'static str]) -> Demand {
    Demand {
        code,
        says,
        after: After::Guards,
    }
}

/// The demand on an `up` that fails and changes nothing.
pub const fn refusal(code: i32, says: &'static [&'static str]) -> Demand {
    Demand {
        code,
        says,
        after: After::Nothing,
    }
}

/// A cell.
#[derive(Clone, Copy, Debug)]
pub struct UpCell {
    /// The obstacle.
    pub obstacle: Obstacle,
    /// Its state.
    pub state: State,
    /// The part of the scenario's name behind `obstacles::up::`.
    pub name: &'static str,
    /// The manner in which the obstacle is made.
    pub made: &'static str,
    /// The feature of the kernel by which the obstacle is made, if not every kernel has it.
    pub needs: Option<Feature>,
    /// Makes the obstacle.
    pub place: fn(&Attempt<'_>) -> Result<Placed>,
    /// The demand on a first `up`, or the reason for no trial.
    pub first: Result<Demand, &'static str>,
    /// The demand on an `up` over pins, or the reason for no trial.
    pub over_pins: Result<Demand, &'static str>,
}

impl UpCell {
    /// The demand with these pins, or the reason for no trial.
    pub const fn demand(&self, pins: Pins) -> Result<Demand, &'static str> {
        match pins {
            Pins::None => self.first,
            Pins::InForce => self.over_pins,
        }
    }

    /// The name of the scenario with these pins, behind `obstacles::`.
    pub fn name(&self, pins: Pins) -> String {
        format!("up::{}::{}", self.name, pins.part())
    }
}
