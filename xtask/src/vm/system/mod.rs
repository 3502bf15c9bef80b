//! `cargo xtask vm --system`: a whole Debian with systemd, Podman and firewalld.
//!
//! One guest runs the trials of Podman, the firewall and the service. Others boot under the
//! attack of a neighbour, and one boots without the enforcer: the control of these.

mod guest;
mod image;
mod neighbour;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use self::{guest::Boot, image::Image, neighbour::Neighbour};
use super::{
    accelerator::Wish,
    console::{ENDED, UP, judge},
    qemu::Accelerator,
    run::tail,
    shell_line,
    watch::{Limits, watch},
};
use crate::{
    interrupt::{self, Deferred},
    lab::Lab,
    setup,
    summary::Summary,
    workspace::Workspace,
};

/// A whole system under TCG takes its time; a hung one says nothing.
const LIMITS: Limits = Limits {
    silence: Duration::from_secs(6 * 60),
    total: Duration::from_secs(25 * 60),
};

/// What all boots share.
struct Setting<'a> {
    workspace: &'a Workspace,
    lab: &'a Lab,
    image: &'a Image,
    accelerator: Accelerator,
}

/// Runs all guests, one after the other. Fails unless every trial passed.
pub(super) fn run(
    workspace: &Workspace,
    accel: Wish,
    filter: Option<&str>,
    boots: u32,
) -> Result<()> {
    let start = Instant::now();
    let cache = setup::provide_system()?;
    let image = image::provide(&cache)?;
    let lab = Lab::build(workspace)?;
    let setting = Setting {
        workspace,
        lab: &lab,
        image: &image,
        accelerator: accel.decide(&image.kernel())?,
    };
    println!(
        "Debian {} with kernel {}, under {}",
        image.debian,
        image.release,
        setting.accelerator.name()
    );
    let deferred = Deferred::noted();
    let mut sum = Summary::default();
    sum += setting.one("trials", "the trials", false, filter);
    // A filter is for the trials.
    if filter.is_none() {
        sum += setting.one("open-boot", "a boot without the enforcer", true, None);
        for number in 1..=boots {
            let title = format!("boot {number} of {boots} under attack");
            sum += setting.one("boot", &title, true, None);
        }
    }
    drop(deferred);
    if interrupt::seen() {
        bail!("interrupted; the guest is gone");
    }
    println!("\n{sum}, in {:.0} s", start.elapsed().as_secs_f32());
    match (sum.failed, sum.passed) {
        (0, 0) => bail!("no trial ran"),
        (0, _) => Ok(()),
        (failed, passed) => bail!("{failed} of {} failed", failed + passed),
    }
}

impl Setting<'_> {
    /// Boots one guest. One that gives no results to be trusted is one failure, with
    /// the end of its console.
    fn one(&self, command: &str, title: &str, attacked: bool, filter: Option<&str>) -> Summary {
        if interrupt::seen() {
            return Summary::default();
        }
        println!("\n== {title}");
        self.boot(command, attacked, filter)
            .unwrap_or_else(|error| {
                eprintln!("error: {title}: {error:#}");
                Summary {
                    passed: 0,
                    failed: 1,
                }
            })
    }

    fn boot(&self, command: &str, attacked: bool, filter: Option<&str>) -> Result<Summary> {
        let open = command == "open-boot";
        let neighbour = match attacked {
            true => {
                let [tests, _] = self.lab.binaries();
                Some(Neighbour::start(tests)?)
            }
            false => None,
        };
        let socket = neighbour.as_ref().map(Neighbour::socket);
        let mut words = vec![command, "--color", "never"];
        words.extend(["--enforcer", "/usr/local/bin/enforcer"]);
        words.extend(filter);
        let boot = Boot {
            command: shell_line(&words).trim_end().to_owned(),
            listening: attacked,
            open,
            neighbour: socket.as_deref(),
        };
        let initramfs = boot.initramfs(self.workspace, self.lab, self.image)?;
        let mut qemu = boot.qemu(self.accelerator, self.image, &initramfs)?;
        let mut is_up = false;
        let mut show = |line: &str| {
            let line = line.trim_start_matches(|c: char| c.is_control());
            is_up |= line.starts_with(UP);
            if is_up && !line.is_empty() && !line.starts_with(ENDED) {
                println!("{line}");
            }
            is_up &= !line.starts_with(ENDED);
        };
        let transcript = watch(&mut qemu, LIMITS, &mut show)?;
        println!("gone after {:.0} s", transcript.took.as_secs_f32());
        let head = format!("system {} kernel {}", self.image.debian, self.image.release);
        let mut sum = match judge(&transcript, &head) {
            Ok(sum) => sum,
            Err(why) => {
                for line in tail(&transcript.lines) {
                    eprintln!("    {line}");
                }
                bail!("{why}");
            }
        };
        if let Some(neighbour) = neighbour {
            let tally = neighbour.tally()?;
            println!(
                "the neighbour sent {} SYNs, and heard {} frames, {} SYN-ACKs, {} bytes of services",
                tally.syns, tally.frames, tally.syn_acks, tally.bytes
            );
            match tally.fault(open) {
                None => sum.passed += 1,
                Some(why) => {
                    eprintln!("error: {why}");
                    sum.failed += 1;
                }
            }
        }
        Ok(sum)
    }
}
