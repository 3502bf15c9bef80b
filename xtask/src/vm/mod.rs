//! `cargo xtask vm`: the lab on other kernels.

mod initramfs;
mod lab_guests;
mod machine;
mod pool;
mod shell;
mod system;

use anyhow::{Context as _, Result, bail};

use self::machine::accelerator::AccelChoice;
use crate::{
    lab::Lab,
    setup::{
        self,
        kernels::{Kernel, KernelLine, LINES, is_of_version},
    },
    workspace::Workspace,
};

/// Arguments of `cargo xtask vm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run only scenarios with this in their name
    filter: Option<String>,
    /// Boot only this line, such as 6.1; may be repeated
    #[arg(long, value_name = "LINE")]
    kernel: Vec<String>,
    /// List the kernel lines and their cached kernels, and do nothing else
    #[arg(long, conflicts_with_all = ["filter", "shell", "update"])]
    list: bool,
    /// Get newer kernels from Debian before booting
    #[arg(long)]
    update: bool,
    /// Give a prompt in a guest instead (of the newest line, unless told otherwise)
    #[arg(long, conflicts_with = "filter")]
    shell: bool,
    /// Boot a whole Debian with systemd, Podman and firewalld instead, and run its scenarios; with
    /// --kernel under that kernel
    #[arg(long, conflicts_with_all = ["list", "update", "shell"])]
    system: bool,
    /// With --system: the number of boots under attack
    #[arg(long, requires = "system", default_value_t = 3, value_name = "N")]
    boots: u32,
    /// With --system: boot only this guest: scenarios, unguarded, withheld, files, peers, boot
    #[arg(long, requires = "system", value_name = "GUEST")]
    only: Option<String>,
    /// Accelerator of the guests
    #[arg(long, value_enum, default_value_t, value_name = "WAY")]
    accel: AccelChoice,
}

/// Boots the kernel lines and runs the lab in each.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut lines = select(&args.kernel)?;
    if args.list {
        return list(&lines);
    }
    if !cfg!(target_arch = "x86_64") {
        bail!(
            "the guests run this machine's programs on Debian's amd64 kernels: use an x86-64 machine"
        );
    }
    if args.system {
        let kernel = match (lines.as_slice(), args.kernel.len()) {
            (_, 0) => None,
            ([_], _) => setup::provide_vm(&lines, false)?.pop(),
            _ => bail!("--system boots one kernel: give --kernel once"),
        };
        let choice = system::Choice {
            filter: args.filter.as_deref(),
            boots: args.boots,
            only: args.only.as_deref(),
        };
        return system::run(workspace, args.accel, choice, kernel);
    }
    if args.shell {
        lines = match (lines.as_slice(), args.kernel.len()) {
            ([.., newest], 0) => vec![*newest],
            ([one], _) => vec![*one],
            _ => bail!("--shell boots one guest: give --kernel once"),
        };
    }
    let kernels = setup::provide_vm(&lines, args.update)?;
    let lab = Lab::build(workspace)?;
    let first = kernels.first().context("no kernel line was selected")?;
    let accelerator = args.accel.decide(&first.image())?;
    if args.shell {
        return shell::run(workspace, &lab, first, accelerator);
    }
    lab_guests::run(
        workspace,
        &lab,
        &kernels,
        accelerator,
        args.filter.as_deref(),
    )
}

/// Returns the wanted lines, by name or by the first numbers of a cached release.
fn select(wanted: &[String]) -> Result<Vec<&'static KernelLine>> {
    if wanted.is_empty() {
        return Ok(LINES.iter().collect());
    }
    let cache = setup::find_cache()?;
    let is = |line: &&'static KernelLine, name: &str| {
        line.name == name
            || Kernel::find(&cache, line).is_some_and(|kernel| is_of_version(&kernel.release, name))
    };
    let mut lines = Vec::new();
    for name in wanted {
        let Some(line) = LINES.iter().find(|line| is(line, name)) else {
            let names = LINES.map(|line| line.name).join(", ");
            bail!("no kernel line is called `{name}`: choose from {names}");
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    Ok(lines)
}

/// Prints each line with its cached kernel.
fn list(lines: &[&'static KernelLine]) -> Result<()> {
    let cache = setup::find_cache()?;
    for line in lines {
        let suites = line.suites.join(", ");
        match Kernel::find(&cache, line) {
            Some(kernel) => println!(
                "{:<7} {:<28} {} from {}, in {}",
                line.name,
                kernel.release,
                kernel.version,
                kernel.suite,
                kernel.dir.display()
            ),
            None => println!(
                "{:<7} {:<28} the newest of {suites}",
                line.name, "not cached"
            ),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_line_is_named_with_those_that_exist() {
        let error = select(&["5.10".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`5.10`"), "{error}");
        assert!(error.contains("6.1, 6.12, newest"), "{error}");
    }

    #[test]
    fn a_line_is_selected_once() {
        let names = ["6.12", "6.1", "6.12"].map(str::to_owned);
        let lines: Vec<_> = select(&names)
            .unwrap()
            .iter()
            .map(|line| line.name)
            .collect();
        assert_eq!(lines, ["6.12", "6.1"]);
        assert_eq!(select(&[]).unwrap().len(), LINES.len());
    }
}
