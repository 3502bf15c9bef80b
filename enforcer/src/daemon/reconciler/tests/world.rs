//! The world of the tests: pins, files, a host and WireGuard as plain data.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant},
};

use super::super::{
    FollowOutcome, LoadError, Operation, PinnedState, Rejection, ReplaceOutcome, SharedRegistry,
    Trigger,
};
use crate::{
    host::Keys,
    note::{Note, NoteKind},
    registry::{Diagnostics, Loaded, MissingFile, Provenance, Reader, Source, load},
};

/// The file of `run` itself.
pub(super) const OWN: &str = "/own.toml";
/// The file of another command.
pub(super) const OTHER: &str = "/other.toml";

/// The content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Good(u64),
    Bad(&'static str),
}

/// An operation that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Inspect,
    Watch,
    Replace,
    Follow,
    RollBack,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) is_pinned: bool,
    /// Another program than `down` removed the pins.
    pub(super) is_lost: bool,
    /// Another program detached a guard.
    pub(super) has_lost_guard: bool,
    pub(super) generation: u32,
    pub(super) directory: u64,
    pub(super) in_force: Provenance,
    /// The deadline of the pending policy, and the policy before.
    pub(super) pending: Option<(Instant, Provenance)>,
    /// The pending policy that was rolled back last.
    pub(super) rolled_back: Option<Provenance>,
    pub(super) missing: MissingFile,
    pub(super) files: BTreeMap<PathBuf, Content>,
    /// The files are being written.
    pub(super) is_settling: bool,
    /// The next registry would cut off an operator.
    pub(super) locks_out: bool,
    pub(super) faults: BTreeSet<Fault>,
    /// The host has changed since the policy was made.
    pub(super) has_changed: bool,
    pub(super) keys: Keys,
    /// The notes of every operation.
    pub(super) notes: Vec<Note>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            is_pinned: true,
            is_lost: false,
            has_lost_guard: false,
            generation: 1,
            directory: 70,
            in_force: provenance(OWN, 1),
            pending: None,
            rolled_back: None,
            missing: MissingFile::Fragments,
            files: BTreeMap::from([(OWN.into(), Content::Good(1))]),
            is_settling: false,
            locks_out: false,
            faults: BTreeSet::new(),
            has_changed: false,
            keys: Keys::default(),
            notes: Vec::new(),
        }
    }
}

impl World {
    /// Another command's reload of a file that is good.
    pub(super) fn reload(&mut self, path: &str) {
        let Some(Content::Good(digest)) = self.files.get(Path::new(path)).copied() else {
            panic!("{path} is bad");
        };
        self.switch(provenance(path, digest));
        self.rolled_back = None;
    }

    /// Another command's `reload --confirm`.
    pub(super) fn arm(&mut self, path: &str, deadline: Instant) {
        let before = self.in_force.clone();
        self.reload(path);
        self.pending = Some((deadline, before));
    }

    /// Another command's `confirm`.
    pub(super) fn confirm(&mut self) {
        self.pending = None;
    }

    /// Another command's `up`.
    pub(super) fn up(&mut self, path: &str) {
        self.pending = None;
        self.reload(path);
        self.directory += 1;
    }

    fn switch(&mut self, to: Provenance) {
        self.in_force = to;
        self.generation += 1;
    }

    fn fails(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Rolls the pending policy back, if its deadline has passed.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        let Some((_, before)) = self.pending.take_if(|(deadline, _)| *deadline <= now) else {
            return false;
        };
        self.rolled_back = Some(self.in_force.clone());
        self.switch(before);
        true
    }

    /// Carries out an operation. Returns the result.
    pub(super) fn carry_out(&mut self, operation: &Operation, now: Instant) -> Trigger {
        match operation {
            Operation::InspectPins => Trigger::PinsInspected(match self.fails(Fault::Inspect) {
                true => Err("no pins".to_owned()),
                false => Ok(self.inspect(now)),
            }),
            Operation::Replace {
                registry,
                generation,
            } => Trigger::Replaced(self.replace(registry, *generation, now)),
            Operation::Follow {
                registry,
                generation,
                ..
            } => Trigger::Followed(self.follow(registry.is_some(), *generation, now)),
            Operation::RollBack if self.fails(Fault::RollBack) => {
                Trigger::RolledBack(Err("no rollback".to_owned()))
            }
            Operation::RollBack => {
                let notes = || vec![Note::new(NoteKind::RolledBack, "rolled back")];
                Trigger::RolledBack(Ok((self.is_pinned && self.settle(now)).then(notes)))
            }
        }
    }

