//! The source of `core`: the compiler ships a built `core` for every target but BPF.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{
    apt,
    apt_suite::{Mirrors, Suite},
    cache::{Cache, CacheLock},
    step::Step,
    toolchain::{self, Toolchain},
};
use crate::{process, workspace::find_program};

/// Name in messages of a setup.
pub(crate) const LABEL: &str = "core's source";

/// Debian packages of the standard library's source: of the ordinary compiler, and of the newer
/// compiler for browsers.
const PACKAGES: [&str; 2] = ["rust-src", "rust-web-src"];

/// Debian suites searched for the packages, after the machine's own.
const SUITES: [&str; 3] = ["trixie-backports", "forky", "sid"];

/// Returns the `library` folder of the compiler's own source: present, or new from Debian or
/// rustup.
pub(crate) fn provide(toolchain: &Toolchain, lock: &CacheLock<'_>) -> Result<PathBuf> {
    if let Some(found) = find(lock.cache())? {
        return Ok(found);
    }
    if apt::is_debian() {
        // The machine's toolchain stays unchanged.
        return from_debian(&toolchain.release, lock);
    }
    from_rustup(&toolchain.release)?;
    find(lock.cache())?.context(
        "rustup added rust-src, yet the toolchain has no source of core: run \
         `rustup component add rust-src` and look below the sysroot",
    )
}

/// Returns the folder in the toolchain, or else in the cache.
pub(crate) fn find(cache: &Cache) -> Result<Option<PathBuf>> {
    let own = toolchain::sysroot()?.join("lib/rustlib/src/rust/library");
    let cached = cache.path("rust-src/library");
    Ok([own, cached].into_iter().find(|library| has_core(library)))
}

fn has_core(library: &Path) -> bool {
    library.join("core/src/lib.rs").is_file()
}

/// Unpacks the package of exactly this release into the cache; apt downloads and verifies the
/// package. Source and compiler must be of the same release.
fn from_debian(release: &str, lock: &CacheLock<'_>) -> Result<PathBuf> {
    let dir = lock.temporary("rust-src")?;
    let (package, suite) = find_package(release, &dir).map_err(|why| {
        anyhow!(
            "core's source for Rust {release} is missing, and no Debian suite has the source ({why:#}): \
             run `rustup component add rust-src --toolchain {release}`"
        )
    })?;

    let step = Step::start(LABEL, &format!("{package} from {}", suite.name()));
    for archive in suite.download(std::slice::from_ref(&package), &dir)? {
        unpack(&archive, &dir.join("unpacked"))?;
    }
    let sources = dir.join("unpacked/usr/src");
    let library = fs::read_dir(&sources)
        .with_context(|| format!("failed to list {}", sources.display()))?
        .flatten()
        .map(|entry| entry.path().join("library"))
        .find(|library| has_core(library))
        .ok_or_else(|| anyhow!("{package} holds no source of core"))?;
    let made = dir.join("made");
    fs::create_dir(&made)
        .and_then(|()| fs::rename(&library, made.join("library")))
        .with_context(|| format!("failed to move {}", library.display()))?;
    let place = lock.publish(&made, "rust-src")?;
    step.done();
    Ok(place.join("library"))
}

/// Unpacks the library's folder only: the rest of the package is six times as many small files, and
/// can take longer than all other steps.
fn unpack(archive: &Path, dir: &Path) -> Result<()> {
    fs::create_dir(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let failed = || format!("failed to unpack {}", archive.display());
    let mut reader = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(failed)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--wildcards", "./usr/src/*/library"])
        .current_dir(dir)
        .stdin(reader.stdout.take().map_or_else(Stdio::null, Stdio::from));
    let unpacked = process::run(&mut tar);
    let read = reader.wait().with_context(failed)?;
    unpacked.with_context(failed)?;
    if !read.success() {
        bail!("{}: dpkg-deb: {read}", failed());
    }
    Ok(())
}

/// Searches the machine's own suites for the release, then the others.
fn find_package(release: &str, dir: &Path) -> Result<(String, Suite)> {
    let own = Suite::machine();
    if let Some(package) = own.find(&PACKAGES, release) {
        return Ok((package, own));
    }
    let mirrors = Mirrors::find(dir)?;
    let mut looked = Vec::new();
    for name in SUITES {
        let step = Step::start(LABEL, &format!("searching Debian's {name} for {release}"));
        match Suite::fetch(&mirrors, name, dir) {
            Ok(suite) => {
                step.done();
                if let Some(package) = suite.find(&PACKAGES, release) {
                    return Ok((package, suite));
                }
                looked.push(format!("{name}: has another release"));
            }
            Err(error) => looked.push(format!("{name}: {error:#}")),
        }
    }
    bail!("{}", looked.join("; "))
}

fn from_rustup(release: &str) -> Result<()> {
    if find_program("rustup").is_none() {
        bail!(
            "core's source for Rust {release} is missing, and the machine has neither Debian's \
             apt nor rustup: put the toolchain's component rust-src in place"
        );
    }
    let name = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| release.to_owned());
    let step = Step::start(LABEL, &format!("rustup's component rust-src for {name}"));
    process::capture(Command::new("rustup").args([
        "component",
        "add",
        "rust-src",
        "--toolchain",
        &name,
    ]))
    .context("failed to get core's source from rustup")?;
    step.done();
    Ok(())
}
