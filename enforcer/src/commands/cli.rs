//! The command line.
//!
//! Doc comments here are the help texts.

use std::{ffi::OsString, net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use enforcer_ebpf::Protocol;

/// Keeps localhost-only services localhost-only, in the kernel.
///
/// Packets to the ports of the registry are dropped unless they arrive on lo, come from a peer
/// that the service allows, or the service is public. Packets from outside to container networks
/// are dropped too. Other ports pass, unless `[unregistered]` closes them, and so does traffic that
/// this host forwards.
#[derive(Debug, Parser)]
#[command(
    name = "enforcer",
    version,
    max_term_width = 100,
    propagate_version = true
)]
#[command(
    after_help = "Exit codes: 0 done, or enforcing; 1 failed; 2 bad usage or bad registry; \
                  3 degraded; 4 not enforcing; 5 a difference exists (reload --dry-run)."
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The heading of [`Globals`] in a help text.
const GLOBAL: &str = "Global options";

/// Options that may stand before or after the command.
#[derive(Args, Debug)]
pub(crate) struct Globals {
    /// The registry [default: /etc/enforcer/enforcer.toml, and enforcer.d/*.toml beside it]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) config: Option<PathBuf>,
    /// The pin directory of guards and state, a folder of a bpffs
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/sys/fs/bpf/enforcer",
        help_heading = GLOBAL
    )]
    pub(crate) pin_dir: PathBuf,
    /// The cgroup2 root [default: the root in the mount table]
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
    /// The service manager is told READY once the guards hold. Guards stay on after the end of
    /// `run`, by a signal too.
    Run(Run),
    /// Load, attach and pin the guards, print the status, and exit
    Up(Up),
    /// Detach the guards, and give the reserved ports back
    ///
    /// Guards of this network namespace that no pin reaches, such as those under a bpffs that
    /// another mount covers, are named, and the exit code is 1.
    Down {
        /// Detach the guards that no pin reaches too (needs CAP_SYS_ADMIN)
        #[arg(long)]
        all: bool,
    },
    /// Read the registry again and switch to the new policy, at once and as a whole
    ///
    /// A change that would cut the SSH session of this command, close sshd to new connections, or
    /// leave no public port, is refused unless --force or --confirm is given. With --confirm the new
    /// policy is pending: in force, awaiting confirmation by `enforcer confirm`, and rolled back
    /// without.
    Reload(Reload),
    /// Keep the pending policy of `reload --confirm`
    ///
    /// Fails if no policy awaits confirmation, or if the policy was rolled back already.
    Confirm {
        /// Wait for the deadline of the pending policy and roll the policy back, for the timer of
        /// `reload --confirm`
        #[arg(long, hide = true)]
        roll_back: bool,
    },
    /// Show the state, the guards, the peers, and each gap with its reason
    Status,
    /// Show passed and dropped packets and bytes, per port, guard and reason
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
        /// Show the counters again every SECONDS seconds (default 2), until interrupted
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
              value_parser = clap::value_parser!(u64).range(1..))]
        watch: Option<u64>,
    },
    /// Follow drops as they happen: time, interface, source, port, service, reason, guard
    ///
    /// A flood makes a bounded number of lines, each with the number of drops before that have no
    /// line; the counters stay exact. Until interrupted.
    Events,
    /// Give the verdict on a described packet, and the reason
    ///
    /// The policy in force decides, by the code of the kernel side; with nothing pinned, the
    /// registry. The lines of the registry behind the verdict are named.
    Explain(Explain),
    /// Check a registry, without privileges
    Check {
        /// Check this file as one more fragment of the registry
        #[arg(long, value_name = "FILE")]
        fragment: Option<PathBuf>,
    },
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Detach the guards at exit
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Log the programs' own messages
    #[arg(long)]
    pub(crate) bpf_log: bool,
    /// Apply a policy that cuts off an SSH session, closes sshd to new connections, or leaves no
    /// public port; later edits too
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Reload {
    /// Print the changes, and change nothing; exit code 5 if a reload would change something
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Make the new policy pending: rolled back after SECONDS (5 to 3600), unless `enforcer
    /// confirm` follows
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "dry_run")]
    pub(crate) confirm: Option<Duration>,
    /// Apply a policy that cuts off the SSH session of this command, closes sshd to new
    /// connections, or leaves no public port
    #[arg(long)]
    pub(crate) force: bool,
}

/// The time that a policy may be pending, in seconds: enough to type `enforcer confirm`.
const PENDING: std::ops::RangeInclusive<u64> = 5..=3600;

/// Reads `60` or `60s`.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    match number.parse() {
        Ok(seconds) if PENDING.contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!(
            "give a number of seconds from {} to {}, such as 60",
            PENDING.start(),
            PENDING.end()
        )),
    }
}

#[derive(Args, Debug)]
pub(crate) struct Up {
    /// The guards to attach; one kind alone is degraded
    #[arg(long, value_enum, default_value_t = Guards::Both)]
    pub(crate) guards: Guards,
    /// Resolve peers by public key now, and again only at each `reload`
    #[arg(long)]
    pub(crate) static_peers: bool,
    /// Apply a policy that cuts off the SSH session of this command, closes sshd to new
    /// connections, or leaves no public port
    #[arg(long)]
    pub(crate) force: bool,
    /// Let the programs log, for `run --bpf-log` to read
    #[arg(long)]
    pub(crate) bpf_log: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// The interface on which the packet arrives
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: OsString,
    /// The source address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) source: IpAddr,
    /// The destination port
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The transport protocol
    #[arg(long, value_enum, default_value_t = ProtocolName::Tcp)]
    pub(crate) protocol: ProtocolName,
    /// The destination address [default: one of this host's, in no `on` and in no container
    /// network]
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

    #[test]
    fn helps() {
        use crate::commands::snapshots::assert_snapshot;

        let help = |command: Option<&str>, width: Option<usize>| {
            let mut cli = Cli::command().term_width(width.unwrap_or(0));
            cli.build();
            match command {
                Some(name) => {
                    let found = cli.find_subcommand_mut(name).expect("a command");
                    let found = std::mem::take(found).term_width(width.unwrap_or(0));
                    found.clone().render_long_help().to_string()
                }
                None => cli.render_long_help().to_string(),
            }
        };
        assert_snapshot("help", |width| help(None, width));
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert_snapshot(&format!("help-{name}"), |width| help(Some(name), width));
        }
    }

    #[test]
    fn every_change_takes_json() {
        for command in ["down", "reload", "confirm"] {
            let cli = Cli::try_parse_from(["enforcer", command, "--json"]).expect(command);
            assert!(cli.globals.json, "{command}");
        }
    }
}
