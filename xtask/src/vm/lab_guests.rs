//! The lab in a guest of each kernel, with the guests' output.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    initramfs::{self, Initramfs, command},
    machine::{
        console::{ENDED_PREFIX, is_closing, judge, tail},
        qemu::{Accelerator, Machine},
        supervise::{Limits, Transcript, supervise},
    },
    pool,
};
use crate::{
    interrupt::{self, Deferred},
    lab::Lab,
    setup::kernels::Kernel,
    summary::Summary,
    workspace::Workspace,
};

/// Limits of a guest: a scenario takes seconds, a whole run minutes; a hung kernel is silent.
const LIMITS: Limits = Limits {
    silence: Duration::from_secs(4 * 60),
    total: Duration::from_secs(30 * 60),
};

/// Fewest results of a guest that ran the lab: the attack list alone has 22 attacks, each with at
/// least one scenario.
const MIN_RESULTS: usize = 25;

/// Most guests for the scenarios of one kernel. Each guest boots anew, and must give
/// [`MIN_RESULTS`] results.
const MAX_PARTS: usize = 4;

/// Runs the lab in guests of each kernel. Fails at a failed scenario, and at a guest with too few
/// results.
pub(super) fn run(
    workspace: &Workspace,
    lab: &Lab,
    kernels: &[Kernel],
    accelerator: Accelerator,
    filter: Option<&str>,
) -> Result<()> {
    let start = Instant::now();
    let common = initramfs::lab::archive(workspace, lab)?;
    let deferred = Deferred::noted();
    // In parts, so that no processor is idle during the last kernel.
    let parts = match filter {
        None => pool::size().min(MAX_PARTS),
        Some(_) => 1,
    };
    let guests: Vec<Guest<'_>> = kernels
        .iter()
        .flat_map(|kernel| {
            (1..=parts).map(move |part| Guest {
                kernel,
                part,
                parts,
            })
        })
        .collect();
    let sum = pool::run(&guests, |guest, side_by_side| {
        guest.run(&common, accelerator, filter, side_by_side)
    });
    drop(deferred);
    if interrupt::seen() {
        bail!("interrupted; all guests have ended");
    }
    let seconds = start.elapsed().as_secs_f32();
    let names: Vec<_> = kernels.iter().map(|kernel| kernel.line.name).collect();
    println!("\n{sum} on {}, in {seconds:.0} s", names.join(", "));
    if sum.failed > 0 {
        bail!(
            "{} of {} scenarios failed",
            sum.failed,
            sum.failed + sum.passed
        );
    }
    Ok(())
}

/// Guest for some of a kernel's scenarios.
struct Guest<'a> {
    kernel: &'a Kernel,
    /// Number of the part, from 1.
    part: usize,
    parts: usize,
}

impl Guest<'_> {
    /// Returns the name of the kernel line, with the part if there are several.
    fn name(&self) -> String {
        match self.parts {
            1 => self.kernel.line.name.to_owned(),
            parts => format!("{} {}/{parts}", self.kernel.line.name, self.part),
        }
    }

    /// Runs the lab in the guest and shows the output. A guest without trustworthy results is one
    /// failure, shown with the end of its console.
    fn run(
        &self,
        common: &[u8],
        accelerator: Accelerator,
        filter: Option<&str>,
        side_by_side: bool,
    ) -> Summary {
        let initramfs = initramfs::lab::initramfs(common, &self.command(filter), self.kernel);
        let transcript =
            initramfs.and_then(|initramfs| self.boot(&initramfs, accelerator, side_by_side));
        let head = format!("kernel {}", self.kernel.release);
        let (why, lines) = match transcript {
            Err(error) => (format!("{error:#}"), Vec::new()),
            Ok(transcript) => match judge(&transcript, &head) {
                Ok(summary) => match too_few(summary, filter) {
                    None => return summary,
                    Some(why) => (why, Vec::new()),
                },
                Err(why) => (why, transcript.lines),
            },
        };
        if !interrupt::seen() {
            eprintln!("error: kernel line {}: {why}", self.name());
            for line in tail(&lines) {
                eprintln!("    {line}");
            }
        }
        Summary::FAILURE
    }

    /// Returns the guest's command, as a line of shell.
    fn command(&self, filter: Option<&str>) -> String {
        let color = if std::io::stdout().is_terminal() {
            "always"
        } else {
            "never"
        };
        let part = format!("{}/{}", self.part, self.parts);
        let mut words = vec!["exec"];
        // The guest has no file of the host: its record goes to the console.
        if std::env::var_os("ENFORCER_ATTACKS").is_some() {
            words.extend(["env", "ENFORCER_ATTACKS=/proc/self/fd/1"]);
        }
        words.extend(["enforcer-tests", "guest", "--color", color]);
        words.extend(["--enforcer", "/usr/bin/enforcer", "--part", &part]);
        words.extend(filter);
        command::quote(&words)
    }

    /// Boots the guest and shows its output line by line. Beside other guests each line but the
    /// closing line starts with the guest's name.
    fn boot(
        &self,
        initramfs: &Initramfs,
        accelerator: Accelerator,
        side_by_side: bool,
    ) -> Result<Transcript> {
        let kernel = self.kernel;
        let machine = Machine::new(accelerator, kernel.image(), initramfs);
        let name = self.name();
        pool::print(&format!(
            "\n== kernel {}, {} from {}, {} with {} vCPU and {} MiB, initramfs of {} MiB{}",
            kernel.release,
            kernel.version,
            kernel.suite,
            accelerator.name(),
            machine.processors,
            machine.memory,
            initramfs.size() >> 20,
            match self.parts {
                1 => String::new(),
                parts => format!(", part {} of {parts} of the scenarios", self.part),
            },
        ));
        let mut ended = false;
        let mut show = |line: &str| {
            // Output of the power-off is of interest only in a failure.
            ended |= line.starts_with(ENDED_PREFIX);
            if ended || line.is_empty() {
                return;
            }
            pool::print_as(&name, side_by_side && !is_closing(line), line);
        };
        let transcript = supervise(&mut machine.command()?, LIMITS, &mut show)?;
        if let Some(up) = transcript.up {
            pool::print(&format!(
                "{name}: up after {:.1} s, ended after {:.1} s",
                up.as_secs_f32(),
                transcript.took.as_secs_f32()
            ));
        }
        Ok(transcript)
    }
}

/// Returns why a guest's results prove nothing, if there are too few.
fn too_few(summary: Summary, filter: Option<&str>) -> Option<String> {
    let results = summary.passed + summary.failed;
    match filter {
        Some(filter) => (results == 0).then(|| format!("no scenario's name contains `{filter}`")),
        None => (results < MIN_RESULTS)
            .then(|| format!("the guest ran {results} scenarios, expected at least {MIN_RESULTS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_results_are_enough_only_where_few_were_asked_for() {
        let some = |passed| Summary { passed, failed: 0 };
        assert_eq!(too_few(some(1), Some("a05")), None);
        assert_eq!(too_few(some(MIN_RESULTS), None), None);
        let none = too_few(some(0), Some("a99"));
        assert!(none.is_some_and(|why| why.contains("a99")));
        assert!(too_few(some(MIN_RESULTS - 1), None).is_some());
    }
}
