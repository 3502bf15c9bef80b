//! bpf-linker: LLVM bitcode in, BPF object out.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{
    apt,
    cache::{Cache, CacheLock},
    step::Step,
    toolchain::{self, Toolchain},
};
use crate::{process, workspace::Workspace};

/// Release in use for this tree.
pub(crate) const VERSION: &str = "0.13.0";

/// Major versions of LLVM that this release supports.
const LLVM_MAJORS: [u32; 3] = [21, 22, 23];

/// Returns the path of the linker in the cache.
pub(crate) fn path(cache: &Cache) -> PathBuf {
    cache.path(&folder()).join("bin/bpf-linker")
}

fn folder() -> String {
    format!("bpf-linker-{VERSION}")
}

/// Returns whether the linker exists and starts: the shared LLVM may have been removed.
pub(crate) fn works(linker: &Path) -> bool {
    Command::new(linker)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Builds the linker into the cache, unless present.
pub(crate) fn provide(
    workspace: &Workspace,
    toolchain: &Toolchain,
    lock: &CacheLock<'_>,
) -> Result<PathBuf> {
    let linker = path(lock.cache());
    if works(&linker) {
        return Ok(linker);
    }
    let llvm = Llvm::provide(toolchain)?;
    let step = Step::start(
        "bpf-linker",
        &format!(
            "building {VERSION} with {}, about a minute",
            llvm.describe()
        ),
    );
    let dir = lock.temporary("bpf-linker")?;
    // The linker looks for `libLLVM.so`; rustup's library has another name.
    let names = dir.join("names");
    fs::create_dir(&names)
        .and_then(|()| symlink(&llvm.library, names.join("libLLVM.so")))
        .with_context(|| {
            format!(
                "failed to link {} in {}",
                llvm.library.display(),
                names.display()
            )
        })?;

    let root = dir.join("made");
    let mut cargo = workspace.cargo(["install", "bpf-linker", "--version", VERSION, "--locked"]);
    cargo
        .args(["--no-default-features", "--features"])
        .arg(format!("llvm-{}", llvm.major))
        .arg("--root")
        .arg(&root)
        .arg("--target-dir")
        .arg(dir.join("target"))
        .env("LLVM_PREFIX", &llvm.prefix)
        .env("CARGO_ENCODED_RUSTFLAGS", format!("-L{}", names.display()))
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env_remove("CARGO_BUILD_TARGET");
    process::run_logged(&mut cargo, &lock.cache().path("bpf-linker.log"))?;
    if !works(&root.join("bin/bpf-linker")) {
        bail!(
            "bpf-linker was built with {} but does not start: see bpf-linker.log in the cache",
            llvm.describe()
        );
    }
    lock.publish(&root, &folder())?;
    step.done();
    Ok(linker)
}

/// LLVM for the linker. The linker reads bitcode of the compiler's LLVM, so both must share a major
/// version.
struct Llvm {
    major: u32,
    /// Folder whose `lib` the linker searches at its start.
    prefix: PathBuf,
    library: PathBuf,
    own: bool,
}

impl Llvm {
    /// Returns the compiler's own LLVM if shipped as a shared library (as by rustup): the same
    /// version by construction, and nothing to install. Otherwise, Debian's packages.
    fn provide(toolchain: &Toolchain) -> Result<Self> {
        let major = toolchain.llvm_major;
        if !LLVM_MAJORS.contains(&major) {
            bail!(
                "bpf-linker {VERSION} cannot be built for LLVM {major}, which Rust {} uses: use the \
                 release that rust-toolchain.toml names",
                toolchain.release
            );
        }
        let sysroot = toolchain::sysroot()?;
        if let Some(library) = own_library(&sysroot, major) {
            return Ok(Self {
                major,
                prefix: sysroot,
                library,
                own: true,
            });
        }
        let prefix = PathBuf::from(format!("/usr/lib/llvm-{major}"));
        let library = prefix.join("lib/libLLVM.so");
        if !library.exists() {
            let [llvm, polly] = [format!("llvm-{major}-dev"), format!("libpolly-{major}-dev")];
            apt::install(&[&llvm, &polly, "libzstd-dev"], "building bpf-linker")?;
        }
        Ok(Self {
            major,
            prefix,
            library,
            own: false,
        })
    }

    fn describe(&self) -> String {
        let whose = if self.own {
            "the compiler's own"
        } else {
            "Debian's"
        };
        format!("{whose} LLVM {}", self.major)
    }
}

/// Returns the compiler's LLVM, such as `lib/libLLVM.so.22.1-rust-1.95.0-stable`.
fn own_library(sysroot: &Path, major: u32) -> Option<PathBuf> {
    let prefix = format!("libLLVM.so.{major}.");
    fs::read_dir(sysroot.join("lib"))
        .ok()?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
}
