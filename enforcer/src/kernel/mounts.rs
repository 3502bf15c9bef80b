//! The cgroup2 root and the bpffs, from the mount table.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    fs::{StatVfsMountFlags, statfs},
    mount::{MountFlags, mount},
    thread::CapabilitySet,
};

use super::privileges::with_reserve;
use crate::{
    failpoint::{Call, through},
    printable::decode_path,
    procfs::{
        Process,
        mounts::{Mount, table},
    },
};

/// linux/magic.h: BPF_FS_MAGIC.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// The mount point of bpffs on every distribution (systemd mounts bpffs at boot).
pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// Returns the cgroup2 root, where a program sees the sockets of every cgroup below.
///
/// On hybrid hosts the root is not /sys/fs/cgroup but a folder there; in a container, whose root is
/// some cgroup of the host, the root is the one cgroup2 mount. A folder below a root would leave the
/// sockets of other folders unguarded, so `given` must be a root too.
///
/// # Errors
/// The host has no cgroup2 mount, or `given` is no root.
pub(crate) fn cgroup_root(given: Option<&Path>) -> Result<PathBuf> {
    let mounts = table(Process::ThisThread)
        .context("failed to read the mount table, /proc/thread-self/mountinfo")?;
    let mut roots = mounts.into_iter().filter(|mount| mount.kind == "cgroup2");
    if let Some(path) = given {
        let whole = fs::canonicalize(path)
            .with_context(|| format!("failed to examine {}", decode_path(path)))?;
        ensure!(
            roots.any(|mount| mount.point == whole),
            "{} is not where a cgroup2 file system is mounted (`findmnt -t cgroup2` shows where)",
            decode_path(path)
        );
        return Ok(whole);
    }
    main_root(roots).context(
        "no cgroup2 file system is mounted: mount one (`mount -t cgroup2 none /sys/fs/cgroup`) or \
         name it with --cgroup",
    )
}

/// Returns the mount point of the whole hierarchy, else of a part that is mounted elsewhere; the
/// shortest path of several.
fn main_root(roots: impl Iterator<Item = Mount>) -> Option<PathBuf> {
    roots
        .min_by_key(|mount| (mount.root != Path::new("/"), mount.point.as_os_str().len()))
        .map(|mount| mount.point)
}

/// Ensures that the parent of the pin directory is on a bpffs that outlives this command. The parent
/// /sys/fs/bpf gets a bpffs if none is mounted.
///
/// # Errors
/// The parent is on no bpffs, or on a bpffs of this process's mount namespace alone.
pub(crate) fn ensure_bpffs(parent: &Path) -> Result<()> {
    const WAY_OUT: &str = "enter a network namespace without a mount namespace of its own \
                           (`nsenter --net=/run/netns/NAME enforcer up`, not `ip netns exec`)";
    if magic(parent).ok() != Some(BPF_FS_MAGIC) {
        ensure!(
            parent == Path::new(BPFFS),
            "{} is not on a bpffs: pins can only live on one (`mount -t bpf -o mode=700 bpf {BPFFS}`)",
            decode_path(parent)
        );
        ensure!(
            !in_private_mount_namespace(),
            "no bpffs is mounted at {BPFFS} in this mount namespace, and one mounted here would \
             end with it: {WAY_OUT}"
        );
        let options = Some(c"mode=700");
        let mount = || mount("bpf", BPFFS, "bpf", MountFlags::empty(), options);
        through(Call::Mount, || -> Result<()> {
            Ok(with_reserve(CapabilitySet::SYS_ADMIN, mount)?)
        })
        .with_context(|| {
            format!("failed to mount bpffs at {BPFFS} (`mount -t bpf -o mode=700 bpf {BPFFS}`)")
        })?;
    }
    ensure!(
        !in_private_mount_namespace() || init_sees(parent),
        "the bpffs at {} belongs to this mount namespace alone, and the guards would end with it: \
         {WAY_OUT}",
        decode_path(parent)
    );
    let flags = rustix::fs::statvfs(parent)
        .with_context(|| format!("failed to examine {}", decode_path(parent)))?
        .f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) {
        bail!("{} is mounted read-only", decode_path(parent));
    }
    Ok(())
}

/// Returns a warning if others than root may write to the parent of the pin directory: they could
/// hold the lock for ever, or put files in the way of `up` and `down`.
///
/// # Errors
/// The directory cannot be examined.
pub(crate) fn open_to_others(parent: &Path) -> Result<Option<String>> {
    let meta = fs::metadata(parent);
    let meta = meta.with_context(|| format!("failed to examine {}", decode_path(parent)))?;
    Ok(is_open(meta.mode(), meta.uid()).then(|| {
        format!(
            "{0} may be written by others than root, who could keep `enforcer` from working: run \
             `chown root {0} && chmod 700 {0}`",
            decode_path(parent)
        )
    }))
}

