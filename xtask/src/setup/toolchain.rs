//! The Rust compiler in use, as described by `rustc`.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{process, tools_file};

/// Compiler pinned by `rust-toolchain.toml`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// Release, such as `1.95.0`.
    pub(crate) release: String,
    /// Major version of the compiler's LLVM.
    pub(crate) llvm_major: u32,
}

impl Toolchain {
    /// Asks the compiler for its release and LLVM.
    pub(crate) fn find() -> Result<Self> {
        let mut rustc = rustc(&["-Vv"]);
        let text = process::capture(&mut rustc)?;
        Self::parse(&text).with_context(|| {
            format!(
                "failed to parse the output of `{}`",
                process::command_line(&rustc)
            )
        })
    }

    fn parse(text: &str) -> Result<Self> {
        let release = tools_file::release(text).context("no line names the release")?;
        let llvm_major = text
            .lines()
            .find_map(|line| line.strip_prefix("LLVM version: "))
            .and_then(|version| version.split('.').next()?.trim().parse().ok())
            .context("no line names the LLVM version")?;
        Ok(Self {
            release: release.to_owned(),
            llvm_major,
        })
    }
}

/// Returns the root of the toolchain; `lib` below has the compiler's own libraries.
pub(crate) fn sysroot() -> Result<PathBuf> {
    let text = process::capture(&mut rustc(&["--print", "sysroot"]))?;
    Ok(PathBuf::from(text.trim()))
}

fn rustc(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_and_llvm_are_found() {
        let text = "\
rustc 1.95.0 (59807616e 2026-04-14)
binary: rustc
host: x86_64-unknown-linux-gnu
release: 1.95.0
LLVM version: 22.1.2
";
        assert_eq!(
            Toolchain::parse(text).unwrap(),
            Toolchain {
                release: "1.95.0".to_owned(),
                llvm_major: 22
            }
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Toolchain::parse("release: 1.95.0\n").unwrap_err();
        assert_eq!(error.to_string(), "no line names the LLVM version");
    }
}
