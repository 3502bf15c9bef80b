//! The operations of the reconciler, carried out in their own thread.

use super::{
    outcome,
    reconciler::{FollowOutcome, Operation, ReplaceOutcome, SharedRegistry, Trigger},
};
use crate::{
    control::{self, Consent, Instance, Terms},
    host,
    kernel::{held::Held, sys},
};

/// The executor of operations.
pub(super) struct Operations {
    pub(super) instance: Instance,
    /// The consent for edits of the registry.
    pub(super) consent: Consent,
    /// Descriptors of everything that is pinned.
    pub(super) held: Held,
}

impl Operations {
    /// Carries out an operation. Returns the result.
    pub(super) async fn carry_out(&mut self, operation: Operation) -> Trigger {
        let is_look = matches!(operation, Operation::InspectPins);
        let result = self.result(operation).await;
        if !is_look {
            let pins = self.instance.pins();
            // New guards have descriptors at once. The next look tells a failure, and another set.
            if self.held.is_of(pins) {
                self.held.refresh(pins).ok();
            }
            if has_guards(&result) {
                self.held.forget_orphans();
            }
            // A burst of events may have taken a hundred lists of interfaces; the sleep may be long.
            sys::trim_heap();
        }
        result
    }

    async fn result(&mut self, operation: Operation) -> Trigger {
        match operation {
            Operation::InspectPins => {
                let state = outcome::pinned_state(&self.instance, &mut self.held);
                Trigger::PinsInspected(state.map_err(|error| outcome::text(&error)))
            }
            Operation::Replace {
                registry,
                generation,
            } => Trigger::Replaced(self.replace(&registry, generation).await),
            Operation::Follow {
                registry,
                generation,
                keys,
            } => {
                let registry = registry.as_deref();
                let look = control::follow(&self.instance, registry, generation, &keys).await;
                Trigger::Followed(outcome::followed(look))
            }
            Operation::RollBack => {
                let rolled_back = control::roll_back_if_due(&self.instance).await;
                Trigger::RolledBack(outcome::rolled_back(rolled_back))
            }
        }
    }

    async fn replace(&self, registry: &SharedRegistry, generation: u32) -> ReplaceOutcome {
        let terms = Terms {
            confirm: None,
            consent: self.consent,
        };
        let replaced = control::replace(&self.instance, registry, terms, generation).await;
        let mut outcome = outcome::replaced(replaced);
        if let ReplaceOutcome::InForce { warnings, .. } = &mut outcome {
            *warnings = registry.warnings.clone();
            let snapshot = host::snapshot().await.ok();
            let of_host = control::host_warnings(&registry.registry, snapshot.as_ref());
            warnings.extend(of_host.unwrap_or_default());
        }
        outcome
    }
}

/// Whether the set in force has its guards after an operation.
const fn has_guards(result: &Trigger) -> bool {
    matches!(
        result,
        Trigger::Followed(FollowOutcome::Done { .. })
            | Trigger::Replaced(ReplaceOutcome::InForce { .. })
    )
}
