//! `cargo xtask vm --system`: a whole Debian with systemd, Podman and firewalld.
//!
//! One guest runs the scenarios of Podman, the firewall and the service. Other guests boot under
//! the attack of a neighbour: without the enforcer, as the control; without the enforcer but with a
//! network manager that waits for the policy; with obstacles in the way of the enforcer; and with
//! the enforcer.

mod boot;
mod disk;
mod neighbour;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use self::{
    boot::Boot,
    disk::Disk,
    neighbour::{BootKind, Neighbour},
};
use super::{
    initramfs::command,
    machine::{
        accelerator::AccelChoice,
        console::{ENDED_PREFIX, judge, tail},
        qemu::Accelerator,
        supervise::{Limits, UP_PREFIX, supervise},
    },
    pool,
};
use crate::{
    interrupt::{self, Deferred},
    lab::Lab,
    setup::{self, kernels::Kernel},
    summary::Summary,
    workspace::Workspace,
};

/// Limits of a guest: a whole system under TCG takes minutes; a hung system is silent.
const LIMITS: Limits = Limits {
    silence: Duration::from_secs(6 * 60),
    total: Duration::from_secs(25 * 60),
};

/// Kinds of obstacles in the way of the guards, as `enforcer-tests system obstruct` knows them.
const OBSTACLES: [(&str, &str); 2] = [
    (
        "files",
        "a boot with files and locks in the way of the guards",
    ),
    ("peers", "a boot with 256 peers by key on hung daemons"),
];

/// Settings shared by all boots.
struct SystemRun<'a> {
    workspace: &'a Workspace,
    lab: &'a Lab,
    disk: &'a Disk,
    accelerator: Accelerator,
}

/// Runs all guests. Fails unless every scenario passed.
pub(super) fn run(
    workspace: &Workspace,
    accel: AccelChoice,
    choice: Choice<'_>,
    kernel: Option<Kernel>,
) -> Result<()> {
    let start = Instant::now();
    let cache = setup::provide_system()?;
    let mut disk = disk::provide(&cache)?;
    if let Some(kernel) = kernel {
        disk = disk.with_kernel(kernel);
    }
    let lab = Lab::build_as_shipped(workspace)?;
    let system = SystemRun {
        workspace,
        lab: &lab,
        disk: &disk,
        accelerator: accel.decide(&disk.kernel())?,
    };
    println!(
        "Debian {} with kernel {}, under {}",
        disk.debian,
        disk.release,
        system.accelerator.name()
    );
    let deferred = Deferred::noted();
    let guests = choice.guests();
    let sum = pool::run(&guests, |guest, side_by_side| {
        system.one(guest, choice.filter, side_by_side)
    });
    drop(deferred);
    if interrupt::seen() {
        bail!("interrupted; all guests have ended");
    }
    println!("\n{sum}, in {:.0} s", start.elapsed().as_secs_f32());
    match (sum.failed, sum.passed) {
        (0, 0) => bail!("no scenario ran"),
        (0, _) => Ok(()),
        (failed, passed) => bail!("{failed} of {} scenarios failed", failed + passed),
    }
}

/// Choice among the guests and their scenarios.
#[derive(Clone, Copy)]
pub(super) struct Choice<'a> {
    /// Part of the names of scenarios.
    pub(super) filter: Option<&'a str>,
    /// Number of boots with the enforcer under attack.
    pub(super) boots: u32,
    /// Beginning of the names of guests.
    pub(super) only: Option<&'a str>,
}

impl Choice<'_> {
    /// Returns the guests to boot.
    fn guests(self) -> Vec<Guest> {
        let guest = |name: &str, title: &str, kind| Guest::new(name, title, kind);
        let mut guests = vec![guest("scenarios", "the scenarios", None)];
        // A filter selects scenarios, and leaves the boots out.
        if self.filter.is_none() {
            let unguarded = "a boot without the enforcer";
            guests.push(guest("unguarded", unguarded, Some(BootKind::Unguarded)));
            let withheld = "a boot without the enforcer, the network manager waiting";
            guests.push(guest("withheld", withheld, Some(BootKind::Withheld)));
            for (kind, title) in OBSTACLES {
                guests.push(guest(kind, title, Some(BootKind::Obstructed(kind))));
            }
            guests.extend((1..=self.boots).map(|number| {
                let title = format!("boot {number} of {} under attack", self.boots);
                guest(&format!("boot {number}"), &title, Some(BootKind::Guarded))
            }));
        }
        guests.retain(|guest| self.only.is_none_or(|only| guest.name.starts_with(only)));
        guests
    }
}

