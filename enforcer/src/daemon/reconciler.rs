//! The policy follows the host, and the registry's files.

mod registry_edits;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::time::timeout;

use super::{retry::RetryQueue, sd_notify, startup::Begun};
use crate::{
    commands::output,
    control::{self, Consent, Followed, Instance, Terms},
    daemon::note,
    host::Keys,
    kernel::sys,
    registry::Loaded,
    watch::{Files, Links, Modules, Pins, Settings},
};

/// How often WireGuard is asked, which tells nobody of a change. Only while there is a peer by key
/// and its interface.
const ASK: Duration = Duration::from_secs(1);
/// How long an answer is waited for while other things happen.
const BRIEFLY: Duration = Duration::from_millis(100);

/// What woke the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trigger {
    /// What is on trial is over.
    Trial,
    /// A command may have been at work on the pins.
    Pins,
    /// The registry's files may be others than before.
    Files,
    /// So may the host, or WireGuard says something else.
    Host,
}

/// What there is to do after the keeper was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing more.
    On,
    /// Others must open the pins again: `up` has put new ones in their place.
    Replaced,
    /// Nothing is pinned any more.
    Gone,
}

/// Watches, and keeps the policy right.
pub(crate) struct Reconciler<'a> {
    instance: &'a Instance,
    /// The registry's own file; another command may have put another one in force.
    main: PathBuf,
    /// How edits of the registry are put in force.
    terms: Terms,
    links: Links,
    modules: Modules,
    files: Files,
    settings: Settings,
    pins: Pins,
    /// The registry in force, if it is known: that of `generation`.
    loaded: Option<Loaded>,
    /// It is still to be found which one it is.
    lost: bool,
    /// The generation that this process knows.
    generation: u32,
    /// The inode of the pin directory.
    inode: Option<u64>,
    keys: Keys,
    /// When WireGuard is asked next.
    ask: Instant,
    /// What was said and still holds: it is not said again.
    said: BTreeSet<String>,
    /// The errors of the files, if they were bad.
    bad: Option<String>,
    /// When what is on trial is taken back.
    trial: Option<Instant>,
    /// The registry's files changed while something was on trial.
    late: bool,
    /// What failed, and is tried again.
    undone: RetryQueue,
    /// The host is to be looked at once more.
    again: bool,
}

impl<'a> Reconciler<'a> {
    /// Begins to watch: before the registry is read for the first time, so that no change after
    /// that is missed. `main` is the registry's file.
    pub(crate) fn watch(instance: &'a Instance, main: PathBuf, consent: Consent) -> Result<Self> {
        Ok(Self {
            instance,
            terms: Terms {
                confirm: None,
                consent,
            },
            links: Links::open()?,
            modules: Modules::open()?,
            files: Files::watch(&main)?,
            main,
            settings: Settings::watch()?,
            pins: Pins::watch(instance.pin_dir())?,
            loaded: None,
            lost: false,
            generation: 0,
            inode: None,
            keys: Keys::default(),
            ask: Instant::now(),
            said: BTreeSet::new(),
            bad: None,
            trial: None,
            late: false,
            undone: RetryQueue::default(),
            again: false,
        })
    }

    /// Takes over what was put in force.
    pub(crate) fn begin(&mut self, begun: Begun) -> Result<()> {
        self.loaded = begun.loaded;
        // In this order: if a command comes in between, the registry is that of a generation which
        // nobody here takes for the one in force.
        self.generation = self.instance.generation()?;
        self.inode = self.inode_now();
        self.trial = self.on_trial()?;
        if begun.failed {
            self.files.touch();
        }
        if let Err(error) = self.adopt() {
            self.failed(Trigger::Pins, &error);
        }
        Ok(())
    }

    /// When what is on trial is taken back, if anything is.
    fn on_trial(&self) -> Result<Option<Instant>> {
        let trial = control::pending(self.instance)?;
        Ok(trial.map(|trial| Instant::now() + trial.left))
    }

    fn inode_now(&self) -> Option<u64> {
        fs::metadata(self.instance.pin_dir())
            .ok()
            .map(|pins| pins.ino())
    }

