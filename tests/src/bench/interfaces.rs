//! The time that `run` takes for many interfaces at once, beside bare attachments.
//!
//! A bare attachment is one of a trivial program, in a tight loop of one process. The kernel waits
//! for readers at each attachment, under a lock: no loader attaches faster.

use std::fs;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};

use super::report::median;
use crate::lab::bpf::{Hook, TCX_NEXT, XDP_PASS, attach_to_all};
use crate::lab::command::{Daemon, eventually};
use crate::lab::crowd::Crowd;
use crate::lab::{Enforcer, Feature, Lab};

/// One of the times.
type Of = fn(&Times) -> f64;

/// Arguments of `bench-interfaces`.
#[derive(Debug, clap::Args)]
pub struct InterfacesArgs {
    /// How many interfaces come at once
    #[arg(long, default_value_t = 500, value_name = "NUMBER")]
    size: u32,
    /// How often each side has a turn
    #[arg(long, default_value_t = 3, value_name = "NUMBER")]
    rounds: usize,
    /// The enforcer under test; the binary beside this program if absent
    #[arg(long, value_name = "PATH")]
    pub enforcer: Option<PathBuf>,
}

/// The longest wait for all guards.
const PATIENCE: Duration = Duration::from_secs(120);
/// The time after which `run` is at rest.
const REST: Duration = Duration::from_secs(2);
/// The promised ratio.
const BOUND: f64 = 1.3;

/// The seconds of one side in one round.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Until the last of the interfaces has a program.
    come: f64,
    /// Until nothing is left of interfaces that the host removes.
    leave: f64,
    /// Until the interfaces, which stay, have no program.
    let_go: f64,
}

/// Measures and prints. A ratio out of bounds is reported, and is no error.
///
/// # Errors
/// The measurement fails.
pub fn run(enforcer: &std::path::Path, args: &InterfacesArgs) -> Result<ExitCode> {
    let lab = Lab::new()?;
    let enforcer = Enforcer::new(enforcer, &lab)?;
    let (mut bares, mut guardeds, mut work) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        bares.push(bare(&lab, args.size)?);
        let (times, processor) = guarded(&lab, &enforcer, args.size)?;
        guardeds.push(times);
        work.push(processor);
    }
    print(&bares, &guardeds);
    println!(
        "\nMedians of {} rounds with {} interfaces, both sides in turn. `run` took {:.2} s of \
         processor time while they came, and {:.2} s while they left.",
        args.rounds,
        args.size,
        median(work.iter().map(|(came, _)| *came).collect()),
        median(work.iter().map(|(_, left)| *left).collect()),
    );
    Ok(ExitCode::SUCCESS)
}

fn print(bares: &[Times], guardeds: &[Times]) {
    let mut table = Table::new();
    let header = ["", "bare", "guarded", "ratio", "at most", ""];
    table.load_style(presets::NOTHING).set_header(header);
    let rows: [(&str, Of); 3] = [
        ("come up", |times| times.come),
        ("leave", |times| times.leave),
        ("let go by `down`", |times| times.let_go),
    ];
    for (name, of) in rows {
        let seconds = |all: &[Times]| median(all.iter().map(of).collect());
        let both = bares.iter().zip(guardeds);
        let ratio = median(both.map(|(bare, own)| of(own) / of(bare)).collect());
        table.add_row([
            name.to_owned(),
            format!("{:.2} s", seconds(bares)),
            format!("{:.2} s", seconds(guardeds)),
            format!("{ratio:.2}"),
            format!("{BOUND:.2}"),
            if ratio <= BOUND { "ok" } else { "MISSED" }.to_owned(),
        ]);
    }
    println!("{}", table.trim_fmt());
}

/// The times of bare links of a program that passes everything.
fn bare(lab: &Lab, size: u32) -> Result<Times> {
    let (hook, pass) = match Feature::Tcx.is_here() {
        true => (Hook::Tcx, TCX_NEXT),
        false => (Hook::XdpGeneric, XDP_PASS),
    };
    let come = |crowd: &Crowd<'_>| -> Result<_> {
        let start = crowd.up()?;
        let indexes = crowd.indexes();
        let links = lab.host.run(|| attach_to_all(hook, pass, indexes))?;
        let links = links.context("failed to attach")?;
        Ok((links, start.elapsed().as_secs_f64()))
    };
    let crowd = Crowd::new(lab, size)?;
    let (links, came) = come(&crowd)?;
    let start = crowd.leave()?;
    drop(links);
    let leave = start.elapsed().as_secs_f64();
    let crowd = Crowd::new(lab, size)?;
    let (links, _) = come(&crowd)?;
    let start = Instant::now();
    drop(links);
    let let_go = start.elapsed().as_secs_f64();
    crowd.leave()?;
    Ok(Times {
        come: came,
        leave,
        let_go,
    })
}

/// The times of guards, and the processor time of `run` while the interfaces come and leave.
fn guarded(lab: &Lab, enforcer: &Enforcer<'_>, size: u32) -> Result<(Times, (f64, f64))> {
    let run = enforcer.run(&[])?;
    let come = |crowd: &Crowd<'_>| -> Result<f64> {
        sleep(REST);
        let start = crowd.up()?;
        wait_for(crowd, size)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let crowd = Crowd::new(lab, size)?;
    sleep(REST);
    let at_first = processor_time(&run)?;
    let came = come(&crowd)?;
    sleep(REST);
    let between = processor_time(&run)?;
    let start = crowd.leave()?;
    wait_for(&crowd, 0)?;
    let leave = start.elapsed().as_secs_f64();
    sleep(REST);
    let work = (between - at_first, processor_time(&run)? - between);
    let crowd = Crowd::new(lab, size)?;
    come(&crowd)?;
    sleep(REST);
    let start = Instant::now();
    // The limit of the lab's commands is too short for so many guards on a busy machine.
    let status = enforcer.command(&["down"])?.stdout(Stdio::null()).status();
    let status = status.context("failed to start `down`")?;
    ensure!(status.success(), "`down` ended with {status}");
    let let_go = start.elapsed().as_secs_f64();
    crowd.leave()?;
    let times = Times {
        come: came,
        leave,
        let_go,
    };
    Ok((times, work))
}

/// Waits until so many of the interfaces have a guard.
fn wait_for(crowd: &Crowd<'_>, number: u32) -> Result<()> {
    let guarded = || (crowd.guarded().ok()? == number).then_some(());
    eventually(PATIENCE, guarded).with_context(|| {
        format!(
            "{:?} interfaces have guards after {PATIENCE:?}, and not {number}",
            crowd.guarded()
        )
    })
}

/// The processor time of a process, in seconds: fields 14 and 15 of /proc/PID/stat (proc(5)).
fn processor_time(process: &Daemon) -> Result<f64> {
    /// USER_HZ is 100 on every architecture of this project (include/asm-generic/param.h).
    const TICKS: f64 = 100.0;
    let path = format!("/proc/{}/stat", process.id());
    let text = fs::read_to_string(&path).context(path)?;
    // The name, in parentheses, may have spaces.
    let (_, fields) = text.rsplit_once(')').context("no name in stat")?;
    let fields = fields.split_whitespace().skip(11).take(2);
    let ticks: Result<Vec<f64>, _> = fields.map(str::parse::<f64>).collect();
    Ok(ticks?.iter().sum::<f64>() / TICKS)
}