/// Guest of a run.
struct Guest {
    /// Prefix of the guest's lines beside other guests.
    name: String,
    title: String,
    /// Kind of boot under attack; none for the guest with the scenarios.
    attack: Option<BootKind>,
}

impl Guest {
    fn new(name: &str, title: &str, attack: Option<BootKind>) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            attack,
        }
    }
}

impl SystemRun<'_> {
    /// Boots one guest, for the scenarios or under attack. A guest without trustworthy results is
    /// one failure, shown with the end of its console.
    fn one(&self, guest: &Guest, filter: Option<&str>, side_by_side: bool) -> Summary {
        pool::print(&format!("\n== {}", guest.title));
        let say = |line: &str| pool::print_as(&guest.name, side_by_side, line);
        self.boot(guest.attack, filter, &say)
            .unwrap_or_else(|error| {
                eprintln!("error: {}: {error:#}", guest.title);
                Summary::FAILURE
            })
    }

    /// Boots a guest to its end and returns the results of its console and of its neighbour.
    fn boot(
        &self,
        attack: Option<BootKind>,
        filter: Option<&str>,
        say: &dyn Fn(&str),
    ) -> Result<Summary> {
        let [tests, _] = self.lab.binaries();
        let neighbour = attack
            .map(|kind| Neighbour::start(tests).map(|neighbour| (kind, neighbour)))
            .transpose()?;
        let socket = neighbour.as_ref().map(|(_, neighbour)| neighbour.socket());
        let boot = Boot {
            command: guest_command(attack, filter),
            listening: attack.is_some(),
            obstacles: match attack {
                Some(BootKind::Obstructed(kind)) => Some(kind),
                _ => None,
            },
            masked: matches!(attack, Some(BootKind::Unguarded | BootKind::Withheld)),
            require: attack == Some(BootKind::Withheld),
            neighbour: socket.as_deref(),
        };
        let mut sum = self.console(&boot, say)?;
        if let Some((kind, neighbour)) = neighbour {
            let tally = neighbour.tally()?;
            say(&tally.to_string());
            match tally.fault(kind) {
                None => sum.passed += 1,
                Some(why) => {
                    eprintln!("error: {why}");
                    sum.failed += 1;
                }
            }
        }
        Ok(sum)
    }

    /// Runs the machine of a boot to its end, and returns the results on the console.
    fn console(&self, boot: &Boot<'_>, say: &dyn Fn(&str)) -> Result<Summary> {
        let initramfs = boot.initramfs(self.workspace, self.lab, self.disk)?;
        let mut qemu = boot.qemu(self.accelerator, self.disk, &initramfs)?;
        let mut is_up = false;
        let mut show = |line: &str| {
            let line = line.trim_start_matches(|c: char| c.is_control());
            is_up |= line.starts_with(UP_PREFIX);
            if is_up && !line.is_empty() && !line.starts_with(ENDED_PREFIX) {
                say(line);
            }
            is_up &= !line.starts_with(ENDED_PREFIX);
        };
        let transcript = supervise(&mut qemu, LIMITS, &mut show)?;
        let seconds = transcript.took.as_secs_f32();
        say(&format!("ended after {seconds:.0} s"));
        let head = format!("system {} kernel {}", self.disk.debian, self.disk.release);
        judge(&transcript, &head).map_err(|why| {
            for line in tail(&transcript.lines) {
                eprintln!("    {line}");
            }
            anyhow!("{why}")
        })
    }
}

/// Returns the arguments of `enforcer-tests system` in a guest.
fn guest_command(attack: Option<BootKind>, filter: Option<&str>) -> String {
    let mut words = vec![attack.map_or("scenarios", BootKind::command)];
    words.extend(["--color", "never"]);
    words.extend(["--enforcer", "/usr/local/bin/enforcer"]);
    words.extend(filter);
    command::quote(&words).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_chosen_by_name_and_a_filter_leaves_the_boots_out() {
        let names = |filter, only| {
            let choice = Choice {
                filter,
                boots: 2,
                only,
            };
            let names = choice.guests().into_iter().map(|guest| guest.name);
            names.collect::<Vec<_>>().join(" ")
        };
        let all = "scenarios unguarded withheld files peers boot 1 boot 2";
        assert_eq!(names(None, None), all);
        assert_eq!(names(Some("service"), None), "scenarios");
        assert_eq!(names(None, Some("boot")), "boot 1 boot 2");
        assert_eq!(names(None, Some("peers")), "peers");
    }
}
