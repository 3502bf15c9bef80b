//! Outputs of the reconciler.

use std::{fmt, ops::Deref, path::PathBuf, sync::Arc};

use crate::{
    daemon::report::Report,
    host::Keys,
    registry::{Loaded, Source},
};

/// An action for the driver.
#[derive(Debug)]
pub(crate) enum Action {
    /// Carry out an operation, and hand the result back as a [`super::Trigger`]. Until then, no
    /// other operation is requested.
    Run(Operation),
    /// Watch a registry's main file and fragments, unless `file` is watched already, and read the
    /// registry afterwards: no later edit is missed. The read runs beside operations, because a
    /// file may never answer; a second read is not requested before the result.
    LoadRegistry {
        /// The main file.
        file: PathBuf,
        /// The source to read.
        source: Source,
    },
    /// Ask WireGuard whether its answers differ from these last answers. The poll runs beside
    /// operations; a second poll is not requested before the result.
    PollWireGuard(Arc<Keys>),
    /// Tell the service manager that `run` is ready, and report the state. A message that the
    /// manager does not take is handed back by [`super::Reconciler::ready_lost`].
    NotifyReady,
    /// Tell the service manager again that `run` is ready, after a lost message.
    RepeatReady,
    /// Have the readers open the pins again: `up` has replaced the pins.
    ReopenReaders,
    /// Tell the service manager the generation in force.
    NotifyGeneration(u32),
    /// Report to the operator.
    Report(Report),
    /// End `run`: `enforcer down` took the guards off.
    Stop,
}

/// An operation. Each has a trigger for the result.
#[derive(Debug)]
pub(crate) enum Operation {
    /// Read the pinned state, and put back what another program removed.
    InspectPins,
    /// Put a registry in force, in place of the policy of `generation`.
    Replace {
        /// The registry.
        registry: SharedRegistry,
        /// The known generation.
        generation: u32,
    },
    /// Bring guards and policy up to the host.
    Follow {
        /// The registry in force, if known.
        registry: Option<SharedRegistry>,
        /// The known generation.
        generation: u32,
        /// The last answers of WireGuard.
        keys: Arc<Keys>,
    },
    /// Roll the pending policy back, if its deadline has passed.
    RollBack,
}

/// A shared registry: actions and triggers hand the registry on without a copy.
#[derive(Clone)]
pub(crate) struct SharedRegistry(pub(crate) Arc<Loaded>);

impl fmt::Debug for SharedRegistry {
    /// Writes the provenance, not the hundreds of lines of the registry.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedRegistry")
            .field(&self.0.provenance)
            .finish()
    }
}

impl Deref for SharedRegistry {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.0
    }
}

impl From<Loaded> for SharedRegistry {
    fn from(loaded: Loaded) -> Self {
        Self(Arc::new(loaded))
    }
}