    /// The generation that is in force, as far as this process knows.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Sleeps until there is something to look at. Cancelling it loses nothing.
    pub(crate) async fn woken(&mut self) -> Result<Trigger> {
        if std::mem::take(&mut self.again) {
            return Ok(Trigger::Host);
        }
        loop {
            let asks = (!self.keys.is_empty()).then_some(self.ask);
            // A device may be slow to answer, so whatever else happens comes first; but not for
            // ever, where it happens without end.
            if asks.is_some_and(|asks| asks.elapsed() > ASK) {
                self.ask = Instant::now();
                let answered = timeout(BRIEFLY, self.keys.changed()).await;
                if let Ok(Some(keys)) = answered {
                    self.keys = keys;
                    return Ok(Trigger::Host);
                }
            }
            let keys = &self.keys;
            let asked = async move {
                until(asks).await;
                keys.changed().await
            };
            tokio::select! {
                changed = self.links.changed() => return changed.map(|()| Trigger::Host),
                changed = self.modules.changed() => return changed.map(|()| Trigger::Host),
                changed = self.settings.changed() => return changed.map(|()| Trigger::Host),
                changed = self.files.changed() => return changed.map(|()| Trigger::Files),
                changed = self.pins.changed() => return changed.map(|()| Trigger::Pins),
                () = until(self.trial) => return Ok(Trigger::Trial),
                () = until(self.undone.at()) => return Ok(self.undone.first()),
                changed = asked => {
                    self.ask = Instant::now() + ASK;
                    if let Some(keys) = changed {
                        self.keys = keys;
                        return Ok(Trigger::Host);
                    }
                }
            }
        }
    }

    /// Looks, and does what is to be done. What fails is said and tried again.
    pub(crate) async fn look(&mut self, woken: Trigger) -> Next {
        let looked = match woken {
            Trigger::Host => self.catch_up().await,
            Trigger::Files => self.edited().await,
            Trigger::Pins => self.commanded().await,
            Trigger::Trial => self.roll_back().await,
        };
        // A batch of news may have taken a hundred lists of interfaces; the sleep may be long.
        if woken != Trigger::Pins {
            sys::trim_heap();
        }
        match looked {
            Ok(kept) => {
                self.undone.done(woken);
                kept
            }
            Err(error) => {
                self.failed(woken, &error);
                Next::On
            }
        }
    }

    fn failed(&mut self, woken: Trigger, error: &anyhow::Error) {
        if self.undone.failed(woken) {
            note(&format!(
                "the policy in force stays as it is, and another try follows: {error:#}"
            ));
        }
    }

    /// Does what had to wait, and brings guards and policy up to the host.
    async fn catch_up(&mut self) -> Result<Next> {
        if self.late && self.on_trial()?.is_none() {
            self.late = false;
            if self.edited().await? == Next::Gone {
                return Ok(Next::Gone);
            }
        }
        let kept = self.follow().await?;
        match self.lost && kept == Next::On {
            true => self.commanded().await,
            false => Ok(kept),
        }
    }

    /// Takes back what is on trial, if that is still so.
    async fn roll_back(&mut self) -> Result<Next> {
        // Not again at once if it fails.
        self.trial = None;
        if let Some(back) = control::roll_back_if_due(self.instance).await? {
            self.say(back.into_notes());
        }
        self.commanded().await
    }

    /// Brings guards and policy up to the host.
    async fn follow(&mut self) -> Result<Next> {
        self.settings.again();
        let (instance, loaded) = (self.instance, self.loaded.as_ref());
        let look = control::follow(instance, loaded, self.generation, &self.keys).await?;
        if let Some(keys) = look.keys {
            self.keys = keys;
        }
        if self.keys.is_incomplete() {
            self.ask = Instant::now();
        }
        self.say(look.notes);
        match look.followed {
            Followed::Unchanged => Ok(Next::On),
            Followed::Switched(generation) => {
                self.switched(generation, "the host has changed");
                Ok(Next::On)
            }
            Followed::Foreign => self.commanded().await,
            Followed::Gone => Ok(Next::Gone),
        }
    }

    /// Says what was not said the last time.
    fn say(&mut self, notes: Vec<crate::note::Note>) {
        let notes: BTreeSet<String> = notes.into_iter().map(|it| it.text).collect();
        notes.difference(&self.said).for_each(|text| note(text));
        self.said = notes;
    }

    fn switched(&mut self, generation: u32, why: &str) {
        self.generation = generation;
        // Nobody need read this, and the policy is in force.
        output::print(&format!("generation {generation} is in force: {why}")).ok();
        sd_notify::tell(generation);
    }

    /// Has the host looked at again soon.
    fn follow_again(&mut self) {
        self.again = true;
    }

    /// Finds out what another command did.
    async fn commanded(&mut self) -> Result<Next> {
        let generation = match self.instance.is_pinned()? {
            true => self.instance.generation()?,
            false => 0,
        };
        if generation == 0 {
            return Ok(Next::Gone);
        }
        let inode = self.inode_now();
        let replaced = inode != self.inode;
        let trial = self.on_trial()?;
        if std::mem::replace(&mut self.trial, trial).is_some() && trial.is_none() {
            // What changed in the meantime had to wait.
            self.follow_again();
        }
        if generation == self.generation && !replaced && !self.lost {
            return Ok(Next::On);
        }
        (self.inode, self.generation) = (inode, generation);
        // Whoever that was has asked WireGuard later than we have.
        self.keys = Keys::default();
        self.adopt()?;
        sd_notify::tell(generation);
        self.follow_again();
        Ok(if replaced { Next::Replaced } else { Next::On })
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
