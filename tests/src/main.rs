//! `enforcer-tests`: the scenarios against a built enforcer, and the demo.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use enforcer_tests::lab::session::{Machine, find_enforcer, leaving_no_trace, require_machine};
use enforcer_tests::scenario::Scenario;
use enforcer_tests::scenarios::obstacles;
use enforcer_tests::scenarios::part::Part;
use enforcer_tests::{attack_list, bench, demo, evidence, scenarios, system, test_run};
use libtest_mimic::{Arguments, Conclusion};

/// Runs the scenarios against a built enforcer, on the running kernel.
#[derive(Parser)]
#[command(
    args_conflicts_with_subcommands = true,
    help_template = "{about}\n\n{usage-heading} {usage}\n\n{all-args}",
    after_help = ""
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// Run the scenarios (the default).
    Run(Run),
    /// Run the controls alone, without any enforcer.
    Controls(Arguments),
    /// Run the scenarios of a virtual machine's kernel, and close with `kernel RELEASE: N passed, N failed`.
    Guest(Guest),
    /// Measure the guards against an empty program.
    Bench(bench::Args),
    /// Measure `run` against bare attachments, on many interfaces at once.
    BenchInterfaces(bench::InterfacesArgs),
    /// Run the scenarios of a whole system, in a guest.
    #[command(subcommand)]
    System(system::Command),
    /// Put the fault matrices of a run into docs/failure-modes.md.
    Matrix(Matrix),
    /// Put what runs showed of attacks and traffic into docs/attacks.md.
    Attacks(Attacks),
    /// Show attacks succeed without the enforcer and fail with it.
    Demo(Binary),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    binary: Binary,
    #[command(flatten)]
    harness: Arguments,
}

#[derive(Args)]
struct Guest {
    /// Run the Nth part of M, of scenarios dealt out in turn.
    #[arg(long, value_name = "N/M", default_value = "1/1")]
    part: Part,
    #[command(flatten)]
    run: Run,
}

#[derive(Args)]
struct Binary {
    /// The enforcer under test; the binary beside this program if absent.
    #[arg(long, value_name = "PATH")]
    enforcer: Option<PathBuf>,
}

#[derive(Args)]
struct Matrix {
    /// The lines that the scenarios `obstacles::` wrote, with ENFORCER_MATRIX=LINES.
    lines: PathBuf,
    /// The page with the markers of the tables.
    page: PathBuf,
}

#[derive(Args)]
struct Attacks {
    /// Release of the kernel of outputs that name none.
    #[arg(long, value_name = "RELEASE")]
    kernel: Option<String>,
    /// Lines of runs with ENFORCER_ATTACKS=FILE, and output of `cargo xtask vm` or `test`; a later
    /// file counts before an earlier one.
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// The page with the markers of the tables.
    #[arg(required = true)]
    page: PathBuf,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("enforcer-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(run) => {
            let enforcer = find_enforcer(run.binary.enforcer)?;
            let mut all = test_run::scenarios();
            all.extend(scenarios::all());
            all.extend(scenarios::with_failpoints());
            let list = run.harness.list;
            let conclusion = conclude(Machine::Host, run.harness, &enforcer, all)?;
            if !list {
                close(&conclusion);
            }
            Ok(conclusion.exit_code())
        }
        Command::Controls(arguments) => {
            // Controls ask no enforcer, so there need not be any.
            let none = Path::new("/nonexistent");
            Ok(conclude(Machine::Host, arguments, none, scenarios::controls())?.exit_code())
        }
        Command::Guest(Guest { part, run }) => {
            let enforcer = find_enforcer(run.binary.enforcer)?;
            let list = run.harness.list;
            let selected = part.of(scenarios::for_guests());
            let conclusion = conclude(Machine::Guest, run.harness, &enforcer, selected)?;
            if list {
                return Ok(conclusion.exit_code());
            }
            close(&conclusion);
            Ok(conclusion.exit_code())
        }
        Command::Bench(args) => leaving_no_trace(|| bench::run(&args))?,
        Command::BenchInterfaces(args) => {
            require_machine(Machine::Host)?;
            let enforcer = find_enforcer(args.enforcer.clone())?;
            leaving_no_trace(|| bench::run_interfaces(&enforcer, &args))?
        }
        Command::System(command) => system::run(command),
        Command::Matrix(Matrix { lines, page }) => {
            let (lines, text) = (read_to_string(lines)?, read_to_string(&page)?);
            let (cells, up) = (obstacles::cells(), obstacles::up::cells());
            std::fs::write(page, obstacles::record::render(&lines, &text, &cells, &up)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Attacks(arguments) => make_page(arguments),
        Command::Demo(binary) => {
            require_machine(Machine::Host)?;
            let enforcer = find_enforcer(binary.enforcer)?;
            leaving_no_trace(|| demo::run(&enforcer))??;
            println!("The throwaway host is gone. Nothing on this machine itself was touched.");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints the closing line of a run, which names the kernel.
fn close(conclusion: &Conclusion) {
    println!(
        "kernel {}: {} passed, {} failed",
        rustix::system::uname().release().to_string_lossy(),
        conclusion.num_passed,
        conclusion.num_failed
    );
}

/// Rewrites the page of attacks.
fn make_page(arguments: Attacks) -> Result<ExitCode> {
    let Attacks {
        kernel: unnamed,
        inputs,
        page,
    } = arguments;
    let read = |path: &PathBuf| {
        read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
    };
    let inputs = inputs
        .iter()
        .map(|path| Ok((path.display().to_string(), read(path)?)));
    let inputs = inputs.collect::<Result<_>>()?;
    let runs = evidence::Runs { inputs, unnamed };
    let (attacks, names) = (scenarios::attacks::all(), attack_list::every_name());
    let (text, notes) = evidence::render(&runs, &read(&page)?, &attacks, &names)?;
    for note in notes {
        eprintln!("note: {note}");
    }
    std::fs::write(&page, text).with_context(|| format!("failed to write {}", page.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs, or lists, the scenarios against the enforcer at `enforcer`.
fn conclude(
    machine: Machine,
    mut arguments: Arguments,
    enforcer: &Path,
    scenarios: Vec<Scenario>,
) -> Result<Conclusion> {
    // Most of a scenario is waiting for silence, yet loading programs is work for a whole core.
    arguments.test_threads.get_or_insert(2);
    let trials = scenarios
        .into_iter()
        .map(|scenario| scenario.into_trial(enforcer))
        .collect();
    if arguments.list {
        return Ok(libtest_mimic::run(&arguments, trials));
    }
    require_machine(machine)?;
    leaving_no_trace(|| libtest_mimic::run(&arguments, trials))
}
