//! Where the cgroup2 root and bpffs are, from the mount table.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    fs::{StatVfsMountFlags, statfs},
    mount::{MountFlags, mount},
};

use crate::{
    failpoint::{Call, through},
    procfs::{Process, mounts::table},
};

/// linux/magic.h: BPF_FS_MAGIC.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Where bpffs is mounted on every distribution (systemd mounts it at boot).
const BPFFS: &str = "/sys/fs/bpf";

/// The cgroup2 root, where a program sees the sockets of every cgroup below.
///
/// On hybrid hosts it is not /sys/fs/cgroup but a folder in it; in a container, whose root is some
/// cgroup of the host, it is the one that there is. A folder below a root would leave the sockets
/// of the others unguarded, so `given` must be a root too.
///
/// # Errors
/// There is no cgroup2 mount, or `given` is none.
pub(crate) fn cgroup_root(given: Option<&Path>) -> Result<PathBuf> {
    let mounts = table(Process::ThisThread)
        .context("failed to read the mount table, /proc/thread-self/mountinfo")?;
    let mut roots = mounts.into_iter().filter(|mount| mount.kind == "cgroup2");
    if let Some(path) = given {
        let whole = fs::canonicalize(path)
            .with_context(|| format!("failed to examine {}", path.display()))?;
        ensure!(
            roots.any(|mount| mount.point == whole),
            "{} is not where a cgroup2 file system is mounted (`findmnt -t cgroup2` shows where)",
            path.display()
        );
        return Ok(whole);
    }
    // The hierarchy's own root before a part of it that is mounted elsewhere.
    roots
        .min_by_key(|mount| (mount.root != "/", mount.point.as_os_str().len()))
        .map(|mount| mount.point)
        .context(
            "no cgroup2 file system is mounted: mount one (`mount -t cgroup2 none \
             /sys/fs/cgroup`) or name it with --cgroup",
        )
}

/// Makes sure that the parent of the pin directory is a bpffs that outlives this command; mounts
/// one at /sys/fs/bpf if that is the parent and nothing is there yet.
///
/// # Errors
/// The parent is no bpffs, or one that only this process's mount namespace has.
pub(crate) fn ensure_bpffs(parent: &Path) -> Result<()> {
    const WAY_OUT: &str = "enter a network namespace without a mount namespace of its own \
                           (`nsenter --net=/run/netns/NAME enforcer up`, not `ip netns exec`)";
    if magic(parent).ok() != Some(BPF_FS_MAGIC) {
        ensure!(
            parent == Path::new(BPFFS),
            "{} is not on a bpffs: pins can only live on one (`mount -t bpf -o mode=700 bpf {BPFFS}`)",
            parent.display()
        );
        ensure!(
            !in_private_mount_namespace(),
            "no bpffs is mounted at {BPFFS} in this mount namespace, and one mounted here would \
             end with it: {WAY_OUT}"
        );
        through(Call::Mount, || -> Result<()> {
            Ok(mount(
                "bpf",
                BPFFS,
                "bpf",
                MountFlags::empty(),
                Some(c"mode=700"),
            )?)
        })
        .with_context(|| format!("failed to mount bpffs at {BPFFS}"))?;
    }
    ensure!(
        !in_private_mount_namespace() || init_sees(parent),
        "the bpffs at {} belongs to this mount namespace alone, and the guards would end with it: \
         {WAY_OUT}",
        parent.display()
    );
    let flags = rustix::fs::statvfs(parent)
        .with_context(|| format!("failed to examine {}", parent.display()))?
        .f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) {
        bail!("{} is mounted read-only", parent.display());
    }
    Ok(())
}

/// What to say of the parent of the pin directory if others than root may write to it: they could
/// hold its lock for ever, or put something in the way of `up` and `down`.
///
/// # Errors
/// It cannot be examined.
pub(crate) fn open_to_others(parent: &Path) -> Result<Option<String>> {
    let meta = fs::metadata(parent);
    let meta = meta.with_context(|| format!("failed to examine {}", parent.display()))?;
    let is_open = meta.mode() & 0o022 != 0 || meta.uid() != 0;
    Ok(is_open.then(|| {
        format!(
            "{0} may be written by others than root, who could keep `enforcer` from working: run \
             `chown root {0} && chmod 700 {0}`",
            parent.display()
        )
    }))
}

/// Whether a path is on a bpffs.
///
/// # Errors
/// It cannot be examined.
pub(crate) fn is_bpffs(path: &Path) -> Result<bool> {
    Ok(magic(path)? == BPF_FS_MAGIC)
}

fn magic(path: &Path) -> Result<u64> {
    let found = statfs(path).with_context(|| format!("failed to examine {}", path.display()))?;
    Ok(found.f_type.cast_unsigned())
}

/// Whether this process has another mount namespace than init: ids of mounts are the system's, so
/// a namespace of its own has other ones. An init that hides its table is taken to share it.
fn in_private_mount_namespace() -> bool {
    let ids = |process: Process| -> Option<Vec<String>> {
        let mounts = table(process).ok()?.into_iter();
        Some(mounts.map(|mount| mount.id).collect())
    };
    let (Some(ours), Some(inits)) = (ids(Process::ThisThread), ids(Process::INIT)) else {
        return false;
    };
    ours.first().is_some_and(|root| !inits.contains(root))
}

/// Whether the file system behind `path` is mounted where init can see it.
fn init_sees(path: &Path) -> bool {
    let Ok(meta) = fs::metadata(path) else {
        return false;
    };
    let device = meta.dev();
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    // An init that hides its mounts gives no reason to refuse.
    table(Process::INIT).map_or(true, |mounts| {
        mounts.iter().any(|mount| mount.device == device)
    })
}
