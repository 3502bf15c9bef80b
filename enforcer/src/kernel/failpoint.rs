//! Failpoints: two at each call that changes something or asks the kernel.
//!
//! With the feature `failpoints`, which the shipped binary is built without, the environment says
//! what happens: `ENFORCER_FAILPOINT=N:fail` lets the `N`th call fail before it is made, `N:abort`
//! ends the process after the `N`th change succeeded, and `list` names every call on stderr. The
//! layout that the binary takes for its own can be chosen too, so that two builds disagree on it.

use std::fmt;

/// A call, for the list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// bpf(2), by us.
    Bpf(super::bpf::Command),
    /// bpf(2) by aya: all maps are made and pinned, or opened.
    LoadObject,
    /// bpf(2) by aya: the verifier, and all that it asks for.
    LoadProgram,
    /// bpf(2) by aya: a program is shown a packet.
    TestRun,
    /// bpf(2) by aya: a program gets its place in the pin directory.
    PinProgram,
    /// bpf(2) by aya: a pinned map is opened.
    OpenMap,
    /// bpf(2) by aya: a map gets a second place.
    PinMap,
    /// bpf(2) by aya: what shape a map has.
    MapInfo,
    /// bpf(2) by aya: the map `BYPASSED`.
    Bypassed,
    /// mmap(2) of an array.
    MapMemory,
    /// A store that switches to another generation.
    Switch,
    /// A store that says what the pins are.
    Describe,
    /// A store that arms or ends a trial.
    Trial,
    /// A store that remembers the ports that we reserved.
    Remember,
    /// The pin directory is made, renamed or removed, or something in it unpinned.
    MakeDirectory,
    /// See [`Call::MakeDirectory`].
    Rename,
    /// See [`Call::MakeDirectory`].
    Unpin,
    /// See [`Call::MakeDirectory`].
    RemoveDirectory,
    /// The lock of writers.
    Lock,
    /// mount(2) of a bpffs.
    Mount,
    /// membarrier(2).
    WaitForReaders,
    /// `ip_local_reserved_ports` is read.
    ReadReserved,
    /// One write(2) of it.
    WriteReserved,
    /// A question over netlink.
    Netlink,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bpf(command) => write!(f, "bpf {command:?}"),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(not(feature = "failpoints"))]
mod armed {
    use std::io;

    use super::Call;

    /// Makes a call.
    #[inline(always)]
    pub(crate) fn through<T, E: From<io::Error>>(
        _: Call,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        call()
    }

    /// After a store to memory, which cannot fail.
    #[inline(always)]
    pub(crate) fn stored(_: Call) {}

    /// The layout of this build.
    #[inline(always)]
    pub(crate) fn layout() -> u32 {
        enforcer_ebpf::layout::LAYOUT_VERSION
    }
}

#[cfg(feature = "failpoints")]
impl Call {
    /// Whether the kernel or the pins are others afterwards. To end after a call that only asks
    /// would be to end after the change before it.
    fn changes(self) -> bool {
        use super::bpf::Command;
        match self {
            Self::Bpf(command) => !matches!(
                command,
                Command::ObjectGet
                    | Command::ObjectInfo
                    | Command::ProgramQuery
                    | Command::MapLookupBatch
            ),
            Self::OpenMap
            | Self::MapInfo
            | Self::MapMemory
            | Self::Lock
            | Self::TestRun
            | Self::WaitForReaders
            | Self::ReadReserved
            | Self::Netlink => false,
            _ => true,
        }
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::{
        env, io, process,
        sync::{
            LazyLock,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::Call;

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Armed {
        Nothing,
        List,
        Fail(u32),
        Abort(u32),
    }

    static ARMED: LazyLock<Armed> = LazyLock::new(|| {
        let Some(word) = env::var("ENFORCER_FAILPOINT").ok() else {
            return Armed::Nothing;
        };
        let armed = match word.split_once(':') {
            Some((number, "fail")) => number.parse().ok().map(Armed::Fail),
            Some((number, "abort")) => number.parse().ok().map(Armed::Abort),
            _ => (word == "list").then_some(Armed::List),
        };
        armed.unwrap_or_else(|| panic!("ENFORCER_FAILPOINT={word} is not N:fail, N:abort or list"))
    });

    /// Calls, or changes, so far.
    static COUNT: AtomicU32 = AtomicU32::new(0);

    /// Whether a call is the one that the environment names; says so, or if all are listed.
    fn is_struck(call: Call) -> bool {
        let counts = call.changes() || !matches!(*ARMED, Armed::Abort(_));
        let number = COUNT.fetch_add(u32::from(counts), Ordering::Relaxed) + 1;
        let struck = match *ARMED {
            Armed::Nothing | Armed::List => false,
            Armed::Fail(which) | Armed::Abort(which) => counts && which == number,
        };
        if struck || *ARMED == Armed::List {
            eprintln!("failpoint {number} {call}");
        }
        struck
    }

    /// Makes a call, unless it is to fail.
    pub(crate) fn through<T, E: From<io::Error>>(
        call: Call,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let struck = is_struck(call);
        if struck && matches!(*ARMED, Armed::Fail(_)) {
            return Err(io::Error::from_raw_os_error(libc::EIO).into());
        }
        let made = make()?;
        if struck {
            process::abort();
        }
        Ok(made)
    }

    /// After a store to memory, which cannot fail, and is no call where calls are to fail.
    pub(crate) fn stored(call: Call) {
        if !matches!(*ARMED, Armed::Fail(_)) && is_struck(call) {
            process::abort();
        }
    }

    /// The layout of this build, or the one that the environment names.
    pub(crate) fn layout() -> u32 {
        let named = env::var("ENFORCER_LAYOUT").ok();
        named
            .and_then(|number| number.parse().ok())
            .unwrap_or(enforcer_ebpf::layout::LAYOUT_VERSION)
    }
}

pub(crate) use armed::{layout, stored, through};
