//! The table `[unregistered]`: ports that no service names.

use enforcer_ebpf::{Mode, Protocol};
use toml::Spanned;
use toml::de::DeValue;

use super::allow;
use super::diagnostic::Fault;
use super::model::Allow;
use super::read::{Shape, TableReader};
use super::source::Span;

/// The action on packets that open a connection to an unregistered port: rule 6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UnregisteredAction {
    /// The packets pass, uncounted.
    #[default]
    Pass,
    /// The drops are counted, and the packets pass.
    Audit,
    /// The packets are dropped.
    Drop,
}

impl UnregisteredAction {
    const ALL: [Self; 3] = [Self::Pass, Self::Audit, Self::Drop];

    /// Returns the name used by the registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Audit => "audit",
            Self::Drop => "drop",
        }
    }

    /// Returns the mode of rule 6, `None` where the rule is off.
    pub const fn mode(self) -> Option<Mode> {
        match self {
            Self::Pass => None,
            Self::Audit => Some(Mode::Audit),
            Self::Drop => Some(Mode::Enforce),
        }
    }
}

impl From<Option<Mode>> for UnregisteredAction {
    /// The inverse of [`UnregisteredAction::mode`].
    fn from(mode: Option<Mode>) -> Self {
        match mode {
            None => Self::Pass,
            Some(Mode::Audit) => Self::Audit,
            Some(Mode::Enforce) => Self::Drop,
        }
    }
}

/// The table `[unregistered]`.
#[derive(Clone, Debug, Default)]
pub struct Unregistered {
    /// The action for each protocol, by the protocol's discriminant, and the span of the key.
    actions: [(UnregisteredAction, Option<Span>); 3],
    /// The peers that may reach unregistered ports whatever the action.
    pub allow: Allow,
    /// The span of the table's name, if the files have the table.
    pub at: Option<Span>,
}

impl Unregistered {
    /// Returns whether rule 6 is off for every protocol.
    pub fn passes_all(&self) -> bool {
        Protocol::ALL
            .into_iter()
            .all(|protocol| !self.judges(protocol))
    }

    /// Returns whether rule 6 is on for a protocol.
    pub fn judges(&self, protocol: Protocol) -> bool {
        self.action(protocol) != UnregisteredAction::Pass
    }

    /// Returns the action for a protocol.
    pub const fn action(&self, protocol: Protocol) -> UnregisteredAction {
        self.actions[protocol as usize].0
    }

    /// Returns the span of a protocol's key, if the table has the key.
    pub const fn action_at(&self, protocol: Protocol) -> Option<&Span> {
        self.actions[protocol as usize].1.as_ref()
    }
}

/// Reads the table; `value` is the value of the key `unregistered`.
pub(super) fn read(
    reader: &mut TableReader<'_>,
    at: Option<Span>,
    value: &Spanned<DeValue<'_>>,
) -> Unregistered {
    let Some(table) = reader.table("unregistered", value) else {
        return Unregistered::default();
    };
    reader.refuse_unknown_keys(
        table,
        &Shape {
            owner: "`[unregistered]`",
            keys: &["tcp", "udp", "sctp", "allow"],
        },
    );
    let mut actions: [(UnregisteredAction, Option<Span>); 3] = Default::default();
    let mut passes = true;
    for protocol in Protocol::ALL {
        let key = protocol.name();
        let Some(value) = table.get(key) else {
            continue;
        };
        let (all, name) = (&UnregisteredAction::ALL, UnregisteredAction::name);
        let action = reader.choice(key, value, all, name);
        // A wrong action is an error of its own, and may have been meant as another than `pass`.
        passes &= action == Some(UnregisteredAction::Pass);
        actions[protocol as usize] = (action.unwrap_or_default(), reader.place_of(table, key));
    }
    let allow = allow::read(reader, table);
    if let (Some(key), false, true) = (&allow.at, allow.is_empty(), passes) {
        reader.report.warning(key, idle_allow());
    }
    Unregistered { actions, allow, at }
}

fn idle_allow() -> Fault {
    Fault::new(
        "`allow` of `[unregistered]` opens nothing, since every protocol passes",
        "write `tcp = \"drop\"` to close the ports that no service names to all but these peers, or remove `allow`",
    )
}