/// Whether others than root may write to a file of this mode and owner.
const fn is_open(mode: u32, owner: u32) -> bool {
    mode & 0o022 != 0 || owner != 0
}

/// Whether a path is on a bpffs.
///
/// # Errors
/// The path cannot be examined.
pub(crate) fn is_bpffs(path: &Path) -> Result<bool> {
    Ok(magic(path)? == BPF_FS_MAGIC)
}

fn magic(path: &Path) -> Result<u64> {
    let found = statfs(path).with_context(|| format!("failed to examine {}", decode_path(path)))?;
    Ok(found.f_type.cast_unsigned())
}

/// Whether this process has another mount namespace than init. An init that hides the mount table
/// is taken to share the namespace.
fn in_private_mount_namespace() -> bool {
    let (Ok(ours), Ok(inits)) = (table(Process::ThisThread), table(Process::INIT)) else {
        return false;
    };
    is_private(&ours, &inits)
}

/// Whether two mount tables are of two namespaces: ids of mounts are unique in the system.
fn is_private(ours: &[Mount], inits: &[Mount]) -> bool {
    let is_shared = |root: &Mount| inits.iter().any(|mount| mount.id == root.id);
    ours.first().is_some_and(|root| !is_shared(root))
}

/// Whether init can see the file system behind `path`. An init that hides the mount table gives no
/// reason to refuse.
fn init_sees(path: &Path) -> bool {
    let Ok(meta) = fs::metadata(path) else {
        return false;
    };
    table(Process::INIT).map_or(true, |mounts| shows(&mounts, meta.dev()))
}

fn shows(mounts: &[Mount], device: u64) -> bool {
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    mounts.iter().any(|mount| mount.device == device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(id: &str, root: &str, point: &str) -> Mount {
        Mount {
            id: id.to_owned(),
            device: "0:27".to_owned(),
            root: root.into(),
            point: point.into(),
            kind: "cgroup2".to_owned(),
        }
    }

    #[test]
    fn the_whole_hierarchy_comes_before_a_part_and_the_shortest_path_before_others() {
        let whole = mount("1", "/", "/sys/fs/cgroup/unified");
        let twice = mount("2", "/", "/sys/fs/cgroup");
        let part = mount("3", "/system.slice", "/cg");
        let container = mount("4", "/../..", "/sys/fs/cgroup");
        for (mounts, expected) in [
            (&[][..], None),
            (&[&whole], Some("/sys/fs/cgroup/unified")),
            (&[&whole, &twice], Some("/sys/fs/cgroup")),
            (&[&part, &whole], Some("/sys/fs/cgroup/unified")),
            (&[&container], Some("/sys/fs/cgroup")),
        ] {
            let roots = mounts.iter().map(|mount| (*mount).clone());
            assert_eq!(main_root(roots), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn a_namespace_is_private_if_init_lacks_its_root() {
        let [first, second, third] = ["21", "22", "23"].map(|id| mount(id, "/", "/"));
        for (ours, inits, expected) in [
            (&[&first, &second][..], &[&first, &third][..], false),
            (&[&second, &first], &[&first], true),
            (&[&first], &[], true),
            (&[], &[&first], false),
        ] {
            let list = |mounts: &[&Mount]| -> Vec<Mount> {
                mounts.iter().map(|mount| (*mount).clone()).collect()
            };
            assert_eq!(is_private(&list(ours), &list(inits)), expected);
        }
    }

    #[test]
    fn a_file_system_is_found_by_its_device() {
        let mounts = [mount("1", "/", "/")];
        for (major, minor, expected) in [(0, 27, true), (0, 2, false), (27, 0, false)] {
            assert_eq!(shows(&mounts, libc::makedev(major, minor)), expected);
        }
        assert!(!shows(&[], libc::makedev(0, 27)));
    }

    #[test]
    fn a_directory_is_open_to_others_by_mode_or_owner() {
        for (mode, owner, expected) in [
            (0o700, 0, false),
            (0o755, 0, false),
            (0o770, 0, true),
            (0o702, 0, true),
            (0o1777, 0, true),
            (0o700, 1000, true),
        ] {
            assert_eq!(is_open(mode, owner), expected, "{mode:o} {owner}");
        }
    }

    #[test]
    fn a_folder_below_a_root_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = cgroup_root(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("findmnt"), "{error}");
    }
}
