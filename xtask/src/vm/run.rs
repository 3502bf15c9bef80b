//! The lab in each guest, and what is said about it.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    console::{ENDED, is_closing, judge, panic_in},
    crowd, guest, initramfs,
    qemu::{Accelerator, Initramfs, Machine},
    shell_line,
    watch::{Limits, Transcript, watch},
};
use crate::{
    interrupt::{self, Deferred},
    lab::Lab,
    setup::kernels::Kernel,
    summary::Summary,
    workspace::Workspace,
};

/// A trial takes seconds, and a whole run minutes; a hung kernel says nothing.
const LIMITS: Limits = Limits {
    silence: Duration::from_secs(4 * 60),
    total: Duration::from_secs(30 * 60),
};

/// A guest with fewer results has not run the lab: the attack table alone has 22 rows, each
/// with a trial or more.
const FEWEST: usize = 25;

/// A kernel's trials are dealt out to no more guests than this, each of which boots for itself and
/// has [`FEWEST`] results to give.
const MOST_PARTS: usize = 4;

/// How many of a failed guest's last lines are worth showing.
const TAIL: usize = 20;

/// Runs the lab in a guest of each kernel. Fails unless all did, with enough scenarios
/// each, and none failed.
pub(crate) fn all(
    workspace: &Workspace,
    lab: &Lab,
    kernels: &[Kernel],
    accelerator: Accelerator,
    filter: Option<&str>,
) -> Result<()> {
    let start = Instant::now();
    let common = guest::archive(workspace, lab)?;
    let deferred = Deferred::noted();
    // In parts, so that no processor is idle while the last kernel has its turn.
    let parts = match filter {
        None => crowd::size().min(MOST_PARTS),
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
    let sum = crowd::run(&guests, |guest, crowded| {
        guest.run(&common, accelerator, filter, crowded)
    });
    drop(deferred);
    if interrupt::seen() {
        bail!("interrupted; the guests are gone");
    }
    let seconds = start.elapsed().as_secs_f32();
    let names: Vec<_> = kernels.iter().map(|kernel| kernel.line.name).collect();
    println!("\n{sum} on {}, in {seconds:.0} s", names.join(", "));
    if sum.failed > 0 {
        bail!("{} of {} failed", sum.failed, sum.failed + sum.passed);
    }
    Ok(())
}

/// A guest that is to run some of a kernel's trials.
struct Guest<'a> {
    kernel: &'a Kernel,
    /// Which part of the trials, from 1.
    part: usize,
    parts: usize,
}

impl Guest<'_> {
    /// What it is called: the kernel line, and the part where there are several.
    fn name(&self) -> String {
        match self.parts {
            1 => self.kernel.line.name.to_owned(),
            parts => format!("{} {}/{parts}", self.kernel.line.name, self.part),
        }
    }

    /// Runs the lab in it, and shows that. A guest that gives no results to be trusted is one
    /// failure, with the end of its console.
    fn run(
        &self,
        common: &[u8],
        accelerator: Accelerator,
        filter: Option<&str>,
        crowded: bool,
    ) -> Summary {
        let initramfs = initramfs(common, &self.command(filter), self.kernel);
        let transcript =
            initramfs.and_then(|initramfs| self.boot(&initramfs, accelerator, crowded));
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

    /// What it is there for, as a line of shell.
    fn command(&self, filter: Option<&str>) -> String {
        let color = if std::io::stdout().is_terminal() {
            "always"
        } else {
            "never"
        };
        let part = format!("{}/{}", self.part, self.parts);
        let mut words = vec!["exec", "enforcer-tests", "guest", "--color", color];
        words.extend(["--enforcer", "/usr/bin/enforcer", "--part", &part]);
        words.extend(filter);
        shell_line(&words)
    }

    /// Boots it and shows its output as it comes; with its name before each line if others do the
    /// same meanwhile, but for the closing line.
    fn boot(
        &self,
        initramfs: &Initramfs,
        accelerator: Accelerator,
        crowded: bool,
    ) -> Result<Transcript> {
        let kernel = self.kernel;
        let machine = Machine::new(accelerator, kernel.image(), initramfs);
        let name = self.name();
        crowd::say(&format!(
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
                parts => format!(", part {} of {parts} of the trials", self.part),
            },
        ));
        let mut ended = false;
        let mut show = |line: &str| {
            // How the machine powers off is of interest only where that fails.
            ended |= line.starts_with(ENDED);
            if ended || line.is_empty() {
                return;
            }
            crowd::say_as(&name, crowded && !is_closing(line), line);
        };
        let transcript = watch(&mut machine.command()?, LIMITS, &mut show)?;
        if let Some(up) = transcript.up {
            crowd::say(&format!(
                "{name}: up after {:.1} s, gone after {:.1} s",
                up.as_secs_f32(),
                transcript.took.as_secs_f32()
            ));
        }
        Ok(transcript)
    }
}

/// Why a guest's results prove nothing, if there are not enough of them.
fn too_few(summary: Summary, filter: Option<&str>) -> Option<String> {
    let results = summary.passed + summary.failed;
    match filter {
        Some(filter) => (results == 0).then(|| format!("no scenario's name contains `{filter}`")),
        None => (results < FEWEST)
            .then(|| format!("expected at least {FEWEST} scenarios, but it ran {results}")),
    }
}

/// The last lines; if the kernel panicked, those that led there.
pub(super) fn tail(lines: &[String]) -> &[String] {
    let panic = lines.iter().position(|line| panic_in(line).is_some());
    let end = panic.map_or(lines.len(), |panic| panic + 1);
    let from = end.saturating_sub(TAIL);
    lines.get(from..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_results_are_enough_only_where_few_were_asked_for() {
        let some = |passed| Summary { passed, failed: 0 };
        assert_eq!(too_few(some(1), Some("a05")), None);
        assert_eq!(too_few(some(FEWEST), None), None);
        let none = too_few(some(0), Some("a99"));
        assert!(none.is_some_and(|why| why.contains("a99")));
        assert!(too_few(some(FEWEST - 1), None).is_some());
    }

    #[test]
    fn the_lines_before_a_panic_are_shown_not_its_trace() {
        let mut lines: Vec<_> = (0..40).map(|number| format!("line {number}")).collect();
        assert_eq!(tail(&lines).first().unwrap(), "line 20");
        assert_eq!(tail(&lines).last().unwrap(), "line 39");
        lines.insert(30, "[ 2.1] Kernel panic - not syncing: why".to_owned());
        assert_eq!(tail(&lines).first().unwrap(), "line 11");
        assert!(tail(&lines).last().unwrap().ends_with("why"));
        assert!(tail(&[]).is_empty());
    }
}
