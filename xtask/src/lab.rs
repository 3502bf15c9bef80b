//! The lab's program, built and ready to run as root.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process, setup,
    workspace::{Workspace, is_root, program_folders},
};

/// Release builds of `enforcer-tests` and of the enforcer under test.
pub(crate) struct Lab {
    program: PathBuf,
    enforcer: PathBuf,
    /// Folder of the lab's programs outside PATH.
    programs: Option<PathBuf>,
}

impl Lab {
    /// Provides the lab's tools, and builds both programs and the enforcer with failpoints.
    pub(crate) fn build(workspace: &Workspace) -> Result<Self> {
        let lab = Self::build_as_shipped(workspace)?;
        // A build apart: in a common build, cargo would enable the feature in the shipped binary
        // too.
        let failpoints = ["--features", "failpoints", "--bin", "enforcer-failpoints"];
        let mut cargo = workspace.cargo(["build", "--release", "--package", "enforcer"]);
        process::run(cargo.args(failpoints))?;
        Ok(lab)
    }

    /// Provides the lab's tools and builds both programs, for scenarios without failpoints.
    pub(crate) fn build_as_shipped(workspace: &Workspace) -> Result<Self> {
        setup::provide_ebpf_tools(workspace)?;
        let programs = setup::provide_lab_programs()?;
        let packages = ["--package", "enforcer", "--package", "enforcer-tests"];
        process::run(workspace.cargo(["build", "--release"]).args(packages))?;
        Ok(Self {
            program: workspace.release_binary("enforcer-tests"),
            enforcer: workspace.release_binary("enforcer"),
            programs,
        })
    }

    /// Returns the paths of the lab's program and of the enforcer under test.
    pub(crate) fn binaries(&self) -> [&Path; 2] {
        [&self.program, &self.enforcer]
    }

    /// Returns the folders in which the lab looks up programs.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let extra = self.programs.clone();
        program_folders().into_iter().chain(extra).collect()
    }

    /// Returns the path of the enforcer under test, as an argument.
    pub(crate) fn enforcer(&self) -> String {
        self.enforcer.display().to_string()
    }

    /// Replaces this process by the lab's program, for full control of the terminal and Ctrl-C.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<()> {
        Err(process::replace_with(&mut self.command(arguments)?))
    }

    /// Returns the lab's program with `arguments`. Fails without root: network namespaces and
    /// guards take root.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        if !is_root() {
            bail!(
                "the lab needs root for network namespaces and guards: run `{}`",
                self.sudo_line(arguments)
            );
        }
        let path = env::join_paths(self.folders())
            .context("failed to join the folders of the lab's PATH")?;
        let mut command = Command::new(&self.program);
        command.args(arguments).env("PATH", path);
        Ok(command)
    }

    fn sudo_line(&self, arguments: &[&str]) -> String {
        let mut words = vec!["sudo".to_owned()];
        if let Some(folder) = &self.programs {
            words.push(format!("env \"PATH=$PATH:{}\"", folder.display()));
        }
        words.push(self.program.display().to_string());
        words.extend(arguments.iter().map(|&argument| argument.to_owned()));
        words.join(" ")
    }
}
