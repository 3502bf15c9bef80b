//! `cargo xtask setup`, and the share of each other command.

pub(crate) mod apt;
pub(crate) mod apt_suite;
pub(crate) mod cache;
mod cargo_mutants;
mod core_source;
mod crates_io;
mod kernel_index;
pub(crate) mod kernels;
mod linker;
pub(crate) mod programs;
pub(crate) mod step;

mod toolchain;

use std::path::PathBuf;

use anyhow::{Result, bail};

use self::{
    cache::Cache,
    kernels::{Kernel, KernelLine, LINES},
    toolchain::Toolchain,
};
use crate::{
    tools_file::{FILE_NAME, Tools},
    workspace::Workspace,
};

/// Arguments of `cargo xtask setup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing: only list the tools, and fail if one is missing
    #[arg(long)]
    check: bool,
}

/// Provides all missing tools, then lists all places.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let toolchain = Toolchain::find()?;
    let cache = Cache::of(&toolchain.release)?;
    println!(
        "Rust {} (LLVM {}); tools in {}",
        toolchain.release,
        toolchain.llvm_major,
        cache.dir().display()
    );
    if !args.check {
        ebpf_tools(workspace, &toolchain, &cache)?;
        lab_programs(&cache)?;
        programs::provide(&cache, &programs::VM, "`cargo xtask vm`")?;
        kernels::provide(&cache, &LINES.iter().collect::<Vec<_>>(), false)?;
    }
    match report(&cache)? {
        0 => Ok(()),
        missing => bail!("{missing} tools are missing: run `cargo xtask setup`"),
    }
}

/// Provides the tools of the eBPF build; silent if present.
pub(crate) fn provide_ebpf_tools(workspace: &Workspace) -> Result<Tools> {
    let toolchain = Toolchain::find()?;
    let cache = Cache::of(&toolchain.release)?;
    ebpf_tools(workspace, &toolchain, &cache)
}

/// Provides the programs of the lab; silent if present. Returns the folder, if any, that the lab's
/// PATH must have in addition.
pub(crate) fn provide_lab_programs() -> Result<Option<PathBuf>> {
    let cache = find_cache()?;
    lab_programs(&cache)?;
    Ok(programs::renamed(&cache))
}

/// Provides the programs of `cargo xtask vm` and the kernels of `lines`, newer kernels with
/// `update`; silent if present.
pub(crate) fn provide_vm(lines: &[&'static KernelLine], update: bool) -> Result<Vec<Kernel>> {
    let cache = find_cache()?;
    programs::provide(&cache, &programs::VM, "`cargo xtask vm`")?;
    kernels::provide(&cache, lines, update)
}

/// Provides the programs of `cargo xtask vm --system`, and returns the cache for its disk.
pub(crate) fn provide_system() -> Result<Cache> {
    let cache = find_cache()?;
    programs::provide(&cache, &programs::VM, "`cargo xtask vm`")?;
    programs::provide(&cache, &programs::SYSTEM, "`cargo xtask vm --system`")?;
    Ok(cache)
}

/// Provides cargo-mutants and returns its path; silent if present.
pub(crate) fn provide_cargo_mutants(workspace: &Workspace) -> Result<PathBuf> {
    cargo_mutants::provide(workspace, &find_cache()?)
}

/// Returns the cache of the compiler in use.
pub(crate) fn find_cache() -> Result<Cache> {
    Cache::of(&Toolchain::find()?.release)
}

fn lab_programs(cache: &Cache) -> Result<()> {
    programs::provide(cache, &programs::LAB, "the lab")
}

fn ebpf_tools(workspace: &Workspace, toolchain: &Toolchain, cache: &Cache) -> Result<Tools> {
    if let Ok(tools) = ready_tools(cache) {
        return Ok(tools);
    }
    let lock = cache.lock()?;
    // The previous holder of the lock may have provided the tools.
    if let Ok(tools) = ready_tools(cache) {
        return Ok(tools);
    }
    let core_source = core_source::provide(toolchain, &lock)?;
    let linker = linker::provide(workspace, toolchain, &lock)?;
    let text = format!(
        "# Written by `cargo xtask setup`, read by enforcer/build.rs.\n\
         linker = {}\ncore-source = {}\nllvm = {}\n",
        linker.display(),
        core_source.display(),
        toolchain.llvm_major
    );
    lock.write(FILE_NAME, &text)?;
    Ok(Tools {
        linker,
        core_source,
    })
}

/// Returns the tools if all are present, start, and have the release of this tree.
fn ready_tools(cache: &Cache) -> Result<Tools, String> {
    let tools = Tools::read(cache.dir())?;
    if tools.linker != linker::path(cache) {
        return Err(format!("{} is of another release", tools.linker.display()));
    }
    if !linker::starts(&tools.linker) {
        return Err(format!("{} does not start", tools.linker.display()));
    }
    Ok(tools)
}

/// Lists all tools with their places, and returns the number of missing tools.
fn report(cache: &Cache) -> Result<usize> {
    let mut missing = 0;
    let mut line = |name: &str, found: Option<PathBuf>, otherwise: &str| {
        if let Some(place) = found {
            println!("  {name:<18} {}", place.display());
        } else {
            missing += 1;
            println!("  {name:<18} missing: {otherwise}");
        }
    };
    let linker = Some(linker::path(cache)).filter(|path| linker::starts(path));
    let source = core_source::find(cache)?;
    let complete = linker.is_some() && source.is_some();
    line("bpf-linker", linker, "built from crates.io");
    line(core_source::LABEL, source, "Debian's or rustup's rust-src");
    if let (true, Err(why)) = (complete, ready_tools(cache)) {
        line(FILE_NAME, None, &why);
    }
    for program in programs::LAB.iter().chain(&programs::VM) {
        let otherwise = format!("package {}, {}", program.package, program.why);
        line(program.name, program.find(cache), &otherwise);
    }
    for kernel in &LINES {
        let found = Kernel::find(cache, kernel).map(|kernel| kernel.dir);
        let otherwise = format!("Debian's kernel in {}", kernel.suites.join(" or "));
        line(&kernel.label(), found, &otherwise);
    }
    Ok(missing)
}
