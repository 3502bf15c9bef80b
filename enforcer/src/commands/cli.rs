//! What can be typed.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use enforcer_ebpf::Protocol;

/// Keeps localhost-only services localhost-only, in the kernel.
///
/// Packets to the ports of the registry are dropped unless they arrive on lo, come from a peer
/// that the service allows, or the service is public. Everything else passes untouched.
#[derive(Debug, Parser)]
#[command(
    name = "enforcer",
    version,
    max_term_width = 100,
    propagate_version = true
)]
#[command(
    after_help = "Exit codes: 0 done, or enforcing; 1 failed; 2 bad usage or bad registry; \
                        3 degraded; 4 not enforcing."
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The heading of what may stand before or after the command.
const GLOBAL: &str = "Global options";

/// Options that may stand before or after the command.
#[derive(Args, Debug)]
pub(crate) struct Globals {
    /// The registry [default: /etc/enforcer/enforcer.toml, and enforcer.d/*.toml beside it]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) config: Option<PathBuf>,
    /// Where the guards and their state are pinned, a folder of a bpffs
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/sys/fs/bpf/enforcer",
        help_heading = GLOBAL
    )]
    pub(crate) pin_dir: PathBuf,
    /// The cgroup2 root [default: the one in the mount table]
    #[arg(long, global = true, value_name = "DIR", help_heading = GLOBAL)]
    pub(crate) cgroup: Option<PathBuf>,
    /// Print JSON, for scripts
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load, attach and pin the guards, then stay (for systemd)
    ///
    /// READY is said once the guards hold. Stopping it leaves them on; so does killing it.
    Run(Run),
    /// Load, attach and pin the guards, and exit
    Up(Up),
    /// Take the guards off, and give the reserved ports back
    Down,
    /// Read the registry again and switch to it, at once and as a whole
    ///
    /// A change that would cut the SSH session that it is typed in, or leave no public port, is
    /// refused unless --force or --confirm is given.
    Reload(Reload),
    /// Keep what `reload --confirm` put in force
    Confirm {
        /// Wait for the end of what is on trial, and take it back: for the timer that `reload`
        /// starts
        #[arg(long, hide = true)]
        roll_back: bool,
    },
    /// Show what guards what, and what does not
    Status,
    /// Show what passed and what was dropped, per port
    Counters {
        /// Only this service
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// Only this port
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// Rows of zero too
        #[arg(long)]
        all: bool,
        /// Show them again every SECONDS seconds (2 if not said), until interrupted
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
              value_parser = clap::value_parser!(u64).range(1..))]
        watch: Option<u64>,
    },
    /// Follow drops as they happen: time, interface, source, port, service, reason, guard
    ///
    /// A flood makes a bounded number of lines, which say how many drops they stand for; the
    /// counters stay exact. Until interrupted.
    Events,
    /// Say what would become of a packet, and why
    ///
    /// The policy in force decides, by the code that the kernel runs; with nothing pinned, the
    /// registry does. Names the lines of the registry that led to it.
    Explain(Explain),
    /// Check a registry, without privileges
    Check,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Take the guards off at exit
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Log what the programs themselves say
    #[arg(long)]
    pub(crate) bpf_log: bool,
    /// Apply what cuts off an SSH session, or leaves no public port, also later, when the registry
    /// is edited
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Reload {
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Take it back after SECONDS (5 to 3600), unless `enforcer confirm` follows
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "dry_run")]
    pub(crate) confirm: Option<Duration>,
    /// Apply it though it cuts off the session that this is typed in, or leaves no public port
    #[arg(long)]
    pub(crate) force: bool,
}

/// How long a policy may be on trial: time to type a word, and no longer than anyone waits.
const TRIAL: std::ops::RangeInclusive<u64> = 5..=3600;

/// Reads `60` or `60s`.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    match number.parse() {
        Ok(seconds) if TRIAL.contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!(
            "give a number of seconds from {} to {}, such as 60",
            TRIAL.start(),
            TRIAL.end()
        )),
    }
}

#[derive(Args, Debug)]
pub(crate) struct Up {
    /// Which guards to attach; one alone is degraded
    #[arg(long, value_enum, default_value_t = Guards::Both)]
    pub(crate) guards: Guards,
    /// Resolve peers by public key now, and again only at each `reload`
    #[arg(long)]
    pub(crate) static_peers: bool,
    /// Apply it though it cuts off the session that this is typed in, or leaves no public port
    #[arg(long)]
    pub(crate) force: bool,
    /// Let the programs log what they do, for `run --bpf-log` to read
    #[arg(long)]
    pub(crate) bpf_log: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// The interface on which the packet arrives
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: String,
    /// The source address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) source: IpAddr,
    /// The destination port
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The transport protocol
    #[arg(long, value_enum, default_value_t = ProtocolName::Tcp)]
    pub(crate) protocol: ProtocolName,
    /// The destination address; if absent, one of this host's, to which nothing is forwarded
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) destination: Option<IpAddr>,
    /// Run the packet through the loaded wire guard as well, on copies of its maps
    #[arg(long)]
    pub(crate) live: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Guards {
    /// On the interfaces
    Wire,
    /// At the sockets
    Socket,
    /// Both layers
    Both,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ProtocolName {
    Tcp,
    Udp,
    Sctp,
}

impl From<ProtocolName> for Protocol {
    fn from(name: ProtocolName) -> Self {
        match name {
            ProtocolName::Tcp => Self::Tcp,
            ProtocolName::Udp => Self::Udp,
            ProtocolName::Sctp => Self::Sctp,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    const MANUAL: &str = include_str!("../../../docs/man/enforcer.8");

    /// The part of the manual from `from` on to the next line that begins with `to`.
    fn part(from: &str, to: &str) -> Option<&'static str> {
        let (_, rest) = MANUAL.split_once(from)?;
        Some(rest.split_once(to).map_or(rest, |(part, _)| part))
    }

    fn assert_options(command: &clap::Command, said: &str) {
        let shown = command.get_arguments().filter(|it| !it.is_hide_set());
        for option in shown.filter_map(clap::Arg::get_long) {
            // mdoc(7): a flag that begins with a hyphen of its own.
            let is_said = said.lines().any(|line| {
                let flag = line.strip_prefix(".It Fl -");
                flag.and_then(|rest| rest.split(' ').next()) == Some(option)
            });
            assert!(is_said, "{}: --{option}", command.get_name());
        }
    }

    #[test]
    fn the_manual_has_every_command_and_option() {
        let cli = Cli::command();
        let options = part("\n.Sh OPTIONS\n", "\n.Sh ");
        assert_options(&cli, options.expect("the options of all commands"));
        for command in cli.get_subcommands() {
            let name = command.get_name();
            let said = part(&format!("\n.It Cm {name}\n"), "\n.It Cm ");
            assert_options(command, said.unwrap_or_else(|| panic!("nothing of {name}")));
        }
    }
}
