//! The source files under test: rooms with decisions and without effects.

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// The pure rooms of a crate.
struct PureRooms {
    package: &'static str,
    /// Folder of the crate's source.
    source: &'static str,
    /// Options of `cargo test` for the unit tests.
    tests: &'static [&'static str],
    /// Names of the tests to run, by a part of the name; all tests if empty.
    filters: &'static [&'static str],
    /// Modules: a file, a folder of the same name, or both.
    modules: &'static [&'static str],
}

/// The rooms of `cargo xtask mutants`, in the order of testing. `enforcer` is first, as a change
/// in `enforcer-ebpf` would build the kernel side again.
const PURE_ROOMS: [PureRooms; 2] = [
    PureRooms {
        package: "enforcer",
        source: "enforcer/src/",
        tests: &["--lib"],
        // A room's mutants are for its own tests: the other tests wait for sockets and clocks.
        filters: &["decisions::", "daemon::", "policy::"],
        modules: &[
            "enforcer/src/decisions",
            "enforcer/src/daemon/reconciler",
            "enforcer/src/policy",
        ],
    },
    PureRooms {
        package: "enforcer-ebpf",
        source: "enforcer-ebpf/src/",
        tests: &["--tests"],
        filters: &[],
        modules: &[
            "enforcer-ebpf/src/decision",
            "enforcer-ebpf/src/packet",
            "enforcer-ebpf/src/address",
        ],
    },
];

/// Files of one crate under test.
pub(super) struct Selection {
    rooms: &'static PureRooms,
    files: Vec<String>,
}

impl Selection {
    /// Name of the crate.
    pub(super) fn package(&self) -> &'static str {
        self.rooms.package
    }

    /// Options of `cargo test` for the unit tests.
    pub(super) fn tests(&self) -> &'static [&'static str] {
        self.rooms.tests
    }

    /// Names of the tests to run; all tests if empty.
    pub(super) fn filters(&self) -> &'static [&'static str] {
        self.rooms.filters
    }

    /// Source files, as paths in the tree.
    pub(super) fn files(&self) -> &[String] {
        &self.files
    }
}

/// Returns the files of `wanted`, or of all pure rooms if none is wanted, crate by crate.
pub(super) fn select(workspace: &Workspace, wanted: &[String]) -> Result<Vec<Selection>> {
    let mut selected = Vec::new();
    for path in wanted {
        let found = match workspace.path(path).exists() {
            true => workspace.files(path, &["rs"])?,
            false => Vec::new(),
        };
        let is_source = |rooms: &PureRooms| path.starts_with(rooms.source);
        if found.is_empty() || !PURE_ROOMS.iter().any(is_source) {
            bail!(
                "{path} is no source file of enforcer or enforcer-ebpf: name a file or folder \
                 below enforcer/src or enforcer-ebpf/src, relative to the root of the tree"
            );
        }
        selected.extend(found);
    }
    if wanted.is_empty() {
        for module in PURE_ROOMS.iter().flat_map(|rooms| rooms.modules) {
            selected.extend(module_files(workspace, module)?);
        }
    }
    let mut rooms = Vec::new();
    for crate_rooms in &PURE_ROOMS {
        let is_own = |file: &&String| file.starts_with(crate_rooms.source);
        let files: Vec<_> = selected.iter().filter(is_own).cloned().collect();
        if !files.is_empty() {
            rooms.push(Selection {
                rooms: crate_rooms,
                files,
            });
        }
    }
    Ok(rooms)
}

/// Returns the file of a module and the files below its folder.
fn module_files(workspace: &Workspace, module: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for path in [format!("{module}.rs"), module.to_owned()] {
        if workspace.path(&path).exists() {
            files.extend(workspace.files(&path, &["rs"])?);
        }
    }
    if files.is_empty() {
        bail!(
            "neither {module}.rs nor {module}/ exists: correct PURE_ROOMS in \
             xtask/src/mutants/rooms.rs"
        );
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select_names(wanted: &[&str]) -> Result<Vec<String>> {
        let wanted: Vec<_> = wanted.iter().map(|&name| name.to_owned()).collect();
        let rooms = select(&Workspace::find()?, &wanted)?;
        Ok(rooms.iter().flat_map(Selection::files).cloned().collect())
    }

    #[test]
    fn every_pure_room_exists() {
        let files = select_names(&[]).unwrap();
        assert!(files.contains(&"enforcer-ebpf/src/decision.rs".to_owned()));
        assert!(files.iter().all(|file| file.ends_with(".rs")));
    }

    #[test]
    fn a_module_without_files_is_named() {
        let workspace = Workspace::find().unwrap();
        let error = module_files(&workspace, "enforcer/src/gone").unwrap_err();
        assert!(error.to_string().contains("enforcer/src/gone.rs"));
    }

    #[test]
    fn only_sources_of_the_two_crates_are_accepted() {
        let files = select_names(&["enforcer-ebpf/src/decision.rs"]).unwrap();
        assert_eq!(files, ["enforcer-ebpf/src/decision.rs"]);
        select_names(&["xtask/src/main.rs"]).unwrap_err();
        select_names(&["enforcer/src/no-such-file.rs"]).unwrap_err();
        select_names(&["enforcer/Cargo.toml"]).unwrap_err();
    }
}
