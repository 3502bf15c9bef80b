//! cargo-mutants in the scratch copy of the tree.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{rooms::Selection, score::Score, scratch::Scratch};
use crate::{interrupt, process};

/// Cases of each property test with the default number of cases.
const PROPERTY_CASES: &str = "2000";

/// Options of cargo for optimised dependencies, built once: property tests then take a fifth of the
/// time, and the crate with the mutant still builds fast.
const OPTIMISED_DEPENDENCIES: [&str; 2] = ["--config", "profile.dev.package.'*'.opt-level=1"];

/// cargo-mutants, for one scratch copy.
pub(super) struct Tool<'a> {
    program: PathBuf,
    scratch: &'a Scratch,
}

impl<'a> Tool<'a> {
    /// Returns the tool at the path `program`.
    pub(super) fn new(program: PathBuf, scratch: &'a Scratch) -> Self {
        Self { program, scratch }
    }

    /// Returns the names of all mutants of a selection.
    pub(super) fn list(&self, selection: &Selection) -> Result<Vec<String>> {
        let mut command = self.command(selection);
        let text = process::capture(command.args(["--list", "--colors", "never"]))?;
        Ok(lines(&text))
    }

    /// Tests the mutants of a selection except `others`; `expected` mutants remain.
    pub(super) fn test(
        &self,
        selection: &Selection,
        expected: usize,
        others: &[&str],
    ) -> Result<Score> {
        let package = selection.package();
        let dir = self.scratch.results(package);
        let results = dir.join("mutants.out");
        exclude(&dir, &results, others)?;

        let mut command = self.command(selection);
        command
            .args(["--in-place", "--iterate", "--annotations", "none"])
            .arg("--output")
            .arg(&dir)
            // For the build and for the tests; `--cargo-test-arg` is for the tests only.
            .args(
                selection
                    .tests()
                    .iter()
                    .chain(&OPTIMISED_DEPENDENCIES)
                    .map(|argument| format!("--cargo-arg={argument}")),
            );
        if !selection.filters().is_empty() {
            // Behind the first `--` cargo's own arguments, behind the second the test program's.
            command.args(["--", "--"]).args(selection.filters());
        }
        println!("\n== {package}: {expected} mutants");
        let status = process::run_to_end(&mut command)?;
        if interrupt::seen() {
            bail!("interrupted");
        }
        // Codes of cargo-mutants: 2 and 3 mean survivors and timeouts.
        match status.code() {
            Some(0 | 2 | 3) => {}
            Some(4) => bail!(
                "the unit tests of {package} fail without a mutant: run `cargo test -p {package} \
                 {}`",
                selection.tests().join(" ")
            ),
            _ => bail!(
                "cargo-mutants failed ({status}) on {package}: see {}",
                results.display()
            ),
        }
        let score = read(&results)?;
        if score.total() != expected {
            bail!(
                "cargo-mutants tested {} of {expected} mutants of {package}: see {}",
                score.total(),
                results.display()
            );
        }
        Ok(score)
    }

    /// Returns cargo-mutants for the files of a selection.
    fn command(&self, selection: &Selection) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("mutants")
            .arg("--dir")
            .arg(self.scratch.tree())
            .args(["--no-config", "--package", selection.package()])
            .args(selection.files().iter().flat_map(|file| ["--file", file]))
            .env("CARGO_TARGET_DIR", self.scratch.target())
            .env("CARGO_PROFILE_DEV_DEBUG", "none")
            .env("CARGO_INCREMENTAL", "1")
            .env("PROPTEST_CASES", PROPERTY_CASES);
        command
    }
}

/// Prepares the results' folder so that `--iterate` leaves `others` out, as if an earlier run had
/// killed them. The filter by name, `--re`, does not apply to all mutants in release 27.1.0:
/// deleted fields of struct expressions pass.
fn exclude(dir: &Path, results: &Path, others: &[&str]) -> Result<()> {
    let prepare = || {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(results)?;
        fs::write(results.join("previously_caught.txt"), others.join("\n"))
    };
    prepare().with_context(|| format!("failed to prepare {}", results.display()))
}

/// Reads the fates of the tested mutants from the results' folder.
fn read(results: &Path) -> Result<Score> {
    let read = |name: &str| {
        let path = results.join(name);
        fs::read_to_string(&path)
            .map(|text| lines(&text))
            .with_context(|| format!("failed to read {}", path.display()))
    };
    Ok(Score {
        killed: read("caught.txt")?,
        survived: read("missed.txt")?,
        unviable: read("unviable.txt")?,
        timeout: read("timeout.txt")?,
    })
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
