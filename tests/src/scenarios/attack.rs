//! Attacks and legitimate traffic, as data shared by the scenarios and the demo.

use std::sync::Arc;

use anyhow::Result;
use enforcer_ebpf::{Guard, Reason};

use crate::lab::enforcer::REGISTRY;
use crate::lab::{Because, Feature, Guards, Lab, Outcome, Patience, Port};

/// A repeatable attempt, with its services and programs.
pub type Attempt<'lab> = Box<dyn FnMut(Patience) -> Result<Outcome> + Send + 'lab>;

/// An attempt with the services and places that have to stay until the end.
pub fn attempt<'lab, T: Send + 'lab>(
    kept: T,
    mut attempt: impl FnMut(&T, Patience) -> Result<Outcome> + Send + 'lab,
) -> Attempt<'lab> {
    Box::new(move |patience| attempt(&kept, patience))
}

/// Makes the services and settings that an attempt needs, in a lab.
pub type Stage = Arc<dyn for<'lab> Fn(&'lab Lab) -> Result<Attempt<'lab>> + Send + Sync>;

/// Outcome of the traffic without the enforcer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The traffic reaches the service.
    Reached,
    /// Every kernel itself refuses the traffic, for this reason; the guard must do no worse.
    RefusedByTheStack(&'static str),
    /// Some kernels deliver the traffic and others refuse, for this difference between them.
    UpToTheKernel(&'static str),
}

/// An attack of the attack list, or a variant.
#[derive(Clone)]
pub struct Attack {
    /// `aNN_what::variant`.
    pub name: &'static str,
    /// The demo's words; `None` outside the demo.
    pub title: Option<&'static str>,
    /// The registered port under attack.
    pub port: Port<'static>,
    /// The control.
    pub control: Control,
    /// The wire guard's drop reason, if the wire guard can hold the attack.
    pub wire: Option<Because>,
    /// The socket guard's drop reason, if the socket guard can hold the attack.
    pub socket: Option<Because>,
    /// Features that the kernel must have for this traffic to exist.
    pub needs: Vec<Feature>,
    /// A feature that the kernel must have for the wire guard to exist.
    pub wire_needs: Option<Feature>,
    /// A feature without which the wire guard is there, and passes the attack.
    pub wire_with: Option<Feature>,
    /// An interface that no kernel can guard: `up` is degraded.
    pub uncovered: Option<&'static str>,
    /// The reason why guests do not run the attack.
    pub host_only: Option<&'static str>,
    /// Lines of the registry beside the lab's own.
    pub policy: &'static str,
    /// The stage of the attempts.
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
            control: Control::Reached,
            wire: None,
            socket: None,
            needs: Vec::new(),
            wire_needs: None,
            wire_with: None,
            uncovered: None,
            host_only: None,
            policy: "",
            stage: Arc::new(stage),
        }
    }

    /// Each guard alone drops the attack, for the same reason.
    pub fn held_by_both(self, reason: impl Into<Because>) -> Self {
        let reason = reason.into();
        self.held_by_wire(reason).held_by_socket(reason)
    }

    /// The wire guard drops the attack.
    pub fn held_by_wire(mut self, reason: impl Into<Because>) -> Self {
        self.wire = Some(reason.into());
        self
    }

    /// The socket guard drops the attack.
    pub fn held_by_socket(mut self, reason: impl Into<Because>) -> Self {
        self.socket = Some(reason.into());
        self
    }

    /// The stack refuses the attack anyway.
    pub fn refused_by_the_stack(mut self, why: &'static str) -> Self {
        self.control = Control::RefusedByTheStack(why);
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

    /// Without this feature the wire guard is there, and passes the attack.
    pub fn wire_with(mut self, feature: Feature) -> Self {
        self.wire_with = Some(feature);
        self
    }

    /// `status` names this interface as one without a wire guard, on every kernel.
    pub fn leaves_uncovered(mut self, interface: &'static str) -> Self {
        self.uncovered = Some(interface);
        self
    }

    /// The missing feature without which this kernel has no wire guard here.
    pub fn without_a_wire_guard(&self) -> Option<Feature> {
        self.wire_needs.filter(|feature| !feature.is_here())
    }

    /// Kernels differ, and the guards must hold the attack on all of them.
    pub fn up_to_the_kernel(mut self, what: &'static str) -> Self {
        self.control = Control::UpToTheKernel(what);
        self
    }

    /// The host alone runs the attack, for this reason.
    pub const fn host_only(mut self, why: &'static str) -> Self {
        self.host_only = Some(why);
        self
    }

    /// The registry has these lines beside the lab's own.
    pub const fn under(mut self, policy: &'static str) -> Self {
        self.policy = policy;
        self
    }

    /// The whole registry under attack.
    pub fn registry(&self) -> String {
        format!("{REGISTRY}\n{}", self.policy)
    }

    /// The demo shows the attack, in these words.
    pub fn shown_as(mut self, title: &'static str) -> Self {
        self.title = Some(title);
        self
    }

    /// The wire guard's drop reason on this kernel.
    fn wire_here(&self) -> Option<Because> {
        let is_able = self.wire_with.is_none_or(Feature::is_here);
        self.wire.filter(|_| is_able)
    }

    /// The sets of guards that must hold the attack on this kernel.
    pub fn held_by(&self) -> Vec<Guards> {
        match (self.wire_here(), self.socket) {
            (Some(_), Some(_)) => vec![Guards::Wire, Guards::Socket, Guards::Both],
            (Some(_), None) => vec![Guards::Wire, Guards::Both],
            (None, Some(_)) => vec![Guards::Socket, Guards::Both],
            (None, None) => vec![Guards::Both],
        }
    }

    /// The guard that counts the drop, and the reason: the first guard on the way.
    pub fn counted_by(&self, guards: Guards) -> Option<(Guard, Because)> {
        [
            (Guard::Wire, self.wire_here()),
            (Guard::Socket, self.socket),
        ]
        .into_iter()
        .filter(|(guard, _)| guards.include(*guard))
        .filter(|(guard, _)| *guard != Guard::Wire || self.without_a_wire_guard().is_none())
        .find_map(|(guard, reason)| Some((guard, reason?)))
    }
}

