//! The disk of a system guest: a Debian, installed by mmdebstrap and kept in the cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process,
    setup::{
        apt_suite::Mirrors,
        cache::{Cache, CacheLock},
        kernels::Kernel,
        step::Step,
    },
    vm::initramfs::modules,
    workspace::{find_program, is_root},
};

/// Suite with the newest Podman, for quadlets and pasta as users will have them. sid is newer, but
/// a set of packages cannot always be installed there.
const SUITE: &str = "forky";

/// Packages beside apt's minimum.
const PACKAGES: [&str; 19] = [
    "aardvark-dns",
    "busybox-static",
    "crun",
    "dbus",
    "dbus-user-session",
    "firewalld",
    "iproute2",
    "kmod",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "netavark",
    "nftables",
    "passt",
    "podman",
    "procps",
    "systemd",
    "systemd-sysv",
    "udev",
    "uidmap",
];

/// Files without a reader in a guest.
const EXCLUDED_PATHS: [&str; 3] = [
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
];

/// Commands in the finished tree ($1). The scenarios start firewalld when needed; a user has
/// rootless containers; the masked units only take time.
const HOOKS: [&str; 3] = [
    "chroot \"$1\" useradd --create-home --uid 1000 --shell /bin/bash app && \
     mkdir -p \"$1/var/lib/systemd/linger\" && touch \"$1/var/lib/systemd/linger/app\"",
    "systemctl --root=\"$1\" enable systemd-networkd.service && \
     systemctl --root=\"$1\" disable firewalld.service systemd-networkd-wait-online.service",
    "systemctl --root=\"$1\" mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
     e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service \
     serial-getty@ttyS0.service systemd-pstore.service && \
     touch \"$1/etc/.updated\" \"$1/var/.updated\"",
];

/// Size of the disk; unused blocks take no space in the cache.
const SIZE: &str = "2G";

/// Folder in the cache.
const FOLDER: &str = "system";

/// Disk, with the kernel and the drivers for booting.
pub(super) struct Disk {
    dir: PathBuf,
    /// Content of /etc/debian_version.
    pub(super) debian: String,
    /// Output of `uname -r` in the guest.
    pub(super) release: String,
    /// Kernel in place of the disk's own.
    other: Option<Kernel>,
}

/// Module of the kernel, loaded before the disk is read.
pub(super) struct Driver {
    /// Name of the file, without a suffix of compression.
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// Modules between QEMU's disk and the root file system.
const DRIVERS: [&str; 3] = ["virtio_pci", "virtio_blk", "ext4"];

/// Folders with modules for systemd and Podman, beside those of the lab.
const FOLDERS: [&str; 3] = [
    "kernel/fs/autofs/",
    "kernel/fs/fuse/",
    "kernel/fs/overlayfs/",
];

impl Disk {
    /// Returns the disk in the cache, if built by the present recipe.
    fn find(cache: &Cache) -> Option<Self> {
        let dir = cache.path(FOLDER);
        let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
        let is_current = read("recipe")? == recipe();
        let disk = Self {
            debian: read("debian")?.trim().to_owned(),
            release: read("release")?.trim().to_owned(),
            dir,
            other: None,
        };
        let whole = [disk.path(), disk.kernel(), disk.module()];
        (is_current && whole.iter().all(|path| path.is_file())).then_some(disk)
    }

    /// Path of the root file system, read only.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join("disk")
    }

    /// Returns the disk for boots with another kernel.
    pub(super) fn with_kernel(mut self, kernel: Kernel) -> Self {
        self.release.clone_from(&kernel.release);
        self.other = Some(kernel);
        self
    }

    /// Path of the image for a boot loader.
    pub(super) fn kernel(&self) -> PathBuf {
        match &self.other {
            Some(kernel) => kernel.image(),
            None => self.dir.join("vmlinuz"),
        }
    }

    /// Path of the disk's driver, a module in the disk's own kernel.
    fn module(&self) -> PathBuf {
        self.dir.join("virtio_blk.ko")
    }

    /// Returns the modules that the kernel needs to read the disk, in the order of loading.
    pub(super) fn drivers(&self) -> Result<Vec<Driver>> {
        let Some(kernel) = &self.other else {
            return Ok(vec![Driver::read(&self.module())?]);
        };
        let order = modules::load_order(kernel, &DRIVERS)?;
        let folder = kernel.modules();
        let read = |path: &String| Driver::read(&folder.join(path));
        order.iter().map(read).collect()
    }

    /// Returns an archive with the modules of a kernel that the disk lacks.
    pub(super) fn modules(&self) -> Result<Vec<u8>> {
        let Some(kernel) = &self.other else {
            return Ok(Vec::new());
        };
        modules::archive(kernel, &[modules::LAB_FOLDERS, &FOLDERS].concat())
    }
}

