//! The errors of the control plane.

use std::{error, fmt, path::PathBuf};

use crate::{
    decisions::{
        lockout::LockOut,
        pending::{PendingPolicy, Refusal},
    },
    kernel::runtime::Holder,
    printable::decode_path,
};

/// The failure of a command of the control plane. Unless the message says otherwise, the policy
/// and the guards before the command hold.
#[derive(Debug)]
pub enum Error {
    /// The change would cut off an operator, and no consent was given.
    LockOut(LockOut),
    /// A policy awaits confirmation, so no other change is made.
    Pending(PendingPolicy),
    /// The registry was pending and was rolled back; `run` does not put the registry in force
    /// again.
    AlreadyRolledBack,
    /// A pending policy would never be rolled back, for this reason.
    NoRollback(String),
    /// Another process writes to the pins for longer than the limit.
    Locked(Holder),
    /// No lock can be had, for this reason.
    NoLock(anyhow::Error),
    /// An earlier command was interrupted and left guards beside the pins.
    Interrupted,
    /// The pins guard another network namespace.
    OtherNamespace {
        /// The pin directory.
        pins: PathBuf,
        /// The cookie of the guarded namespace.
        theirs: u64,
        /// The cookie of the namespace of this process.
        ours: u64,
    },
    /// Everything else: a refusal of the kernel, a file that cannot be read.
    Failed(anyhow::Error),
}

impl Error {
    /// Returns the reason why the writers' lock cannot be had, in words, if that is the error.
    pub(crate) fn without_lock(&self) -> Option<String> {
        match self {
            Self::Locked(holder) => Some(held(holder)),
            Self::NoLock(why) => Some(format!("no lock of the pins can be had: {why:#}")),
            _ => None,
        }
    }

    /// Whether only an operator can resolve the error: a later attempt of `run` would fail again.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::LockOut(_) | Self::AlreadyRolledBack)
    }
}

fn held(holder: &Holder) -> String {
    format!("{holder} has the lock of the pins and does not give the lock up")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LockOut(lockout) => lockout.fmt(f),
            Self::Pending(pending) => write!(
                f,
                "generation {} awaits confirmation, for {} s more: nothing was changed. `enforcer \
                 confirm` keeps it; else wait for the rollback, or run `enforcer up`, which \
                 replaces it",
                pending.generation,
                pending.seconds_left()
            ),
            Self::AlreadyRolledBack => f.write_str(
                "this registry was pending and was rolled back, because no `enforcer confirm` \
                 came in time: `enforcer reload` puts it in force",
            ),
            Self::NoRollback(why) => write!(
                f,
                "the new policy would never be rolled back: no `enforcer run` follows these pins, \
                 and {why}: nothing was changed. Start `enforcer run`, or reload without --confirm"
            ),
            Self::Locked(holder) => write!(
                f,
                "{}: nothing was changed. Wait for the end of the process, or end the process",
                held(holder)
            ),
            Self::NoLock(why) => write!(
                f,
                "{why:#}: nothing was changed, because another command could be at work. Make \
                 /run/enforcer a folder of root with mode 0700, and room in it"
            ),
            Self::Interrupted => f.write_str(
                "an earlier command was interrupted, and guards that it made may hold: run \
                 `enforcer up`, which puts the registry in force as well",
            ),
            Self::OtherNamespace { pins, theirs, ours } => write!(
                f,
                "the pins in {} guard another network namespace (cookie {theirs}, and this one's \
                 is {ours}): enter it (`nsenter --net=/run/netns/NAME enforcer …`), or give \
                 another --pin-dir",
                decode_path(pins)
            ),
            Self::Failed(error) if f.alternate() => write!(f, "{error:#}"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            _ => None,
        }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Awaiting(pending) => Self::Pending(pending),
            Refusal::AlreadyRolledBack => Self::AlreadyRolledBack,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::Context as _;

    use super::*;
    use crate::decisions::lockout::Danger;

    fn pending() -> PendingPolicy {
        PendingPolicy {
            generation: 7,
            left: Duration::from_millis(1500),
        }
    }

    fn lock_out() -> LockOut {
        LockOut {
            dangers: vec![Danger::ClosesLastPublicPort(vec!["web 80/tcp".to_owned()])],
            is_pinned: true,
        }
    }

    #[test]
    fn each_error_says_what_to_do_next() {
        let other = Error::OtherNamespace {
            pins: "/sys/fs/bpf/enforcer".into(),
            theirs: 1,
            ours: 2,
        };
        for (error, words) in [
            (Error::LockOut(lock_out()), ["--force", "--confirm"]),
            (
                Error::Pending(pending()),
                ["enforcer confirm", "generation 7"],
            ),
            (Error::Pending(pending()), ["for 2 s more", "enforcer up"]),
            (Error::AlreadyRolledBack, ["rolled back", "enforcer reload"]),
            (
                Error::NoRollback("systemd is off".to_owned()),
                ["systemd is off", "enforcer run"],
            ),
            (Error::Interrupted, ["interrupted", "enforcer up"]),
            (other, ["nsenter --net", "--pin-dir"]),
        ] {
            let text = error.to_string();
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    }

    #[test]
    fn an_operator_alone_resolves_a_refusal() {
        assert!(Error::LockOut(lock_out()).is_refusal());
        assert!(Error::AlreadyRolledBack.is_refusal());
        assert!(!Error::Pending(pending()).is_refusal());
        assert!(!Error::Interrupted.is_refusal());
        assert!(!Error::NoRollback(String::new()).is_refusal());
        assert!(!Error::from(anyhow::anyhow!("no answer")).is_refusal());
    }

    #[test]
    fn the_causes_of_a_failure_are_shown_once_each() {
        let failure = || Err::<(), _>(anyhow::anyhow!("no answer")).context("failed to ask");
        let error = Error::from(failure().unwrap_err());
        assert_eq!(error.to_string(), "failed to ask");
        assert_eq!(format!("{error:#}"), "failed to ask: no answer");
        let wrapped = anyhow::Error::from(Error::from(failure().unwrap_err()));
        assert_eq!(format!("{wrapped:#}"), "failed to ask: no answer");
        assert!(error::Error::source(&Error::Interrupted).is_none());
    }

    #[test]
    fn a_refusal_of_the_pending_policy_is_an_error_of_its_own() {
        let awaiting = Error::from(Refusal::Awaiting(pending()));
        assert!(matches!(awaiting, Error::Pending(seen) if seen == pending()));
        let again = Error::from(Refusal::AlreadyRolledBack);
        assert!(matches!(again, Error::AlreadyRolledBack));
    }
}