/// Traffic that must go on working.
#[derive(Clone)]
pub struct Legitimate {
    /// The name, without the prefix `goes_on::`.
    pub name: String,
    /// The demo's words; `None` outside the demo.
    pub title: Option<&'static str>,
    /// Guards that count the passing traffic, with reason and port.
    pub counted: Vec<(Guard, Reason, Port<'static>)>,
    /// Features that the kernel must have for this traffic to exist.
    pub needs: Vec<Feature>,
    /// The reason why guests do not run the traffic.
    pub host_only: Option<&'static str>,
    /// Lines of the registry beside the lab's own.
    pub policy: &'static str,
    /// An interface that no kernel can guard: `up` is degraded.
    pub uncovered: Option<&'static str>,
    /// A part of the policy in audit mode counts drops of this traffic, and lets the traffic pass.
    pub audited: bool,
    /// The stage of the attempts.
    pub stage: Stage,
}

impl Legitimate {
    /// Traffic answered with and without the enforcer.
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
            policy: "",
            uncovered: None,
            audited: false,
            stage: Arc::new(stage),
        }
    }

    /// Traffic of this kind needs a feature of the kernel.
    pub fn needs(self, feature: Feature) -> Self {
        self.needs_all([feature])
    }

    /// Traffic of this kind needs these features of the kernel.
    pub fn needs_all(mut self, features: impl IntoIterator<Item = Feature>) -> Self {
        self.needs.extend(features);
        self
    }

    /// A guard counts the passing packets.
    pub fn counted(mut self, guard: Guard, reason: Reason, port: Port<'static>) -> Self {
        self.counted.push((guard, reason, port));
        self
    }

    /// The host alone runs the traffic, for this reason.
    pub const fn host_only(mut self, why: &'static str) -> Self {
        self.host_only = Some(why);
        self
    }

    /// The registry has these lines beside the lab's own.
    pub const fn under(mut self, policy: &'static str) -> Self {
        self.policy = policy;
        self
    }

    /// A part of the policy in audit mode counts drops of this traffic, and lets the traffic pass.
    pub const fn in_audit(mut self) -> Self {
        self.audited = true;
        self
    }

    /// `status` names this interface as one without a wire guard, on every kernel.
    pub const fn leaves_uncovered(mut self, interface: &'static str) -> Self {
        self.uncovered = Some(interface);
        self
    }

    /// The demo shows the traffic, in these words.
    pub fn shown_as(mut self, title: &'static str) -> Self {
        self.title = Some(title);
        self
    }
}

/// The number of the attack in a scenario's name: `aNN_` at the beginning of a part.
pub fn attack_of(scenario: &str) -> Option<u8> {
    scenario.split("::").find_map(|part| {
        let number = part.strip_prefix('a')?.get(..2)?;
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        let named = is_number && part.get(3..)?.starts_with('_');
        named.then(|| number.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_attack() {
        assert_eq!(attack_of("a05_weak_host_model::ipv4"), Some(5));
        assert_eq!(attack_of("goes_on::a17_another_namespace::tcp"), Some(17));
        assert_eq!(
            attack_of("hook::xdp-native::a22_datagrams::broadcast"),
            Some(22)
        );
        for none in [
            "goes_on::a_container_at_a_public_port",
            "a5_",
            "a055_x",
            "a05",
            "run::a",
        ] {
            assert_eq!(attack_of(none), None, "{none}");
        }
    }
}
