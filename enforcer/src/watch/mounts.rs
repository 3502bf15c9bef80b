//! The mount table, whose changes the kernel reports to poll(2).

use std::{fs::File, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep_until},
};

use super::Watch;
use crate::{
    async_fd,
    procfs::{Process, mounts},
};

/// The time between two looks in a storm of mounts: a container engine makes some for each
/// container.
const GAP: Duration = Duration::from_secs(1);

/// Changes of the mount table of this process's mount namespace. Mount propagation
/// (mount_namespaces(7)) brings the changes of the host into the namespace of a unit too.
///
/// The kernel marks a change with POLLPRI on /proc/PID/mountinfo (proc_pid_mountinfo(5)), and takes
/// the mark away with the first poll (`mounts_poll` in fs/proc_namespace.c). Epoll polls at the
/// registration and before each report, so that a mark from before a registration is lost: the
/// descriptor stays registered for ever.
pub struct Mounts {
    table: AsyncFd<File>,
    /// The end of the rest after the last change.
    rests_until: Instant,
}

impl Mounts {
    /// Starts to listen.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn open() -> Result<Self> {
        let table = mounts::open(Process::ThisThread);
        let table = table.context("failed to open the mount table, /proc/thread-self/mountinfo")?;
        let table = async_fd::exceptional(table);
        Ok(Self {
            table: table.context("failed to listen for changes of the mount table")?,
            rests_until: Instant::now(),
        })
    }
}

impl Watch for Mounts {
    /// Waits for a change, after the rest of a `GAP` since the change before. Changes in the rest
    /// are told together.
    async fn changed(&mut self) -> Result<()> {
        sleep_until(self.rests_until).await;
        let ready = self.table.ready(Interest::PRIORITY).await;
        let mut ready = ready.context("failed to wait for changes of the mount table")?;
        // Before the look: a later change is another event.
        ready.clear_ready();
        self.rests_until = Instant::now() + GAP;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, thread};

    use rustix::{
        mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount},
        thread::{UnshareFlags, unshare_unsafe},
    };
    use tokio::time::timeout;

    use super::*;

    /// Runs a test with a mount namespace of its own, and a folder there.
    fn with_mounts(test: impl AsyncFnOnce(&Path) + Send) {
        let enter_and_test = || {
            // SAFETY: the thread leaves with the namespace, and file descriptors stay shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
                .expect("this test makes a mount namespace: run it as root, or skip `root_`");
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", private).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().unwrap();
            runtime.block_on(test(folder.path()));
        };
        thread::scope(|scope| scope.spawn(enter_and_test).join().unwrap());
    }

    fn change(folder: &Path) {
        mount("none", folder, "tmpfs", MountFlags::empty(), None).unwrap();
        unmount(folder, UnmountFlags::DETACH).unwrap();
    }

    /// Whether a change is told within a time.
    async fn is_told(mounts: &mut Mounts, limit: Duration) -> bool {
        let waited = timeout(limit, mounts.changed()).await;
        waited.is_ok_and(|told| told.is_ok())
    }

    #[test]
    fn root_a_change_is_told_at_once_and_once() {
        with_mounts(async |folder| {
            let mut mounts = Mounts::open().unwrap();
            let moment = GAP / 4;
            assert!(!is_told(&mut mounts, moment).await, "nothing has changed");
            change(folder);
            assert!(is_told(&mut mounts, moment).await);
            assert!(!is_told(&mut mounts, GAP * 2).await, "told twice");
            change(folder);
            assert!(is_told(&mut mounts, moment).await, "after a rest");
        });
    }

    #[test]
    fn root_changes_before_the_first_wait_and_in_the_rest_are_told() {
        with_mounts(async |folder| {
            let mut mounts = Mounts::open().unwrap();
            change(folder);
            assert!(is_told(&mut mounts, GAP / 4).await, "before the first wait");
            change(folder);
            // A cancelled wait loses nothing.
            assert!(!is_told(&mut mounts, GAP / 4).await, "in the rest");
            assert!(is_told(&mut mounts, GAP).await);
        });
    }

    #[test]
    fn root_a_storm_of_mounts_is_told_once_a_second() {
        with_mounts(async |folder| {
            let mut mounts = Mounts::open().unwrap();
            let begin = Instant::now();
            let mut told = 0;
            while begin.elapsed() < GAP * 5 / 2 {
                (0..10).for_each(|_| change(folder));
                told += u32::from(is_told(&mut mounts, Duration::from_millis(1)).await);
            }
            assert!((1..=3).contains(&told), "{told} times");
        });
    }
}