impl Driver {
    /// Reads the module in a file, plain or packed by xz.
    fn read(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let content = match name.strip_suffix(".xz") {
            Some(_) => unpack(path)?,
            None => fs::read(path).with_context(|| format!("failed to read {}", path.display()))?,
        };
        let name = name.trim_end_matches(".xz").to_owned();
        Ok(Self { name, content })
    }
}

/// Returns the disk in the cache, built first if absent or if the recipe has changed.
pub(super) fn provide(cache: &Cache) -> Result<Disk> {
    if let Some(disk) = Disk::find(cache) {
        return Ok(disk);
    }
    if !is_root() {
        bail!(
            "the first run needs root for the guest's disk (mmdebstrap installs packages): run \
             `cargo xtask vm --system` as root once, with the same ENFORCER_TOOLS"
        );
    }
    let lock = cache.lock()?;
    make(&lock).context("failed to build the disk of the system guest")?;
    Disk::find(cache)
        .context("the new disk of the system guest lacks files: see system.log in the cache")
}

/// Returns all settings that decide the content of the disk.
fn recipe() -> String {
    format!("{SUITE}\n{PACKAGES:?}\n{EXCLUDED_PATHS:?}\n{HOOKS:?}\n{SIZE}\n")
}

fn make(lock: &CacheLock<'_>) -> Result<()> {
    let dir = lock.temporary(FOLDER)?;
    let mirrors = Mirrors::find(&dir)?;
    let mirror = mirrors
        .of(SUITE)
        .context("apt's sources name no mirror of Debian: add one to /etc/apt/sources.list")?;
    let step = Step::start("system guest", &format!("installing Debian's {SUITE}"));
    let (root, made) = (dir.join("root"), dir.join("made"));
    fs::create_dir(&made).with_context(|| format!("failed to create {}", made.display()))?;
    let mut command = Command::new(program("mmdebstrap")?);
    command
        .args(["--mode=root", "--variant=minbase", "--format=directory"])
        // A frozen mirror has lists past their date, with valid signatures.
        .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
        .args(EXCLUDED_PATHS.map(|path| format!("--dpkgopt=path-exclude={path}")))
        .args(HOOKS.map(|hook| format!("--customize-hook={hook}")))
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(SUITE)
        .arg(&root)
        .arg(mirror);
    process::run_logged(&mut command, &lock.cache().path("system.log"))?;
    step.done();

    let step = Step::start("system guest", "building the disk");
    let release = kernel(&root, &made)?;
    let mut command = Command::new(program("mke2fs")?);
    // No journal: a guest's changes are discarded.
    command.args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"]);
    command.arg(&root).arg(made.join("disk")).arg(SIZE);
    process::capture(&mut command)?;
    let debian = fs::read_to_string(root.join("etc/debian_version"))
        .context("the guest's tree has no /etc/debian_version")?;
    for (name, text) in [
        ("debian", debian),
        ("release", release),
        ("recipe", recipe()),
    ] {
        fs::write(made.join(name), text)
            .with_context(|| format!("failed to write the description in {}", made.display()))?;
    }
    lock.publish(&made, FOLDER)?;
    step.done();
    Ok(())
}

/// Copies the kernel and the disk's driver out of the tree, and returns the kernel's release.
fn kernel(root: &Path, made: &Path) -> Result<String> {
    let modules = root.join("usr/lib/modules");
    let release = fs::read_dir(&modules)
        .with_context(|| format!("failed to list {}", modules.display()))?
        .flatten()
        .find_map(|entry| entry.file_name().into_string().ok())
        .context("the guest's tree has no kernel")?;
    let image = root.join(format!("boot/vmlinuz-{release}"));
    fs::copy(&image, made.join("vmlinuz"))
        .with_context(|| format!("failed to copy {}", image.display()))?;
    let module = modules
        .join(&release)
        .join("kernel/drivers/block/virtio_blk.ko.xz");
    fs::write(made.join("virtio_blk.ko"), unpack(&module)?)
        .context("failed to write the driver virtio_blk.ko of the disk")?;
    Ok(release)
}

/// Returns the content of a packed module.
fn unpack(module: &Path) -> Result<Vec<u8>> {
    let output = Command::new(program("busybox")?)
        .arg("xzcat")
        .arg(module)
        .output()
        .context("failed to start busybox")?;
    if !output.status.success() {
        bail!(
            "failed to unpack {} with busybox ({})",
            module.display(),
            output.status
        );
    }
    Ok(output.stdout)
}

fn program(name: &str) -> Result<PathBuf> {
    find_program(name)
        .with_context(|| format!("{name} is not installed: install the Debian package with {name}"))
}
