//! `cargo xtask vm --system`: a whole Debian with systemd, Podman and firewalld.
//!
//! One guest runs the trials of Podman, the firewall and the service. Others boot under the
//! attack of a neighbour: without the enforcer, which is the control; without it but with a
//! network manager that waits for it; and with it.

mod guest;
mod image;
mod neighbour;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use self::{
    guest::Boot,
    image::Image,
    neighbour::{Kind, Neighbour},
};
use super::{
    accelerator::Wish,
    console::{ENDED, judge},
    crowd,
    qemu::Accelerator,
    run::tail,
    shell_line,
    watch::{Limits, UP, watch},
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

/// Runs all guests. Fails unless every trial passed.
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
    let mut guests = vec![Guest::new("scenarios", "the scenarios", None)];
    // A filter is for the scenarios.
    if filter.is_none() {
        let open = "a boot without the enforcer";
        guests.push(Guest::new("open", open, Some(Kind::Open)));
        let shut = "a boot without it, the network manager waiting";
        guests.push(Guest::new("shut", shut, Some(Kind::Shut)));
        guests.extend((1..=boots).map(|number| {
            let title = format!("boot {number} of {boots} under attack");
            Guest::new(&format!("boot {number}"), &title, Some(Kind::Guarded))
        }));
    }
    let sum = crowd::run(&guests, |guest, crowded| {
        setting.one(guest, filter, crowded)
    });
    drop(deferred);
    if interrupt::seen() {
        bail!("interrupted; the guests are gone");
    }
    println!("\n{sum}, in {:.0} s", start.elapsed().as_secs_f32());
    match (sum.failed, sum.passed) {
        (0, 0) => bail!("no trial ran"),
        (0, _) => Ok(()),
        (failed, passed) => bail!("{failed} of {} failed", failed + passed),
    }
}

/// A guest that has its turn.
struct Guest {
    /// Before each of its lines, where others write too.
    name: String,
    title: String,
    /// The attack that it boots under; it runs the trials if there is none.
    attack: Option<Kind>,
}

impl Guest {
    fn new(name: &str, title: &str, attack: Option<Kind>) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            attack,
        }
    }
}

impl Setting<'_> {
    /// Boots one guest, for the trials or under attack. One that gives no results to be
    /// trusted is one failure, with the end of its console.
    fn one(&self, guest: &Guest, filter: Option<&str>, crowded: bool) -> Summary {
        crowd::say(&format!("\n== {}", guest.title));
        let say = |line: &str| crowd::say_as(&guest.name, crowded, line);
        self.boot(guest.attack, filter, &say)
            .unwrap_or_else(|error| {
                eprintln!("error: {}: {error:#}", guest.title);
                Summary::FAILURE
            })
    }

    fn boot(
        &self,
        attack: Option<Kind>,
        filter: Option<&str>,
        say: &dyn Fn(&str),
    ) -> Result<Summary> {
        let [tests, _] = self.lab.binaries();
        let neighbour = attack
            .map(|kind| Neighbour::start(tests).map(|neighbour| (kind, neighbour)))
            .transpose()?;
        let socket = neighbour.as_ref().map(|(_, neighbour)| neighbour.socket());
        let mut words = vec![attack.map_or("scenarios", Kind::command)];
        words.extend(["--color", "never"]);
        words.extend(["--enforcer", "/usr/local/bin/enforcer"]);
        words.extend(filter);
        let boot = Boot {
            command: shell_line(&words).trim_end().to_owned(),
            listening: attack.is_some(),
            masked: matches!(attack, Some(Kind::Open | Kind::Shut)),
            require: attack == Some(Kind::Shut),
            neighbour: socket.as_deref(),
        };
        let initramfs = boot.initramfs(self.workspace, self.lab, self.image)?;
        let mut qemu = boot.qemu(self.accelerator, self.image, &initramfs)?;
        let mut is_up = false;
        let mut show = |line: &str| {
            let line = line.trim_start_matches(|c: char| c.is_control());
            is_up |= line.starts_with(UP);
            if is_up && !line.is_empty() && !line.starts_with(ENDED) {
                say(line);
            }
            is_up &= !line.starts_with(ENDED);
        };
        let transcript = watch(&mut qemu, LIMITS, &mut show)?;
        say(&format!(
            "gone after {:.0} s",
            transcript.took.as_secs_f32()
        ));
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
        if let Some((kind, neighbour)) = neighbour {
            let tally = neighbour.tally()?;
            say(&format!(
                "the neighbour sent {} SYNs, and heard {} frames, {} SYN-ACKs, {} bytes of services",
                tally.syns, tally.frames, tally.syn_acks, tally.bytes
            ));
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
}
