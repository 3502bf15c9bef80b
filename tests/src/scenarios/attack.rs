//! What an attack is: data that the trials and the demo share.

use std::sync::Arc;

use anyhow::Result;
use enforcer_ebpf::{Guard, Reason};

use crate::lab::{Feature, Guards, Lab, Outcome, Patience, Port};

/// One attempt, repeatable; it owns the services and programs that it needs.
pub type Attempt<'lab> = Box<dyn FnMut(Patience) -> Result<Outcome> + Send + 'lab>;

/// Makes the services and settings that an attempt needs, in a lab.
pub type Stage = Arc<dyn for<'lab> Fn(&'lab Lab) -> Result<Attempt<'lab>> + Send + Sync>;

/// What becomes of the traffic where no enforcer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// It reaches the service.
    Reached,
    /// Every kernel itself refuses it, for this reason; the guard must do no worse.
    RefusedByTheStack(&'static str),
    /// Some kernels deliver it and others refuse it, and this is what they differ in.
    UpToTheKernel(&'static str),
}

/// A row of the attack table, or one variant of it.
#[derive(Clone)]
pub struct Attack {
    /// `aNN_what::variant`.
    pub name: &'static str,
    /// How the demo words it; `None` if it is not shown there.
    pub title: Option<&'static str>,
    /// The registered port that it is after.
    pub port: Port<'static>,
    /// The control.
    pub alone: Alone,
    /// Why the wire guard drops it, if the wire guard can hold it.
    pub wire: Option<Reason>,
    /// Why the socket guard drops it, if the socket guard can hold it.
    pub socket: Option<Reason>,
    /// What the kernel must have for this traffic to exist.
    pub needs: Vec<Feature>,
    /// What the kernel must have beside for the wire guard to be there at all.
    pub wire_needs: Option<Feature>,
    /// An interface that no kernel can guard, so that `up` is degraded.
    pub uncovered: Option<&'static str>,
    /// Why the host alone runs it, if guests do not.
    pub host_only: Option<&'static str>,
    /// How to do it.
    pub stage: Stage,
}

impl Attack {
    /// An attack that reaches the service where no enforcer runs.
    pub fn new(
        name: &'static str,
        port: Port<'static>,
        stage: impl for<'lab> Fn(&'lab Lab) -> Result<Attempt<'lab>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            title: None,
            port,
            alone: Alone::Reached,
            wire: None,
            socket: None,
            needs: Vec::new(),
            wire_needs: None,
            uncovered: None,
            host_only: None,
            stage: Arc::new(stage),
        }
    }

    /// Each guard alone drops it, for the same reason.
    pub fn held_by_both(self, reason: Reason) -> Self {
        self.held_by_wire(reason).held_by_socket(reason)
    }

    /// The wire guard drops it.
    pub fn held_by_wire(mut self, reason: Reason) -> Self {
        self.wire = Some(reason);
        self
    }

    /// The socket guard drops it.
    pub fn held_by_socket(mut self, reason: Reason) -> Self {
        self.socket = Some(reason);
        self
    }

    /// The stack refuses it anyway.
    pub fn refused_by_the_stack(mut self, why: &'static str) -> Self {
        self.alone = Alone::RefusedByTheStack(why);
        self
    }

    /// Traffic of this kind needs a feature of the kernel.
    pub fn needs(mut self, feature: Feature) -> Self {
        self.needs.push(feature);
        self
    }

    /// Without this feature the interface stays without a wire guard, and `up` is degraded.
    pub fn wire_needs(mut self, feature: Feature) -> Self {
        self.wire_needs = Some(feature);
        self
    }

    /// `status` names this interface as one without a wire guard, on every kernel.
    pub fn leaves_uncovered(mut self, interface: &'static str) -> Self {
        self.uncovered = Some(interface);
        self
    }

    /// The feature for want of which this kernel's wire guard cannot be there.
    pub fn without_a_wire_guard(&self) -> Option<Feature> {
        self.wire_needs.filter(|feature| !feature.is_here())
    }

    /// Kernels differ, and the guards must hold it on all of them.
    pub fn up_to_the_kernel(mut self, what: &'static str) -> Self {
        self.alone = Alone::UpToTheKernel(what);
        self
    }

    /// The host alone runs it, for this reason.
    pub const fn host_only(mut self, why: &'static str) -> Self {
        self.host_only = Some(why);
        self
    }

    /// Shown in the demo, in these words.
    pub fn shown_as(mut self, title: &'static str) -> Self {
        self.title = Some(title);
        self
    }

    /// The sets of guards that must hold it.
    pub fn held_by(&self) -> Vec<Guards> {
        match (self.wire, self.socket) {
            (Some(_), Some(_)) => vec![Guards::Wire, Guards::Socket, Guards::Both],
            (Some(_), None) => vec![Guards::Wire, Guards::Both],
            (None, Some(_)) => vec![Guards::Socket, Guards::Both],
            (None, None) => vec![Guards::Both],
        }
    }

    /// Who counts the drop, and why: the first guard that it meets.
    pub fn counted_by(&self, guards: Guards) -> Option<(Guard, Reason)> {
        [(Guard::Wire, self.wire), (Guard::Socket, self.socket)]
            .into_iter()
            .filter(|(guard, _)| guards.include(*guard))
            .filter(|(guard, _)| *guard != Guard::Wire || self.without_a_wire_guard().is_none())
            .find_map(|(guard, reason)| Some((guard, reason?)))
    }
}

/// Traffic that must go on working.
#[derive(Clone)]
pub struct Legitimate {
    /// What it is.
    pub name: String,
    /// How the demo words it; `None` if it is not shown there.
    pub title: Option<&'static str>,
    /// How a guard counts its passing, where it is counted.
    pub counted: Vec<(Guard, Reason, Port<'static>)>,
    /// What the kernel must have for this traffic to exist.
    pub needs: Vec<Feature>,
    /// Why the host alone runs it, if guests do not.
    pub host_only: Option<&'static str>,
    /// How to do it.
    pub stage: Stage,
}

impl Legitimate {
    /// Traffic that is answered with and without the enforcer.
    pub fn new(
        name: impl Into<String>,
        stage: impl for<'lab> Fn(&'lab Lab) -> Result<Attempt<'lab>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            title: None,
            counted: Vec::new(),
            needs: Vec::new(),
            host_only: None,
            stage: Arc::new(stage),
        }
    }

    /// Traffic of this kind needs a feature of the kernel.
    pub fn needs(self, feature: Feature) -> Self {
        self.needs_all([feature])
    }

    /// The same for several, or none.
    pub fn needs_all(mut self, features: impl IntoIterator<Item = Feature>) -> Self {
        self.needs.extend(features);
        self
    }

    /// A guard counts that it passed.
    pub fn counted(mut self, guard: Guard, reason: Reason, port: Port<'static>) -> Self {
        self.counted.push((guard, reason, port));
        self
    }

    /// The host alone runs it, for this reason.
    pub const fn host_only(mut self, why: &'static str) -> Self {
        self.host_only = Some(why);
        self
    }

    /// Shown in the demo, in these words.
    pub fn shown_as(mut self, title: &'static str) -> Self {
        self.title = Some(title);
        self
    }
}
