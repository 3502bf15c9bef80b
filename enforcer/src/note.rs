//! Notes: facts that an operator should know, as plain data.
//!
//! The writers and the daemon return notes. Words for a terminal, priorities for the journal and
//! JSON for scripts are made from them at the edge, in `commands`.

use serde::Serialize;

/// The weight of a note. The numbers are the priorities of syslog(3), which sd-daemon(3) uses too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// An operation failed.
    Error = 3,
    /// A port, an interface or a peer is not as the registry wants it, or may soon not be.
    Warning = 4,
    /// A change that an operator did not order by this very command.
    Notice = 5,
    /// The normal course of things.
    Info = 6,
}

impl Level {
    /// The priority as syslog(3) numbers it.
    pub const fn priority(self) -> u8 {
        self as u8
    }
}

/// The subject of a note. Scripts and tests match this name, never the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// An interface that the plan wants guarded has no wire guard.
    NoWireGuard,
    /// The forwarding table of a bridge is too long to be read, so that packets for others are judged
    /// too.
    MacsUnknown,
    /// A guard stays on another hook than the plan's.
    HookKept,
    /// A guard that the pending policy does not want stays until the policy is confirmed.
    GuardKept,
    /// Guards were removed because `--guards` asked for it.
    GuardsRemoved,
    /// The socket guard is missing.
    NoSocketGuard,
    /// Nothing notes what sockets send over UDP, and a policy judges UDP ports without a service.
    SentUnknown,
    /// A missing socket guard was attached again.
    SocketGuardRestored,
    /// The guards of a rolled-back policy could not all be restored.
    GuardsNotRestored,
    /// Pins that another program removed were pinned again.
    PinsRestored,
    /// A guard that another program took off was attached again.
    GuardRestored,
    /// Another process held the lock of the pins, and guards were attached without the lock.
    LockHeld,
    /// A file, a socket or a watcher of `run` does not answer or cannot be had.
    Obstacle,
    /// A signal asked for a reload, and the registry has not changed.
    RegistryUnchanged,
    /// Pins of another layout were replaced; counters start at 0.
    LayoutReplaced,
    /// The pins of a network namespace that is gone were removed.
    NamespaceGone,
    /// A file or folder that is not enforcer's was in the way and was moved aside.
    MovedAside,
    /// The socket guard stands at a cgroup below the root, and sees the sockets of that cgroup
    /// alone.
    SocketGuardBelowRoot,
    /// Guards hold that no pin reaches.
    Strays,
    /// `ip_local_reserved_ports` could not be brought up to date.
    ReservedPorts,
    /// Other users than root may write to the parent of the pin directory.
    ParentWritable,
    /// The change cuts off an SSH session or removes the last public port, and was made anyway.
    LockoutAccepted,
    /// The lock-out check could not be made, and the change was made anyway.
    LockoutUnknown,
    /// A peer by key waits for its interface, key or AllowedIPs.
    PeerWaiting,
    /// No `run` follows the peers by key.
    PeersNotFollowed,
    /// A pending policy waits for `enforcer confirm`.
    Pending,
    /// A new set of pins takes the place of a pending policy.
    PendingReplaced,
    /// A pending policy equals the policy before it.
    PendingUnchanged,
    /// A pending policy was rolled back.
    RolledBack,
    /// A rollback failed.
    RollbackFailed,
    /// The registry is bad; the policy in force stays.
    RegistryBad,
    /// The registry cannot be read again as it was put in force.
    RegistryChanged,
    /// A registry was refused; the policy in force stays.
    RegistryRefused,
    /// No registry file exists; the embedded default applies.
    RegistryEmbedded,
    /// The registry is bad and nothing was pinned; the embedded default holds.
    RegistryFallback,
    /// Ports of the policy before are registered no longer.
    PortsReleased,
    /// A policy of the registry is in force.
    InForce,
    /// Nothing is pinned.
    NothingPinned,
    /// `--service` names no service of the policy in force.
    UnknownService,
    /// `enforcer down` removed the guards.
    GuardsOff,
    /// An operation of `run` failed and will be tried again.
    Retry,
    /// `enforcer events` has to wait for its server.
    EventsUnavailable,
    /// A program could not be loaded ahead of its use.
    PreloadFailed,
    /// The service manager could not be notified.
    ServiceManager,
    /// The kernel's verdict differs from the policy's.
    VerdictsDiffer,
}

impl NoteKind {
    /// The weight of a note of this kind.
    pub const fn level(self) -> Level {
        match self {
            Self::RollbackFailed | Self::RegistryFallback | Self::VerdictsDiffer => Level::Error,
            Self::NoWireGuard
            | Self::MacsUnknown
            | Self::HookKept
            | Self::NoSocketGuard
            | Self::SentUnknown
            | Self::GuardsNotRestored
            | Self::PinsRestored
            | Self::GuardRestored
            | Self::LockHeld
            | Self::Obstacle
            | Self::ReservedPorts
            | Self::ParentWritable
            | Self::MovedAside
            | Self::SocketGuardBelowRoot
            | Self::Strays
            | Self::LockoutAccepted
            | Self::LockoutUnknown
            | Self::PeerWaiting
            | Self::RegistryBad
            | Self::RegistryChanged
            | Self::RegistryRefused
            | Self::Retry
            | Self::RolledBack
            | Self::EventsUnavailable
            | Self::PreloadFailed
            | Self::ServiceManager
            | Self::UnknownService => Level::Warning,
            Self::GuardKept
            | Self::GuardsRemoved
            | Self::SocketGuardRestored
            | Self::LayoutReplaced
            | Self::NamespaceGone
            | Self::PeersNotFollowed
            | Self::Pending
            | Self::PendingReplaced
            | Self::PendingUnchanged
            | Self::PortsReleased
            | Self::RegistryEmbedded
            | Self::NothingPinned
            | Self::GuardsOff => Level::Notice,
            Self::InForce | Self::RegistryUnchanged => Level::Info,
        }
    }
}

/// A fact that an operator should know. The fields are the JSON of the design.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Note {
    /// The weight.
    pub level: Level,
    /// The subject, for scripts and tests.
    pub kind: NoteKind,
    /// The interface that the note is about, if it is about one.
    pub interface: Option<String>,
    /// The fact in words: lower case, without a full stop at the end.
    pub text: String,
}

impl Note {
    /// A note of a kind, with the level of that kind.
    pub fn new(kind: NoteKind, text: impl Into<String>) -> Self {
        Self {
            level: kind.level(),
            kind,
            interface: None,
            text: text.into(),
        }
    }

    /// The same note, about an interface.
    #[must_use]
    pub fn on(mut self, interface: impl Into<String>) -> Self {
        self.interface = Some(interface.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_the_json_of_the_design() {
        let note = Note::new(NoteKind::NoWireGuard, "eth0 has no wire guard").on("eth0");
        let json = serde_json::to_string(&note).unwrap();
        assert_eq!(
            json,
            r#"{"level":"warning","kind":"no-wire-guard","interface":"eth0","text":"eth0 has no wire guard"}"#
        );
    }

    #[test]
    fn levels_are_the_priorities_of_syslog() {
        let priorities =
            [Level::Error, Level::Warning, Level::Notice, Level::Info].map(Level::priority);
        assert_eq!(priorities, [3, 4, 5, 6]);
    }
}
