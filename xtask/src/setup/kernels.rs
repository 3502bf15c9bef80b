//! Debian kernels, unpacked into the cache and never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{
    apt,
    apt_suite::{Mirrors, Suite},
    cache::{Cache, CacheLock},
    kernel_index::{Candidate, META_PACKAGE, newest},
    step::Step,
};
use crate::{process, workspace::find_program};

/// Line of kernels in use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KernelLine {
    /// Name of the line: the first numbers of its releases, or `newest`.
    pub(crate) name: &'static str,
    /// Suites to search; the newest kernel among all counts.
    pub(crate) suites: &'static [&'static str],
}

/// The tested kernel lines, oldest first. Nothing else in the project lists them.
pub(crate) const LINES: [KernelLine; 3] = [
    KernelLine {
        name: "6.1",
        suites: &["bookworm", "bookworm-security"],
    },
    KernelLine {
        name: "6.12",
        suites: &["trixie", "trixie-security"],
    },
    KernelLine {
        name: "newest",
        suites: &["trixie-backports", "forky", "sid"],
    },
];

impl KernelLine {
    /// Returns whether a kernel of this release belongs to the line: suites move on.
    fn has(&self, release: &str) -> bool {
        self.name == "newest" || is_of_version(release, self.name)
    }

    /// Folder of the line's kernel in the cache.
    fn folder(&self) -> String {
        format!("kernel-{}", self.name)
    }

    /// Name of the line in messages of a setup.
    pub(crate) fn label(&self) -> String {
        format!("kernel {}", self.name)
    }
}

/// Returns whether `release` equals or continues `numbers`: 6.1.0 continues 6.1, 6.12 does not.
pub(crate) fn is_of_version(release: &str, numbers: &str) -> bool {
    release
        .strip_prefix(numbers)
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

/// Kernel in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Line of the kernel.
    pub(crate) line: &'static KernelLine,
    /// Output of `uname -r`.
    pub(crate) release: String,
    /// Version of the packages.
    pub(crate) version: String,
    /// Suite of the packages.
    pub(crate) suite: String,
    /// Folder of the kernel.
    pub(crate) dir: PathBuf,
}

/// File in a kernel's folder that describes the kernel.
const ABOUT: &str = "about";

impl Kernel {
    /// Returns the line's kernel, if the cache holds all of its files.
    pub(crate) fn find(cache: &Cache, line: &'static KernelLine) -> Option<Self> {
        let dir = cache.path(&line.folder());
        let text = fs::read_to_string(dir.join(ABOUT)).ok()?;
        let value = |wanted: &str| {
            text.lines()
                .filter_map(|line| line.split_once(" = "))
                .find(|(key, _)| *key == wanted)
                .map(|(_, value)| value.to_owned())
        };
        let kernel = Self {
            line,
            release: value("release")?,
            version: value("version")?,
            suite: value("suite")?,
            dir,
        };
        let whole = kernel.image().is_file() && kernel.modules().join("modules.dep").is_file();
        whole.then_some(kernel)
    }

