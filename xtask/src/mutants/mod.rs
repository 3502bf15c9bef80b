//! `cargo xtask mutants`: how many faults in the pure rooms the unit tests find.
//!
//! cargo-mutants changes one expression at a time and runs the unit tests of the changed crate. A
//! mutant is killed if a test fails, survives if all pass, and is unviable if the compiler refuses
//! the change. A mutant that makes the tests hang counts as found too.

mod rooms;
mod sample;
mod score;
mod scratch;
mod tool;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use self::{score::Score, scratch::Scratch, tool::Tool};
use crate::{setup, workspace::Workspace};

/// Arguments of `cargo xtask mutants`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Test mutants of these files or folders, relative to the root of the tree, instead of the
    /// pure rooms
    files: Vec<String>,
    /// Test so many mutants; 0 means all
    #[arg(long, value_name = "N", default_value_t = 300)]
    sample: usize,
    /// Choose the mutants by this number, printed by an earlier run; otherwise each run differs
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

/// Tests a sample of mutants, lists the survivors, and fails if too many survived.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let start = Instant::now();
    let rooms = rooms::select(workspace, &args.files)?;
    setup::provide_ebpf_tools(workspace)?;
    let program = setup::provide_cargo_mutants(workspace)?;
    let scratch = Scratch::refresh(workspace)?;
    let tool = Tool::new(program, &scratch);

    let mut all = Vec::new();
    for room in &rooms {
        all.extend(tool.list(room)?.into_iter().map(|mutant| (room, mutant)));
    }
    let seed = args.seed.unwrap_or_else(clock);
    let size = match args.sample {
        0 => all.len(),
        size => size,
    };
    let chosen = sample::choose(all.len(), size, seed);
    println!("{} of {} mutants, seed {seed}", chosen.len(), all.len());

    let mut score = Score::default();
    for room in &rooms {
        let of_room = |is_chosen: bool| {
            let mutants = all.iter().enumerate();
            mutants
                .filter(|(at, (owner, _))| {
                    owner.package() == room.package()
                        && chosen.binary_search(at).is_ok() == is_chosen
                })
                .map(|(_, (_, mutant))| mutant.as_str())
                .collect::<Vec<_>>()
        };
        let wanted = of_room(true);
        if !wanted.is_empty() {
            score += tool.test(room, wanted.len(), &of_room(false))?;
        }
    }
    for line in score.lines() {
        println!("{line}");
    }
    println!("\n{score}, in {:.0} s", start.elapsed().as_secs_f32());
    match score.fault() {
        Some(why) => bail!("{why}"),
        None => Ok(()),
    }
}

/// Returns a seed that differs from run to run.
fn clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
