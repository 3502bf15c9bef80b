//! The policy follows the host, and the registry's files.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    super::{failure::note, output, policy},
    manager,
};
use crate::{
    control::{self, Consent, Followed, Keys, Place, Refused, Replaced, TakenBack, Terms},
    kernel::sys,
    registry::{DEFAULT_PATH, Loaded, Provenance, Source, load, render},
    watch::{Files, Links, Pins, Settings},
};

/// How often WireGuard is asked, which tells nobody of a change. Only while there is a peer by key
/// and its interface.
const ASK: Duration = Duration::from_secs(1);
/// When to try again what failed, to begin with; twice as long after each time.
const RETRY: Duration = Duration::from_secs(1);
/// The longest wait before another try.
const MOST: Duration = Duration::from_secs(60);

/// What woke the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// The host may be another than before, or it is time to try again.
    Host,
    /// So may the registry's files.
    Files,
    /// A command may have been at work on the pins.
    Pins,
    /// It is time to ask WireGuard.
    Ask,
    /// What is on trial is over.
    Trial,
}

/// What there is to do after the keeper was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing more.
    On,
    /// Others must open the pins again: `up` has put new ones in their place.
    Replaced,
    /// Nothing is pinned any more.
    Gone,
}

/// Watches, and keeps the policy right.
pub(super) struct Keeper<'a> {
    place: &'a Place,
    /// The registry's own file; another command may have put another one in force.
    main: PathBuf,
    /// How edits of the registry are put in force.
    terms: Terms,
    links: Links,
    files: Files,
    settings: Settings,
    pins: Pins,
    /// The registry in force, if it is known.
    loaded: Option<Loaded>,
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
    /// What failed: when to try it again, and how long that was waited for.
    retry: Option<(Instant, Duration, Woken)>,
    /// The host is to be looked at once more.
    again: bool,
}

impl<'a> Keeper<'a> {
    /// Begins to watch: before the registry is read for the first time, so that no change after
    /// that is missed. `main` is the registry's file.
    pub(super) fn watch(place: &'a Place, main: PathBuf, consent: Consent) -> Result<Self> {
        Ok(Self {
            place,
            terms: Terms {
                confirm: None,
                consent,
            },
            links: Links::open()?,
            files: Files::watch(&main)?,
            main,
            settings: Settings::watch()?,
            pins: Pins::watch(place.pin_dir())?,
            loaded: None,
            generation: 0,
            inode: None,
            keys: Keys::default(),
            ask: Instant::now(),
            said: BTreeSet::new(),
            bad: None,
            trial: None,
            late: false,
            retry: None,
            again: false,
        })
    }

    /// Takes over what was put in force.
    pub(super) fn begin(&mut self, loaded: Option<Loaded>) -> Result<()> {
        self.loaded = loaded;
        self.generation = self.place.generation()?;
        self.inode = self.inode_now();
        self.trial = self.on_trial()?;
        if self.trial.is_some() && self.loaded.is_none() {
            self.adopt()?;
        }
        Ok(())
    }

    /// When what is on trial is taken back, if anything is.
    fn on_trial(&self) -> Result<Option<Instant>> {
        let trial = control::trial(self.place)?;
        Ok(trial.map(|trial| Instant::now() + trial.left))
    }

    fn inode_now(&self) -> Option<u64> {
        fs::metadata(self.place.pin_dir())
            .ok()
            .map(|pins| pins.ino())
    }

    /// The generation that is in force, as far as this process knows.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Sleeps until there is something to look at. Cancelling it loses nothing.
    pub(super) async fn woken(&mut self) -> Result<Woken> {
        if std::mem::take(&mut self.again) {
            return Ok(Woken::Host);
        }
        let asks = (!self.keys.is_empty()).then_some(self.ask);
        let retries = self.retry.map(|(at, _, _)| at);
        let failed = self.retry.map_or(Woken::Host, |(_, _, failed)| failed);
        tokio::select! {
            changed = self.links.changed() => changed.map(|()| Woken::Host),
            changed = self.settings.changed() => changed.map(|()| Woken::Host),
            changed = self.files.changed() => changed.map(|()| Woken::Files),
            changed = self.pins.changed() => changed.map(|()| Woken::Pins),
            () = until(asks) => Ok(Woken::Ask),
            () = until(retries) => Ok(failed),
            () = until(self.trial) => Ok(Woken::Trial),
        }
    }

