//! Objects of the lab outside its namespaces, and their removal on every way out.
//!
//! Three kinds of object outlive a namespace: child processes, directories (pins on bpffs, cgroups,
//! scratch files) and the bpffs mount. The first two are noted here before they are made, and the
//! mount bears our name. Normal ends and panics drop the owners; SIGINT and SIGTERM end in
//! [`exit_on_signal`]; after a SIGKILL the next start sweeps every object named after a dead
//! process.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal};

/// Parent directory of the pins.
pub const BPFFS: &str = "/sys/fs/bpf";
/// Name of every object of the lab, before process id and number.
const PREFIX: &str = "enforcer-lab-";

static NOTED: Mutex<Noted> = Mutex::new(Noted {
    children: BTreeSet::new(),
    directories: BTreeSet::new(),
});

struct Noted {
    children: BTreeSet<u32>,
    directories: BTreeSet<PathBuf>,
}

fn noted() -> MutexGuard<'static, Noted> {
    NOTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory tree, removed when this value is dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Makes `parent/enforcer-lab-<pid>-<number>`.
    pub fn create(parent: &Path, number: u32) -> Result<Self> {
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        noted().directories.insert(path.clone());
        let made = Self(path);
        fs::create_dir(&made.0)
            .with_context(|| format!("failed to make directory {}", made.0.display()))?;
        Ok(made)
    }

    /// The path of the tree.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        remove_tree(&self.0);
        noted().directories.remove(&self.0);
    }
}

/// Removes a tree on any of the file systems the lab uses.
///
/// cgroup directories hold files that cannot be unlinked, yet go with `rmdir`.
fn remove_tree(path: &Path) {
    if fs::remove_dir_all(path).is_err() {
        let _ = fs::remove_dir(path);
    }
}

/// Starts a child and notes the process in a single step, without room for a signal in between.
pub(super) fn spawn_registered(command: &mut Command) -> io::Result<Child> {
    let mut noted = noted();
    let child = command.spawn()?;
    noted.children.insert(child.id());
    Ok(child)
}

pub(super) fn forget_child(id: u32) {
    noted().children.remove(&id);
}

/// The source by which the mount table shows a bpffs of ours, also to the run after a SIGKILL.
const MOUNT_SOURCE: &str = "enforcer-lab";

/// Mounts bpffs where the machine has none.
pub fn ensure_bpffs() -> Result<()> {
    // Under the lock, as scenarios start side by side.
    let _noted = noted();
    if bpffs_source()?.is_some() {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(MOUNT_SOURCE, BPFFS, "bpf", flags, Some(c"mode=700"))
        .with_context(|| format!("failed to mount bpffs at {BPFFS}"))
}

/// Directory of the sockets of `run`.
const RUNTIME: &str = "/run/enforcer";

/// Sockets without a listener.
pub fn stale_sockets() -> Vec<String> {
    let refuses = |path: &PathBuf| {
        UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    let entries = fs::read_dir(RUNTIME).into_iter().flatten().flatten();
    // The kernel refuses connections to other files in the same way, such as the locks of other labs.
    let sockets = entries.filter(|entry| entry.file_type().is_ok_and(|it| it.is_socket()));
    let stale = sockets.map(|entry| entry.path()).filter(refuses);
    stale.map(|path| path.display().to_string()).collect()
}

/// Held, shared, by every run under way; a lock on a directory leaves no file behind.
static UNDER_WAY: OnceLock<fs::File> = OnceLock::new();

/// Tells other runs to leave the bpffs mounted for this run.
pub fn announce() -> Result<()> {
    let directory = fs::File::open(std::env::temp_dir()).context("failed to open /tmp")?;
    directory.lock_shared().context("failed to lock /tmp")?;
    UNDER_WAY.get_or_init(|| directory);
    Ok(())
}

/// Unmounts the lab's own bpffs, unless another run or a pin needs the mount.
pub fn release_bpffs() -> Result<()> {
    let _noted = noted();
    release_bpffs_while_nobody_mounts()
}

fn release_bpffs_while_nobody_mounts() -> Result<()> {
    let ours = bpffs_source()?.is_some_and(|source| source == MOUNT_SOURCE);
    // flock turns the shared lock into an exclusive lock, if this is the last run.
    let last = || UNDER_WAY.get().is_none_or(|lock| lock.try_lock().is_ok());
    let empty = || !foreign_pins() && lab_entries(Path::new(BPFFS), |_| true).is_empty();
    if ours && empty() && last() {
        unmount(BPFFS, UnmountFlags::empty()).context("failed to unmount our bpffs")?;
    }
    // Remains of a killed `run`; the folder goes too once it is empty.
    for path in stale_sockets() {
        let _ = fs::remove_file(path);
    }
    if last() {
        for path in stale_locks() {
            let _ = fs::remove_file(path);
        }
        let _ = fs::remove_dir(RUNTIME);
    }
    Ok(())
}

/// Locks and words of labs, whose pin directories all have one name. For the last run under way.
fn stale_locks() -> Vec<PathBuf> {
    let entries = fs::read_dir(RUNTIME).into_iter().flatten().flatten();
    let is_labs = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with("-pins.lock") || name.ends_with("-pins.down")
    };
    let paths = entries.map(|entry| entry.path());
    paths.filter(is_labs).collect()
}

/// Source of the bpffs mount at the usual place.
fn bpffs_source() -> Result<Option<String>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("failed to read mounts")?;
    Ok(mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let source = filesystem.strip_prefix("bpf ")?.split(' ').next()?;
        (mount.split(' ').nth(4) == Some(BPFFS)).then(|| source.to_owned())
    }))
}