    /// Path of the image for a boot loader.
    pub(crate) fn image(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// Folder of modules and their tables, as `/lib/modules/RELEASE`.
    pub(crate) fn modules(&self) -> PathBuf {
        self.dir.join("usr/lib/modules").join(&self.release)
    }
}

/// Returns the kernels of `lines` in the cache, or else Debian's newest. With `update`, newer
/// kernels replace those in the cache.
pub(crate) fn provide(
    cache: &Cache,
    lines: &[&'static KernelLine],
    update: bool,
) -> Result<Vec<Kernel>> {
    let present =
        || -> Option<Vec<_>> { lines.iter().map(|line| Kernel::find(cache, line)).collect() };
    if let (Some(kernels), false) = (present(), update) {
        return Ok(kernels);
    }
    if !apt::is_debian() {
        let names: Vec<_> = lines.iter().map(|line| line.suites.join(" or ")).collect();
        bail!(
            "the kernels come from Debian's package {META_PACKAGE} ({}): run on a Debian machine, with apt",
            names.join("; ")
        );
    }
    let lock = cache.lock()?;
    let dir = lock.temporary("kernel-lists")?;
    let mirrors = Mirrors::find(&dir)?;
    for &line in lines {
        let cached = Kernel::find(cache, line);
        if cached.is_none() || update {
            fetch(line, cached.as_ref(), &mirrors, &dir, &lock)
                .with_context(|| format!("failed to get a kernel of the line {}", line.name))?;
        }
    }
    present().context("an unpacked kernel lacks files")
}

/// Fetches the line's newest kernel into the cache, unless `cached` is as new.
fn fetch(
    line: &'static KernelLine,
    cached: Option<&Kernel>,
    mirrors: &Mirrors,
    dir: &Path,
    lock: &CacheLock<'_>,
) -> Result<()> {
    let (candidate, suite) = find_newest(line, mirrors, dir)?;
    if cached.is_some_and(|cached| cached.version == candidate.version) {
        eprintln!("  {:<14} {} is the newest", line.label(), candidate.version);
        return Ok(());
    }
    let index = suite.describe(&candidate.image()).unwrap_or_default();
    let how = format!("{} from {}", candidate.version, suite.name());
    let step = Step::start(&line.label(), &how);
    let dir = lock.temporary(&line.folder())?;
    let unpacked = dir.join("unpacked");
    for archive in suite.download(&candidate.packages(&index), &dir)? {
        let mut dpkg = Command::new("dpkg-deb");
        process::capture(dpkg.arg("--extract").arg(archive).arg(&unpacked))?;
    }
    let made = dir.join("made");
    install(&unpacked, &candidate.release, &made)?;
    let text = format!(
        "release = {}\nversion = {}\nsuite = {}\n",
        candidate.release,
        candidate.version,
        suite.name()
    );
    fs::write(made.join(ABOUT), text)
        .with_context(|| format!("failed to write the description in {}", made.display()))?;
    lock.publish(&made, &line.folder())?;
    step.done();
    Ok(())
}

/// Searches the line's suites for the newest kernel.
fn find_newest(line: &KernelLine, mirrors: &Mirrors, dir: &Path) -> Result<(Candidate, Suite)> {
    let mut found = Vec::new();
    let mut why = Vec::new();
    for &name in line.suites {
        let how = format!("searching Debian's {name}");
        let step = Step::start(&line.label(), &how);
        let suite = match Suite::fetch(mirrors, name, dir) {
            Ok(suite) => suite,
            Err(error) => {
                why.push(format!("{name}: {error:#}"));
                continue;
            }
        };
        step.done();
        match suite
            .describe(META_PACKAGE)
            .as_deref()
            .and_then(Candidate::parse)
        {
            Some(candidate) if line.has(&candidate.release) => found.push((candidate, suite)),
            Some(candidate) => why.push(format!("{name}: has {}", candidate.release)),
            None => why.push(format!("{name}: has no {META_PACKAGE}")),
        }
    }
    newest(found.into_iter(), |(candidate, _)| candidate).with_context(|| why.join("; "))
}

/// Builds the folder of a kernel from unpacked packages: the places of image and modules vary from
/// release to release.
fn install(unpacked: &Path, release: &str, made: &Path) -> Result<()> {
    let first = |places: &[String]| {
        places
            .iter()
            .map(|place| unpacked.join(place))
            .find(|path| path.exists())
            .with_context(|| format!("the packages of {release} have no {}", places.join(" or ")))
    };
    let modules = first(&[
        format!("usr/lib/modules/{release}"),
        format!("lib/modules/{release}"),
    ])?;
    let image = first(&[
        format!("boot/vmlinuz-{release}"),
        format!("usr/lib/modules/{release}/vmlinuz"),
    ])?;
    let folder = made.join("usr/lib/modules");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::rename(&image, made.join("vmlinuz")))
        .and_then(|()| fs::rename(&modules, folder.join(release)))
        // depmod looks below /lib or /usr/lib, depending on the distribution.
        .and_then(|()| std::os::unix::fs::symlink("usr/lib", made.join("lib")))
        .with_context(|| format!("failed to move the kernel {release} to {}", made.display()))?;
    // No package holds the tables of modules: an installation generates them.
    let depmod =
        find_program("depmod").context("depmod is not installed: install the package kmod")?;
    process::capture(Command::new(depmod).arg("--basedir").arg(made).arg(release))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_own_releases_only() {
        let has: Vec<_> = LINES
            .iter()
            .filter(|line| line.has("6.1.0-56-cloud-amd64"))
            .map(|line| line.name)
            .collect();
        assert_eq!(has, ["6.1", "newest"]);
        assert!(is_of_version("7.3.4+deb13-cloud-amd64", "7.3"));
        assert!(!is_of_version("6.12.117+deb13-cloud-amd64", "6.1"));
    }
}