    /// Looks, and does what is to be done. What fails is said and tried again.
    pub(super) async fn look(&mut self, woken: Woken) -> Kept {
        let looked = match woken {
            Woken::Host => self.catch_up().await,
            Woken::Files => self.edited().await,
            Woken::Pins => self.commanded().await,
            Woken::Trial => self.roll_back().await,
            Woken::Ask => {
                self.ask = Instant::now() + ASK;
                match self.keys.changed().await {
                    true => self.follow().await,
                    false => return Kept::On,
                }
            }
        };
        // A batch of news may have taken a hundred lists of interfaces; the sleep may be long.
        if woken != Woken::Pins {
            sys::give_memory_back();
        }
        match looked {
            Ok(kept) => {
                // What failed is still to be done, unless it was this, or this did it as well.
                self.retry = self
                    .retry
                    .filter(|(_, _, failed)| *failed == Woken::Files && woken != Woken::Files);
                kept
            }
            Err(error) => {
                let wait = self
                    .retry
                    .map_or(RETRY, |(_, wait, _)| (wait * 2).min(MOST));
                if self.retry.is_none() {
                    note(&format!(
                        "the policy in force stays as it is, and another try follows: {error:#}"
                    ));
                }
                // An edit that comes into force looks at the host as well.
                let failed = match self.retry {
                    Some((_, _, Woken::Files)) => Woken::Files,
                    _ => woken,
                };
                self.retry = Some((Instant::now() + wait, wait, failed));
                Kept::On
            }
        }
    }

    /// Does what had to wait, and brings guards and policy up to the host.
    async fn catch_up(&mut self) -> Result<Kept> {
        if self.late && self.on_trial()?.is_none() {
            self.late = false;
            if self.edited().await? == Kept::Gone {
                return Ok(Kept::Gone);
            }
        }
        self.follow().await
    }

    /// Takes back what is on trial, if that is still so.
    async fn roll_back(&mut self) -> Result<Kept> {
        // Not again at once if it fails.
        self.trial = None;
        if let Some(back) = control::roll_back_if_due(self.place).await? {
            note(&back.words());
            self.say(back.notes);
        }
        self.commanded().await
    }

    /// Brings guards and policy up to the host.
    async fn follow(&mut self) -> Result<Kept> {
        self.settings.again();
        let look = control::follow(self.place, self.loaded.as_ref(), self.generation).await?;
        self.keys = look.keys;
        self.say(look.notes);
        match look.followed {
            Followed::Unchanged => Ok(Kept::On),
            Followed::Switched(generation) => {
                self.switched(generation, "the host has changed");
                Ok(Kept::On)
            }
            Followed::Foreign => self.commanded().await,
            Followed::Gone => Ok(Kept::Gone),
        }
    }

    /// Says what was not said the last time.
    fn say(&mut self, notes: Vec<String>) {
        let notes: BTreeSet<String> = notes.into_iter().collect();
        notes.difference(&self.said).for_each(|text| note(text));
        self.said = notes;
    }

    fn switched(&mut self, generation: u32, why: &str) {
        self.generation = generation;
        // Nobody need read this, and the policy is in force.
        output::print(&format!("generation {generation} is in force: {why}")).ok();
        manager::tell(generation);
    }