/// Removes objects of earlier, dead processes.
pub fn sweep() {
    for parent in swept_directories() {
        for path in lab_entries(&parent, |owner| !Path::new("/proc").join(owner).exists()) {
            remove_tree(&path);
        }
    }
}

/// Objects of this process outside its namespaces, not removed yet.
pub fn leftovers() -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found: Vec<String> = swept_directories()
        .iter()
        .flat_map(|parent| lab_entries(parent, |owner| owner == own))
        .map(|path| format!("directory {}", path.display()))
        .collect();
    let noted = noted();
    found.extend(noted.children.iter().map(|id| format!("process {id}")));
    found
}

/// Whether other work is under way on this machine: another lab, or foreign pins.
pub fn others_at_work() -> bool {
    let own = std::process::id().to_string();
    let another_lab = swept_directories().iter().any(|parent| {
        let theirs = |owner: &str| owner != own && Path::new("/proc").join(owner).exists();
        !lab_entries(parent, theirs).is_empty()
    });
    another_lab || foreign_pins()
}

/// Whether bpffs holds anything but labs and the kernel's own two iterators (`maps.debug`,
/// `progs.debug`).
fn foreign_pins() -> bool {
    fs::read_dir(BPFFS).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            !name.ends_with(".debug") && !name.starts_with(PREFIX)
        })
    })
}

fn swept_directories() -> Vec<PathBuf> {
    let mut parents = vec![PathBuf::from(BPFFS), std::env::temp_dir()];
    parents.extend(cgroup2_root());
    parents.extend(pids_root());
    parents
}

fn lab_entries(parent: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy()
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split('-').next())
                .is_some_and(&wanted)
        })
        .map(|entry| entry.path())
        .collect()
}

/// The root of the cgroup2 hierarchy, also on hybrid hosts.
pub fn cgroup2_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        filesystem.starts_with("cgroup2 ").then(|| point.into())
    })
}

/// The root of the hierarchy that limits the number of tasks: cgroup v1's, else cgroup2's.
pub fn pids_root() -> Option<PathBuf> {
    let v1 = PathBuf::from("/sys/fs/cgroup/pids");
    let is_there = v1.join("cgroup.procs").exists();
    is_there.then_some(v1).or_else(cgroup2_root)
}

/// The write end of the pipe that wakes the cleaning thread.
static WAKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(_: libc::c_int) {
    let byte = 0_u8;
    // SAFETY: write is async-signal-safe, and the byte lives on this frame.
    unsafe { libc::write(WAKE.load(Ordering::Relaxed), (&raw const byte).cast(), 1) };
}

/// Makes SIGINT and SIGTERM clean up and exit with 130 from here on.
pub fn exit_on_signal() -> Result<()> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .context("failed to make the signal pipe")?;
    WAKE.store(write.as_raw_fd(), Ordering::Relaxed);
    // The write end must stay open for as long as the handler may run: for ever.
    std::mem::forget(write);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if fs::File::from(read).read_exact(&mut [0]).is_ok() {
                clean_up_and_exit();
            }
        })?;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let handler: extern "C" fn(libc::c_int) = on_signal;
        // SAFETY: the handler only writes a byte to a pipe.
        unsafe { libc::signal(signal, handler as *const () as libc::sighandler_t) };
    }
    Ok(())
}

fn clean_up_and_exit() -> ! {
    // Held to the end, so no running scenario can make another object.
    let noted = noted();
    for &id in &noted.children {
        if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }
    for directory in &noted.directories {
        remove_tree(directory);
    }
    if let Err(error) = release_bpffs_while_nobody_mounts() {
        eprintln!("{error:#}");
    }
    eprintln!("\ninterrupted: everything that the lab made is gone");
    std::process::exit(130)
}
