//! Failpoints: two at each call that changes kernel state or asks the kernel.
//!
//! With the feature `failpoints`, which the shipped binary is built without, the environment arms a
//! failpoint. `ENFORCER_FAILPOINT=N:fail` fails the `N`th call before the call is made,
//! `N:abort` ends the process after the `N`th change succeeded, and `list` prints every call on
//! stderr. `ENFORCER_LAYOUT` replaces the layout version, so that two builds disagree on the maps.

use std::fmt;

/// A call with failpoints, as `list` prints the call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// A bpf(2) command of the loader that changes kernel state, by name.
    Bpf(&'static str),
    /// A bpf(2) command of the loader that only reads, by name.
    BpfQuery(&'static str),
    /// bpf(2) by aya: creation and pinning of all maps, or their opening.
    LoadObject,
    /// bpf(2) by aya: program load, through the verifier.
    LoadProgram,
    /// bpf(2) by aya: test run of a program on a packet.
    TestRun,
    /// bpf(2) by aya: a program's pin in the pin directory.
    PinProgram,
    /// bpf(2) by aya: opening of a pinned map.
    OpenMap,
    /// bpf(2) by aya: the shape of a map.
    MapInfo,
    /// bpf(2) by aya: the map `BYPASSED`.
    Bypassed,
    /// mmap(2) of an array map.
    MapMemory,
    /// Store that switches to another generation.
    Switch,
    /// Store of the description of the pins.
    Describe,
    /// Store that arms or ends a pending policy.
    Pending,
    /// Store of the ports that the loader reserved.
    Remember,
    /// mkdir(2) in the pin directory.
    MakeDirectory,
    /// rename(2) in the pin directory.
    Rename,
    /// unlink(2) of a pin.
    Unpin,
    /// rmdir(2) in the pin directory.
    RemoveDirectory,
    /// The lock of writers.
    Lock,
    /// mount(2) of a bpffs.
    Mount,
    /// membarrier(2).
    WaitForReaders,
    /// Read of `ip_local_reserved_ports`.
    ReadReserved,
    /// One write(2) to `ip_local_reserved_ports`.
    WriteReserved,
    /// A netlink request.
    Netlink,
    /// Start of a thread of `run`.
    StartThread,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bpf(command) | Self::BpfQuery(command) => write!(f, "bpf {command}"),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(not(feature = "failpoints"))]
mod armed {
    use std::io;

    use super::Call;

    /// Makes a call, and returns the result.
    #[inline(always)]
    pub(crate) fn through<T, E: From<io::Error>>(
        _: Call,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        call()
    }

    /// Does work whose calls have no failpoints.
    #[inline(always)]
    pub(crate) fn uncounted<T>(work: impl FnOnce() -> T) -> T {
        work()
    }

    /// Marks a store to memory, which cannot fail.
    #[inline(always)]
    pub(crate) fn stored(_: Call) {}

    /// The layout version of this build.
    #[inline(always)]
    pub(crate) fn layout() -> u32 {
        enforcer_ebpf::layout::LAYOUT_VERSION
    }
}

#[cfg(feature = "failpoints")]
impl Call {
    /// Whether kernel state or the pins differ after the call. An abort after a call that only
    /// asks would equal an abort after the change before.
    fn changes(self) -> bool {
        !matches!(
            self,
            Self::BpfQuery(_)
                | Self::OpenMap
                | Self::MapInfo
                | Self::MapMemory
                | Self::Lock
                | Self::TestRun
                | Self::WaitForReaders
                | Self::ReadReserved
                | Self::Netlink
                | Self::StartThread
        )
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::{
        cell::Cell,
        env,
        io::{self, Write as _},
        process,
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

    /// The number of calls so far, or of changes where `N:abort` is armed.
    static COUNT: AtomicU32 = AtomicU32::new(0);

    thread_local! {
        static IS_COUNTED: Cell<bool> = const { Cell::new(true) };
    }

    /// Counts a call, and returns whether the environment arms the call. An armed call, and with
    /// `list` every call, is printed on stderr.
    fn is_armed(call: Call) -> bool {
        if !IS_COUNTED.get() {
            return false;
        }
        let counts = call.changes() || !matches!(*ARMED, Armed::Abort(_));
        let number = COUNT.fetch_add(u32::from(counts), Ordering::Relaxed) + 1;
        let armed = match *ARMED {
            Armed::Nothing | Armed::List => false,
            Armed::Fail(which) | Armed::Abort(which) => counts && which == number,
        };
        if armed || *ARMED == Armed::List {
            writeln!(io::stderr(), "failpoint {number} {call}").ok();
        }
        armed
    }

    /// Makes a call and returns the result, or EIO in place of the call that has to fail.
    pub(crate) fn through<T, E: From<io::Error>>(
        call: Call,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let armed = is_armed(call);
        if armed && matches!(*ARMED, Armed::Fail(_)) {
            return Err(io::Error::from_raw_os_error(libc::EIO).into());
        }
        let made = make()?;
        if armed {
            process::abort();
        }
        Ok(made)
    }

    /// Does work whose calls have no failpoints: their number depends on other programs.
    pub(crate) fn uncounted<T>(work: impl FnOnce() -> T) -> T {
        IS_COUNTED.set(false);
        let done = work();
        IS_COUNTED.set(true);
        done
    }

    /// Marks a store to memory, which cannot fail and is not counted with `N:fail`.
    pub(crate) fn stored(call: Call) {
        if !matches!(*ARMED, Armed::Fail(_)) && is_armed(call) {
            process::abort();
        }
    }

    /// The layout version of this build, or of the environment.
    pub(crate) fn layout() -> u32 {
        let named = env::var("ENFORCER_LAYOUT").ok();
        named
            .and_then(|number| number.parse().ok())
            .unwrap_or(enforcer_ebpf::layout::LAYOUT_VERSION)
    }
}

pub(crate) use armed::{layout, stored, through, uncounted};
