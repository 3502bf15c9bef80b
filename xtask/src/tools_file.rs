//! Places of the eBPF tools and environment of their cargo, shared by `cargo xtask setup` and
//! `enforcer/build.rs`.
//!
//! This file is a module of both (of the build script by `#[path]`). Hence the file uses std only
//! and holds no item without a caller on either side.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// Variables that decide the place of the cache, first wins. A build that reads the file depends on
/// these variables.
pub(crate) const CACHE_VARIABLES: [&str; 3] = ["ENFORCER_TOOLS", "XDG_CACHE_HOME", "HOME"];

/// File in the cache that names the tools, as `key = value` lines.
pub(crate) const FILE_NAME: &str = "ebpf-tools";

/// Tools that turn `enforcer-ebpf` into a BPF object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tools {
    /// Path of the `bpf-linker` program.
    pub(crate) linker: PathBuf,
    /// Path of the `library` folder of rustc's own source: BPF has no prebuilt `core`.
    pub(crate) core_source: PathBuf,
}

impl Tools {
    /// Reads the file of the cache `dir` and checks that the named tools exist.
    ///
    /// The error names the missing tool, in a few words.
    pub(crate) fn read(dir: &Path) -> Result<Self, String> {
        let file = dir.join(FILE_NAME);
        let text = fs::read_to_string(&file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("no {file:?}"),
            _ => format!("{file:?}: {error}"),
        })?;
        let tools = Self::parse(&text).map_err(|why| format!("{file:?}: {why}"))?;
        if !tools.linker.is_file() {
            return Err(format!("no bpf-linker at {:?}", tools.linker));
        }
        if !tools.core_source.join("core/src/lib.rs").is_file() {
            return Err(format!("no source of core in {:?}", tools.core_source));
        }
        Ok(tools)
    }

    /// Parses both paths from the file's text; other keys are for people.
    fn parse(text: &str) -> Result<Self, String> {
        let value = |wanted: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| key.trim() == wanted)
                .map(|(_, value)| PathBuf::from(value.trim()))
                .ok_or_else(|| format!("no line `{wanted} = …`"))
        };
        Ok(Self {
            linker: value("linker")?,
            core_source: value("core-source")?,
        })
    }

    /// Returns the environment of a cargo that builds for BPF.
    ///
    /// `build_dir` holds intermediate files: one folder for all profiles, since release, dev and
    /// clippy would otherwise each build `core` again.
    pub(crate) fn environment(&self, build_dir: &Path) -> [(&'static str, OsString); 5] {
        [
            // Lets stable Rust accept the unstable `-Z build-std`.
            ("RUSTC_BOOTSTRAP", "1".into()),
            (
                "__CARGO_TESTS_ONLY_SRC_ROOT",
                self.core_source.clone().into(),
            ),
            (
                "CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER",
                self.linker.clone().into(),
            ),
            ("CARGO_TERM_QUIET", "true".into()),
            ("CARGO_BUILD_BUILD_DIR", build_dir.into()),
        ]
    }
}

/// Returns the cache folder for the compiler `release`:
/// `${ENFORCER_TOOLS:-${XDG_CACHE_HOME:-~/.cache}/enforcer}/<release>`.
///
/// The cache lies outside the tree, so that a fresh clone finds the cache filled.
pub(crate) fn cache_dir(release: &str) -> Result<PathBuf, String> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    let root = match CACHE_VARIABLES.map(set) {
        [Some(tools), ..] => PathBuf::from(tools),
        [_, Some(cache), _] => Path::new(&cache).join("enforcer"),
        [_, _, Some(home)] => Path::new(&home).join(".cache/enforcer"),
        [None, None, None] => return Err("HOME is not set".to_owned()),
    };
    // A build script and cargo run in different folders.
    if root.is_relative() {
        return Err(format!(
            "{root:?} is not an absolute path: set ENFORCER_TOOLS to one"
        ));
    }
    Ok(root.join(release))
}

/// Returns the release in the output of `rustc -Vv`, such as `1.95.0`.
pub(crate) fn release(verbose_version: &str) -> Option<&str> {
    verbose_version
        .lines()
        .find_map(|line| line.strip_prefix("release: "))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_both_paths() {
        let text = "# a comment\nlinker = /c/bin/bpf-linker\n core-source=/c/library \nllvm = 22\n";
        assert_eq!(
            Tools::parse(text),
            Ok(Tools {
                linker: "/c/bin/bpf-linker".into(),
                core_source: "/c/library".into(),
            })
        );
    }

    #[test]
    fn a_missing_line_is_named() {
        let error = Tools::parse("linker = /c/bin/bpf-linker\n").unwrap_err();
        assert!(error.contains("core-source"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Tools::read(Path::new("/nonexistent/1.95.0")).unwrap_err();
        assert_eq!(error, r#"no "/nonexistent/1.95.0/ebpf-tools""#);
    }

    #[test]
    fn the_release_is_the_bare_version() {
        let text = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nrelease: 1.95.0\n";
        assert_eq!(release(text), Some("1.95.0"));
        assert_eq!(release("rustc"), None);
    }
}
