//! Builds the kernel side (`enforcer-ebpf`, binary `guards`) as `$OUT_DIR/guards`, with the tools
//! that `cargo xtask setup` put into the cache.
#![expect(
    clippy::disallowed_macros,
    reason = "cargo reads the standard output of a build script"
)]

#[path = "../xtask/src/tools_file.rs"]
mod tools_file;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow};
use aya_build::{Package, Toolchain, build_ebpf};
use tools_file::{CACHE_VARIABLES, FILE_NAME, Tools, cache_dir};

/// Prints an error as `cargo::error`, which fails the build; an exit code other than 0 would bury
/// the sentence under all other output of this script.
fn main() {
    // aya-build adds the package itself; profiles and versions are the workspace's.
    for path in [
        "build.rs",
        "../xtask/src/tools_file.rs",
        "../Cargo.toml",
        "../Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    for name in CACHE_VARIABLES {
        println!("cargo::rerun-if-env-changed={name}");
    }

    let (release, tools) = match find_tools() {
        Ok(found) => found,
        Err(why) => {
            println!("cargo::error=the eBPF tools are missing ({why}): run `cargo xtask setup`");
            return;
        }
    };
    if let Err(error) = build(&release, &tools) {
        println!("cargo::error=failed to build the guards: {error:#}");
    }
}

/// Returns the compiler's release, and the tools in the cache of that name.
fn find_tools() -> Result<(String, Tools), String> {
    let release = rustc_release().map_err(|error| format!("{error:#}"))?;
    let dir = cache_dir(&release)?;
    // A cache that was emptied, or filled elsewhere, is a reason to build again.
    rerun_if_changed(&dir.join(FILE_NAME));
    let tools = Tools::read(&dir)?;
    rerun_if_changed(&tools.linker);
    Ok((release, tools))
}

/// Makes cargo run this script again once a file changes. Cargo knows the names in UTF-8 alone.
fn rerun_if_changed(file: &Path) {
    if let Some(file) = file.to_str() {
        println!("cargo::rerun-if-changed={file}");
    }
}

fn rustc_release() -> Result<String> {
    let rustc = env::var_os("RUSTC").context("cargo did not set RUSTC")?;
    let output = Command::new(&rustc)
        .arg("-Vv")
        .output()
        .with_context(|| format!("failed to run {rustc:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    tools_file::release(&text)
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("`{rustc:?} -Vv` names no release"))
}

fn build(release: &str, tools: &Tools) -> Result<()> {
    let build_dir = ebpf_build_dir()?;
    for (name, value) in tools.environment(&build_dir) {
        // SAFETY: the process of the build script has started no other thread: nothing else reads
        // the environment.
        unsafe { env::set_var(name, value) };
    }
    // The running toolchain, under any name.
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| release.to_owned());
    let guards = Package {
        name: "enforcer-ebpf",
        root_dir: "../enforcer-ebpf",
        ..Package::default()
    };
    build_ebpf([guards], Toolchain::Custom(&toolchain))
}

/// Returns `ebpf` in the target folder: `OUT_DIR` is `<target>/<profile>/build/<package>/out`.
fn ebpf_build_dir() -> Result<PathBuf> {
    let out_dir = env::var_os("OUT_DIR").context("cargo did not set OUT_DIR")?;
    let target = Path::new(&out_dir)
        .ancestors()
        .nth(4)
        .ok_or_else(|| anyhow!("no target folder above OUT_DIR ({out_dir:?})"))?;
    Ok(target.join("ebpf"))
}
