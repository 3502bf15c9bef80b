//! The registry's files, and the registry that is in force.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Next, Reconciler};
use crate::{
    commands::policy,
    control::{self, Replaced},
    daemon::note,
    host::Keys,
    registry::{DEFAULT_PATH, Loaded, MissingFile, Provenance, Source, load, render},
    watch::Files,
};

impl Reconciler<'_> {
    /// Reads the registry again, and puts it in force if it is good and another one.
    pub(crate) async fn edited(&mut self) -> Result<Next> {
        if self.on_trial()?.is_some() {
            self.late = true;
            return Ok(Next::On);
        }
        // What was tried as another file is moved into place.
        if self.files.main() != self.main && !self.files.main().exists() {
            self.files = Files::watch(&self.main)?;
        }
        let absent = self.instance.missing_file()?;
        let loaded = match load(&source(self.files.main(), absent)) {
            Ok(loaded) => loaded,
            Err(rejected) => {
                let text = render(&rejected.errors, true);
                if self.bad.as_ref() != Some(&text) {
                    anstream::eprintln!("{}", text.trim_end());
                    note("the registry is bad: what is in force stays");
                    self.bad = Some(text);
                }
                return Ok(Next::On);
            }
        };
        self.bad = None;
        if self.provenance() == Some(&loaded.provenance) {
            return Ok(Next::On);
        }
        policy::warn(&loaded, &crate::host::snapshot().await?)?;
        let replaced = control::replace(self.instance, &loaded, self.terms, self.generation).await;
        let reloaded = match replaced {
            Ok(Replaced::By(reloaded)) => reloaded,
            // Somebody's `reload` was faster: its reading of the files may be newer than this one.
            Ok(Replaced::Foreign) => {
                self.files.touch();
                return self.commanded().await;
            }
            Ok(Replaced::Gone) => return Ok(Next::Gone),
            // No fault that time would mend: once the session is gone that it would have cut,
            // nobody could come back. It waits for the next edit, or for a command.
            Err(why) if why.is_refusal() => {
                note(&format!("what is in force stays: {why}"));
                return Ok(Next::On);
            }
            Err(why) => return Err(why.into()),
        };
        self.switched(reloaded.generation, &policy::summary(&loaded));
        self.say(reloaded.notes);
        self.loaded = Some(loaded);
        // What was found out about keys is not handed on, and what is known is older: asking again
        // is cheap.
        self.keys = Keys::default();
        self.follow_again();
        Ok(Next::On)
    }

    fn provenance(&self) -> Option<&Provenance> {
        self.loaded.as_ref().map(|loaded| &loaded.provenance)
    }

    /// Finds the registry that is in force, which another command may have put there.
    pub(crate) fn adopt(&mut self) -> Result<()> {
        // Whatever fails below: what is known is not what is in force.
        let known = self.loaded.take();
        self.lost = true;
        let provenance = self.instance.provenance()?;
        let is_it = |loaded: &Loaded| Some(&loaded.provenance) == provenance.as_ref();
        self.loaded = match known.filter(is_it) {
            Some(known) => Some(known),
            None => self.find(provenance.as_ref())?,
        };
        self.lost = false;
        Ok(())
    }

    /// Reads a registry by its provenance, if it is what it was.
    fn find(&mut self, provenance: Option<&Provenance>) -> Result<Option<Loaded>> {
        let Some(provenance) = provenance else {
            return Ok(None);
        };
        // Before it is read; and what is known of the same files is not forgotten: they may have been
        // edited since.
        if let Some(path) = provenance.path.as_deref()
            && path != self.files.main()
        {
            self.files = Files::watch(path).context("failed to watch the registry in force")?;
        }
        let found = match &provenance.path {
            Some(path) => load(&source(path, MissingFile::Fragments)),
            None => load(&Source::Embedded),
        };
        let found = found.ok().filter(|found| found.provenance == *provenance);
        if found.is_none() && !self.files.is_pending() {
            let name = match &provenance.path {
                Some(path) => path.display().to_string(),
                None => "a built-in registry of another version".to_owned(),
            };
            note(&format!(
                "{name} cannot be read as it was when it was put in force: new interfaces get \
                 their guards, and peers are not followed until the next reload"
            ));
        }
        Ok(found)
    }
}

/// The registry of a main file.
fn source(main: &Path, absent: MissingFile) -> Source {
    if main == Path::new(DEFAULT_PATH) {
        return Source::Default {
            path: main.to_owned(),
            absent,
        };
    }
    Source::Named(main.to_owned())
}
