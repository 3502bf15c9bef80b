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

/// The way in which a turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The host removes the interfaces.
    Leave,
    /// The interfaces stay, and lose their programs.
    LetGo,
}

/// The seconds of a turn of one side.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Until the last of the interfaces has a program.
    come: f64,
    /// Until the end is over.
    end: f64,
}

/// The times of both sides, one turn right after the other.
#[derive(Clone, Copy, Debug)]
struct Pair {
    bare: Times,
    guarded: Times,
}

/// Measures and prints. A ratio out of bounds is reported, and is no error.
///
/// # Errors
/// The measurement fails.
pub fn run(enforcer: &std::path::Path, args: &InterfacesArgs) -> Result<ExitCode> {
    let lab = Lab::new()?;
    let enforcer = Enforcer::new(enforcer, &lab)?;
    let (mut pairs, mut work) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        for end in [End::Leave, End::LetGo] {
            let mut own = || -> Result<Times> {
                let (times, processor) = guarded(&lab, &enforcer, args.size, end)?;
                work.extend(processor);
                Ok(times)
            };
            // The load of the machine drifts: no side is always the first.
            let (bare, guarded) = if round % 2 == 0 {
                (bare(&lab, args.size, end)?, own()?)
            } else {
                let guarded = own()?;
                (bare(&lab, args.size, end)?, guarded)
            };
            pairs.push((end, Pair { bare, guarded }));
        }
    }
    print(&pairs);
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

fn print(pairs: &[(End, Pair)]) {
    let mut table = Table::new();
    let header = ["", "bare", "guarded", "ratio", "from", "to", "at most", ""];
    table.load_style(presets::NOTHING).set_header(header);
    let ended = |wanted: End, of: fn(&Pair) -> (f64, f64)| {
        let pairs = pairs.iter().filter(move |(end, _)| *end == wanted);
        pairs.map(|(_, pair)| of(pair)).collect()
    };
    let come = |pair: &Pair| (pair.bare.come, pair.guarded.come);
    let end = |pair: &Pair| (pair.bare.end, pair.guarded.end);
    let rows: [(&str, Vec<(f64, f64)>); 3] = [
        (
            "come up",
            pairs.iter().map(|(_, pair)| come(pair)).collect(),
        ),
        ("leave", ended(End::Leave, end)),
        ("let go by `down`", ended(End::LetGo, end)),
    ];
    for (name, times) in rows {
        let bare = median(times.iter().map(|(bare, _)| *bare).collect());
        let guarded = median(times.iter().map(|(_, guarded)| *guarded).collect());
        let mut ratios: Vec<f64> = times.iter().map(|(bare, own)| own / bare).collect();
        ratios.sort_by(f64::total_cmp);
        let ratio = median(ratios.clone());
        let extreme = |ratio: Option<&f64>| ratio.map(|ratio| format!("{ratio:.2}"));
        table.add_row([
            name.to_owned(),
            format!("{bare:.2} s"),
            format!("{guarded:.2} s"),
            format!("{ratio:.2}"),
            extreme(ratios.first()).unwrap_or_default(),
            extreme(ratios.last()).unwrap_or_default(),
            format!("{BOUND:.2}"),
            if ratio <= BOUND { "ok" } else { "MISSED" }.to_owned(),
        ]);
    }
    println!("{}", table.trim_fmt());
}

/// The times of bare links of a program that passes everything.
fn bare(lab: &Lab, size: u32, end: End) -> Result<Times> {
    let (hook, pass) = match Feature::Tcx.is_here() {
        true => (Hook::Tcx, TCX_NEXT),
        false => (Hook::XdpGeneric, XDP_PASS),
    };
    let crowd = Crowd::new(lab, size)?;
    sleep(REST);
    let start = crowd.up()?;
    let indexes = crowd.indexes();
    let links = lab.host.run(|| attach_to_all(hook, pass, indexes))?;
    let links = links.context("failed to attach")?;
    let come = start.elapsed().as_secs_f64();
    sleep(REST);
    let start = match end {
        End::Leave => crowd.leave()?,
        End::LetGo => Instant::now(),
    };
    drop(links);
    let ended = start.elapsed().as_secs_f64();
    if end == End::LetGo {
        crowd.leave()?;
    }
    Ok(Times { come, end: ended })
}

/// The times of guards; and the processor time of `run` while the interfaces come, and while the host
/// removes the interfaces.
fn guarded(
    lab: &Lab,
    enforcer: &Enforcer<'_>,
    size: u32,
    end: End,
) -> Result<(Times, Option<(f64, f64)>)> {
    let run = enforcer.run(&[])?;
    let crowd = Crowd::new(lab, size)?;
    sleep(REST);
    let at_first = processor_time(&run)?;
    let start = crowd.up()?;
    wait_for(&crowd, size)?;
    let come = start.elapsed().as_secs_f64();
    sleep(REST);
    let between = processor_time(&run)?;
    let (end, left) = match end {
        End::Leave => {
            let start = crowd.leave()?;
            wait_for(&crowd, 0)?;
            let left = start.elapsed().as_secs_f64();
            sleep(REST);
            (left, Some(processor_time(&run)? - between))
        }
        End::LetGo => (let_go(enforcer, &crowd)?, None),
    };
    let work = left.map(|left| (between - at_first, left));
    Ok((Times { come, end }, work))
}

/// The seconds that `down` takes, after which the host removes the interfaces.
fn let_go(enforcer: &Enforcer<'_>, crowd: &Crowd<'_>) -> Result<f64> {
    let start = Instant::now();
    // The limit of the lab's commands is too short for so many guards on a busy machine.
    let status = enforcer.command(&["down"])?.stdout(Stdio::null()).status();
    let status = status.context("failed to start `down`")?;
    ensure!(status.success(), "`down` ended with {status}");
    let seconds = start.elapsed().as_secs_f64();
    crowd.leave()?;
    Ok(seconds)
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