    /// Puts lost pins back, as a look does.
    fn inspect(&mut self, now: Instant) -> Option<PinnedState> {
        let mut notes = Vec::new();
        if std::mem::take(&mut self.is_lost) {
            self.is_pinned = true;
            notes.push(Note::new(NoteKind::PinsRestored, "pinned again"));
        }
        self.is_pinned.then(|| PinnedState {
            notes,
            ..self.state(now)
        })
    }

    fn state(&self, now: Instant) -> PinnedState {
        let left = |(deadline, _): &(Instant, _)| deadline.saturating_duration_since(now);
        PinnedState {
            generation: self.generation,
            directory: Some(self.directory),
            pending: self.pending.as_ref().map(left),
            provenance: self.in_force.clone(),
            missing: self.missing,
            has_lost_guard: self.has_lost_guard,
            notes: Vec::new(),
        }
    }

    /// Reads the registry.
    pub(super) fn load(&self, file: &Path, source: &Source) -> Result<SharedRegistry, LoadError> {
        if self.fails(Fault::Watch) {
            return Err(LoadError::Failed("no watch".to_owned()));
        }
        let path = match source {
            Source::Embedded => return Ok(registry(&Provenance::default())),
            Source::Named(path) | Source::Default { path, .. } => path,
        };
        let text = match self.files.get(path) {
            Some(Content::Good(digest)) => {
                let mut of = provenance(OWN, *digest);
                of.path = Some(path.clone());
                return Ok(registry(&of));
            }
            Some(Content::Bad(text)) => (*text).to_owned(),
            None => "missing".to_owned(),
        };
        Err(LoadError::Rejected(Rejection {
            errors: Diagnostics::default(),
            text,
            is_missing: !self.files.contains_key(file),
        }))
    }

    fn replace(&mut self, registry: &SharedRegistry, known: u32, now: Instant) -> ReplaceOutcome {
        if !self.is_pinned {
            return ReplaceOutcome::Gone;
        }
        if known != self.generation {
            return ReplaceOutcome::Foreign;
        }
        self.settle(now);
        if self.fails(Fault::Replace) {
            return ReplaceOutcome::Failed("no reload".to_owned());
        }
        if self.pending.is_some() {
            return ReplaceOutcome::Pending;
        }
        if self.rolled_back.as_ref() == Some(&registry.provenance) {
            return ReplaceOutcome::AlreadyRolledBack("rolled back before".to_owned());
        }
        if self.locks_out {
            return ReplaceOutcome::Refused("locks out".to_owned());
        }
        self.switch(registry.provenance.clone());
        self.rolled_back = None;
        ReplaceOutcome::InForce {
            generation: self.generation,
            notes: self.notes.clone(),
            warnings: Diagnostics::default(),
        }
    }

    fn follow(&mut self, has_registry: bool, known: u32, now: Instant) -> FollowOutcome {
        if !self.is_pinned {
            return FollowOutcome::Gone;
        }
        if known != self.generation {
            return FollowOutcome::Foreign(Vec::new());
        }
        if self.settle(now) {
            return FollowOutcome::Foreign(vec![Note::new(NoteKind::RolledBack, "rolled back")]);
        }
        if self.fails(Fault::Follow) {
            return FollowOutcome::Failed("no netlink".to_owned());
        }
        let mut switched_to = None;
        if has_registry && self.pending.is_none() && std::mem::take(&mut self.has_changed) {
            self.switch(self.in_force.clone());
            switched_to = Some(self.generation);
        }
        FollowOutcome::Done {
            switched_to,
            notes: self.notes.clone(),
            keys: Some(self.keys.clone()),
        }
    }
}

/// A registry of this provenance.
pub(super) fn registry(provenance: &Provenance) -> SharedRegistry {
    static EMBEDDED: LazyLock<Loaded> = LazyLock::new(|| {
        load(&Source::Embedded, &Reader::STRICT).expect("the embedded registry is good")
    });
    Loaded {
        provenance: provenance.clone(),
        ..EMBEDDED.clone()
    }
    .into()
}

pub(super) fn provenance(path: &str, digest: u64) -> Provenance {
    Provenance {
        path: Some(path.into()),
        digest,
        has_main: true,
        fragments: None,
    }
}

/// A provenance in a few words, such as `own:1`.
pub(super) fn name(provenance: &Provenance) -> String {
    match &provenance.path {
        Some(path) => format!("{}:{}", super::short(path), provenance.digest),
        None => "embedded".to_owned(),
    }
}

/// A time after `now`.
pub(super) fn after(now: Instant, seconds: u64) -> Instant {
    now + Duration::from_secs(seconds)
}
