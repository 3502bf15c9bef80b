//! The capabilities that each command needs: root's other capabilities are given up at once.

use std::{fs, io, os::unix::fs::MetadataExt as _};

use rustix::thread::CapabilitySet;

use super::{
    Globals,
    cli::{Command, Reload},
};
use crate::{
    control::{self, Instance},
    host::sessions,
    kernel::privileges::{GUARD, keep, keep_only},
};

/// The circumstances of a command that decide about its capabilities.
#[derive(Clone, Copy, Debug)]
struct Circumstances {
    /// A person names the registry, which may be in a folder of another user.
    has_named_registry: bool,
    /// The folder with the pin directory belongs to another user than root.
    has_foreign_parent: bool,
}

/// Gives up the capabilities that the command does not need. Whatever needs more is done before:
/// the mount of the bpffs, and the search for the SSH session among the ancestors of this process.
/// No other thread runs yet.
///
/// # Errors
/// The kernel's refusal: the capabilities stay.
pub(super) fn give_up(globals: &Globals, command: &Command, instance: &Instance) -> io::Result<()> {
    if matches!(command, Command::Run(_) | Command::Up(_)) {
        // The command tries again, and reports the error.
        control::make_parent(instance).ok();
    }
    if matches!(
        command,
        Command::Run(_) | Command::Up(_) | Command::Reload(_)
    ) {
        sessions::own();
    }
    let parent = instance
        .pin_dir()
        .parent()
        .and_then(|it| fs::metadata(it).ok());
    let needed = needed(
        command,
        Circumstances {
            has_named_registry: globals.config.is_some() || has_named_fragment(command),
            has_foreign_parent: parent.is_some_and(|parent| parent.uid() != 0),
        },
    );
    match command {
        // The bpffs may be unmounted while `run` lives. One thread keeps the capability.
        Command::Run(_) => keep(needed, CapabilitySet::SYS_ADMIN),
        _ => keep_only(needed),
    }
}

/// Returns whether a person names a fragment.
const fn has_named_fragment(command: &Command) -> bool {
    matches!(command, Command::Check { fragment: Some(_) })
}

/// Returns the capabilities that a command needs.
fn needed(command: &Command, circumstances: Circumstances) -> CapabilitySet {
    let own = match command {
        Command::Check { .. } => CapabilitySet::empty(),
        // Look up objects of BPF by id (a demand of the kernel: kernel/bpf/syscall.c,
        // bpf_link_get_fd_by_id).
        Command::Up(_) | Command::Down { .. } | Command::Status => GUARD | CapabilitySet::SYS_ADMIN,
        // Compare the network namespace with that of the first process (namespaces(7): readlink
        // needs PTRACE_MODE_READ_FSCREDS).
        Command::Reload(Reload {
            confirm: Some(_), ..
        }) => GUARD | CapabilitySet::SYS_PTRACE,
        _ => GUARD,
    };
    let mut needed = own;
    if circumstances.has_named_registry && !matches!(command, Command::Run(_)) {
        needed |= CapabilitySet::DAC_READ_SEARCH;
    }
    if circumstances.has_foreign_parent && !own.is_empty() {
        needed |= CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER;
    }
    needed
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{super::Cli, *};

    #[test]
    fn each_command_keeps_what_it_needs() {
        const ADMIN: CapabilitySet = GUARD.union(CapabilitySet::SYS_ADMIN);
        const PTRACE: CapabilitySet = GUARD.union(CapabilitySet::SYS_PTRACE);
        const SEARCH: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;
        const FILES: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::FOWNER);
        const NONE: CapabilitySet = CapabilitySet::empty();
        for (line, config, parent, expected) in [
            ("run", false, false, GUARD),
            ("run", true, false, GUARD),
            ("run", false, true, GUARD.union(FILES)),
            ("up", false, false, ADMIN),
            ("up", true, false, ADMIN.union(SEARCH)),
            ("down", false, true, ADMIN.union(FILES)),
            ("status", false, false, ADMIN),
            ("reload", false, false, GUARD),
            ("reload --dry-run", true, false, GUARD.union(SEARCH)),
            ("reload --confirm 60", false, false, PTRACE),
            ("confirm", false, false, GUARD),
            ("counters", false, false, GUARD),
            ("events", false, false, GUARD),
            ("check", false, false, NONE),
            ("check", true, true, SEARCH),
            ("check --fragment f", true, false, SEARCH),
        ] {
            let words = ["enforcer"].into_iter().chain(line.split(' '));
            let command = Cli::parse_from(words).command;
            let circumstances = Circumstances {
                has_named_registry: config,
                has_foreign_parent: parent,
            };
            assert_eq!(
                needed(&command, circumstances),
                expected,
                "{line} {circumstances:?}"
            );
        }
    }
}