    /// Reads the registry again, and puts it in force if it is good and another one.
    async fn edited(&mut self) -> Result<Kept> {
        if self.on_trial()?.is_some() {
            self.late = true;
            return Ok(Kept::On);
        }
        // What was tried as another file is moved into place.
        if self.files.main() != self.main && !self.files.main().exists() {
            self.files = Files::watch(&self.main)?;
        }
        let embedded = self.place.is_embedded()?;
        let loaded = match load(&source(self.files.main(), embedded)) {
            Ok(loaded) => loaded,
            Err(rejected) => {
                let text = render(&rejected.errors, true);
                if self.bad.as_ref() != Some(&text) {
                    anstream::eprintln!("{}", text.trim_end());
                    note("the registry is bad: what is in force stays");
                    self.bad = Some(text);
                }
                return Ok(Kept::On);
            }
        };
        self.bad = None;
        if self.provenance() == Some(&loaded.provenance) {
            return Ok(Kept::On);
        }
        policy::warn(&loaded, &control::survey().await?)?;
        let replaced = control::replace(self.place, &loaded, self.terms, self.generation).await;
        let reloaded = match replaced {
            Ok(Replaced::By(reloaded)) => reloaded,
            // Somebody's `reload` was faster: its reading of the files may be newer than this one.
            Ok(Replaced::Foreign) => {
                self.files.touch();
                return self.commanded().await;
            }
            Ok(Replaced::Gone) => return Ok(Kept::Gone),
            // No fault that time would mend: once the session is gone that it would have cut,
            // nobody could come back. It waits for the next edit, or for a command.
            Err(why) if why.is::<Refused>() || why.is::<TakenBack>() => {
                note(&format!("what is in force stays: {why}"));
                return Ok(Kept::On);
            }
            Err(why) => return Err(why),
        };
        self.switched(reloaded.generation, &policy::summary(&loaded));
        self.say(reloaded.notes);
        self.loaded = Some(loaded);
        // What `reload` found out about keys is not handed on; asking again is cheap.
        self.follow_again();
        Ok(Kept::On)
    }

    fn provenance(&self) -> Option<&Provenance> {
        self.loaded.as_ref().map(|loaded| &loaded.provenance)
    }

    /// Has the host looked at again soon.
    fn follow_again(&mut self) {
        self.again = true;
    }

    /// Finds out what another command did.
    async fn commanded(&mut self) -> Result<Kept> {
        let generation = match self.place.is_pinned()? {
            true => self.place.generation()?,
            false => 0,
        };
        if generation == 0 {
            return Ok(Kept::Gone);
        }
        let inode = self.inode_now();
        let replaced = inode != self.inode;
        let trial = self.on_trial()?;
        if std::mem::replace(&mut self.trial, trial).is_some() && trial.is_none() {
            // What changed in the meantime had to wait.
            self.follow_again();
        }
        if generation == self.generation && !replaced {
            return Ok(Kept::On);
        }
        (self.inode, self.generation) = (inode, generation);
        self.adopt()?;
        manager::tell(generation);
        self.follow_again();
        Ok(if replaced { Kept::Replaced } else { Kept::On })
    }

    /// Finds the registry that another command put in force.
    fn adopt(&mut self) -> Result<()> {
        let Some(provenance) = self.place.provenance()? else {
            return Ok(());
        };
        if self.provenance() == Some(&provenance) {
            return Ok(());
        }
        // Before it is read; and what is known of the same files is not forgotten: they may have been
        // edited since.
        if let Some(path) = provenance.path.as_deref()
            && path != self.files.main()
        {
            self.files = Files::watch(path).context("failed to watch the registry in force")?;
        }
        let found = match &provenance.path {
            Some(path) => load(&source(path, false)),
            None => load(&Source::Embedded),
        };
        self.loaded = found.ok().filter(|found| found.provenance == provenance);
        if self.loaded.is_none() && !self.files.is_pending() {
            let name = match &provenance.path {
                Some(path) => path.display().to_string(),
                None => "a built-in registry of another version".to_owned(),
            };
            note(&format!(
                "another command put {name} in force, which cannot be read as it was: new \
                 interfaces get their guards, and peers are not followed until the next reload"
            ));
        }
        Ok(())
    }
}

/// The registry of a main file.
fn source(main: &std::path::Path, embedded: bool) -> Source {
    if main == std::path::Path::new(DEFAULT_PATH) {
        return Source::Default {
            path: main.to_owned(),
            embedded,
        };
    }
    Source::Named(main.to_owned())
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
