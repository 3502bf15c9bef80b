//! bpf-linker, which turns LLVM's bitcode into a BPF object.

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

/// The release that this tree is built with.
pub(crate) const VERSION: &str = "0.13.0";

/// The major versions of LLVM that this release can be built against.
const LLVM_MAJORS: [u32; 3] = [21, 22, 23];

/// Where the linker belongs in the cache.
pub(crate) fn path(cache: &Cache) -> PathBuf {
    cache.path(&folder()).join("bin/bpf-linker")
}

fn folder() -> String {
    format!("bpf-linker-{VERSION}")
}

/// Whether the linker is there and starts: the LLVM that it is linked to may have
/// gone.
pub(crate) fn works(linker: &Path) -> bool {
    Command::new(linker)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Builds the linker into the cache, unless it is there.
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
    // The linker asks for `LLVM`, rustup's library goes by another name.
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
            "bpf-linker was built with {} but does not start",
            llvm.describe()
        );
    }
    lock.publish(&root, &folder())?;
    step.done();
    Ok(linker)
}

/// The LLVM to link with. It reads the bitcode that the compiler's LLVM writes, so
/// both must be of the same major version.
struct Llvm {
    major: u32,
    /// A folder whose `lib` is searched when the linker starts.
    prefix: PathBuf,
    library: PathBuf,
    own: bool,
}

impl Llvm {
    /// The compiler's own LLVM where it comes as a shared library (as rustup's
    /// does): the same version by construction, and nothing to install. Else
    /// Debian's packages.
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

/// The compiler's LLVM, such as `lib/libLLVM.so.22.1-rust-1.95.0-stable`.
fn own_library(sysroot: &Path, major: u32) -> Option<PathBuf> {
    let prefix = format!("libLLVM.so.{major}.");
    fs::read_dir(sysroot.join("lib"))
        .ok()?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
}
