//! bpf-linker: LLVM bitcode in, BPF object out.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    apt,
    cache::{Cache, CacheLock},
    crates_io::CrateProgram,
    step::Step,
    toolchain::{self, Toolchain},
};
use crate::workspace::Workspace;

const LINKER: CrateProgram = CrateProgram {
    name: "bpf-linker",
    version: "0.13.0",
    version_arguments: &["--version"],
};

/// Major versions of LLVM that this release supports.
const LLVM_MAJORS: [u32; 3] = [21, 22, 23];

/// Returns the path of the linker in the cache.
pub(crate) fn path(cache: &Cache) -> PathBuf {
    LINKER.path(cache)
}

/// Returns whether the linker exists and starts: its shared LLVM may have been removed.
pub(crate) fn starts(linker: &Path) -> bool {
    LINKER.starts(linker)
}

/// Builds the linker into the cache, unless present.
pub(crate) fn provide(
    workspace: &Workspace,
    toolchain: &Toolchain,
    lock: &CacheLock<'_>,
) -> Result<PathBuf> {
    let linker = path(lock.cache());
    if starts(&linker) {
        return Ok(linker);
    }
    let llvm = Llvm::provide(toolchain)?;
    let how = format!(
        "building {} with {}, about a minute",
        LINKER.version,
        llvm.describe()
    );
    let step = Step::start(LINKER.name, &how);
    // The linker looks for `libLLVM.so`; rustup's library has another name.
    let names = lock.temporary("llvm-names")?;
    symlink(&llvm.library, names.join("libLLVM.so")).with_context(|| {
        format!(
            "failed to link {} in {}",
            llvm.library.display(),
            names.display()
        )
    })?;
    LINKER
        .build(workspace, lock, |cargo| {
            cargo
                .args(["--no-default-features", "--features"])
                .arg(format!("llvm-{}", llvm.major))
                .env("LLVM_PREFIX", &llvm.prefix)
                .env("CARGO_ENCODED_RUSTFLAGS", format!("-L{}", names.display()));
        })
        .with_context(|| format!("failed to build {} with {}", LINKER.name, llvm.describe()))?;
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
                "bpf-linker {} cannot be built for LLVM {major}, which Rust {} uses: use the \
                 release that rust-toolchain.toml names",
                LINKER.version,
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
