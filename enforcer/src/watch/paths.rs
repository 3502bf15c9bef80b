//! Single paths under inotify(7): the pins, and sysctls that others may write.

use std::{
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::fs::{
    Mode, OFlags,
    inotify::{self, CreateFlags, Event, ReadFlags, WatchFlags},
    open,
};
use tokio::io::unix::AsyncFd;

use crate::{
    async_fd,
    procfs::{reserved_ports, sysctl::BRIDGE_NF_CALL},
};

/// An inotify instance that only says that something happened.
pub(super) struct Inotify(AsyncFd<OwnedFd>);

impl Inotify {
    /// One without any watch.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn new() -> Result<Self> {
        let what = "failed to make an inotify instance";
        let made = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).context(what)?;
        Ok(Self(async_fd::readable(made).context(what)?))
    }

    /// Watches a path; a watch that is there already gets these flags.
    ///
    /// # Errors
    /// The kernel's refusal, of a path that is not there as well.
    pub(super) fn add(&self, path: &Path, flags: WatchFlags) -> Result<()> {
        inotify::add_watch(self.0.get_ref(), path, flags)
            .map(drop)
            .with_context(|| format!("failed to watch {}", path.display()))
    }

    /// Waits for an event, and takes all that came with it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) async fn changed(&self) -> Result<()> {
        self.changed_where(|_| true).await
    }

    /// Waits for an event that `counts`, and takes all that came with it.
    ///
    /// # Errors
    /// The kernel's refusal.
    async fn changed_where(&self, counts: impl Fn(&Event<'_>) -> bool) -> Result<()> {
        loop {
            let ready = self.0.readable().await;
            let mut ready = ready.context("failed to wait for inotify")?;
            let before = self.drain(&counts);
            ready.clear_ready();
            // What came in between is read now; what comes later wakes us again.
            if before | self.drain(&counts) {
                return Ok(());
            }
        }
    }

    /// Takes all events, and says whether one of them counts.
    fn drain(&self, counts: impl Fn(&Event<'_>) -> bool) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.0.get_ref(), &mut buffer);
        let mut any = false;
        while let Ok(event) = reader.next() {
            // A queue that overran may have lost one that counts.
            any |= event.events().contains(ReadFlags::QUEUE_OVERFLOW) || counts(&event);
        }
        any
    }
}

/// The pins: whether they are there, and whether a command was at work on them.
pub struct Pins {
    inotify: Inotify,
}

impl Pins {
    /// Watches the folder in which a pin directory is.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn watch(pin_dir: &Path) -> Result<Self> {
        let inotify = Inotify::new()?;
        // Whoever writes holds a lock on this folder: the end of each turn closes it. A `down`
        // renames and removes what is in it.
        let changes = WatchFlags::CLOSE_NOWRITE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO;
        inotify.add(pin_dir.parent().unwrap_or(Path::new("/")), changes)?;
        Ok(Self { inotify })
    }

    /// Waits until some command may have changed the pins.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn changed(&self) -> Result<()> {
        // Who only reads closes the pin directory too, which is in the folder.
        let counts = |event: &Event<'_>| {
            event.file_name().is_none() || !event.events().contains(ReadFlags::CLOSE_NOWRITE)
        };
        self.inotify.changed_where(counts).await
    }
}

/// The sysctls that the policy depends on, and that others write too.
pub struct Settings {
    inotify: Inotify,
    /// Each with a descriptor of what is watched: the kernel forgets the inode of a sysctl that
    /// nobody holds, and makes another one, without the watch, when it is next looked up
    /// (proc_sys_lookup in fs/proc/proc_sysctl.c).
    paths: Vec<(PathBuf, Option<OwnedFd>)>,
}

impl Settings {
    /// Watches those that there are; a write to one by way of this mount of /proc, or of one for
    /// the same PID namespace, is seen.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn watch() -> Result<Self> {
        let paths = [reserved_ports::PATH].into_iter().chain(BRIDGE_NF_CALL);
        let mut settings = Self {
            inotify: Inotify::new()?,
            paths: paths.map(|path| (path.into(), None)).collect(),
        };
        settings.again();
        Ok(settings)
    }

    /// Watches what has come since: br_netfilter brings its settings when it is loaded.
    pub fn again(&mut self) {
        for (path, held) in &mut self.paths {
            // What is not there cannot be written.
            *held = open(&*path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok();
            self.inotify.add(path, WatchFlags::MODIFY).ok();
        }
    }

    /// Waits until one of them was written.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn changed(&self) -> Result<()> {
        self.inotify.changed().await
    }
}
