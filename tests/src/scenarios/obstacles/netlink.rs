//! Netlink, by which `run` learns of interfaces.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use super::cell::Obstacle::Netlink;
use super::cell::{Cell, State};
use super::refuse::refuse;
use super::trial::{HEALING, Trial};

const A_PART_OF_THE_KERNEL: &str = "a socket family of the kernel does not go";

pub(super) const CELLS: &[Cell] = &[
    Cell::tried(
        Netlink,
        State::Absent,
        "netlink_absent",
        "no such socket family at boot",
        absent,
    ),
    Cell::left_out(Netlink, State::Hangs, "the kernel answers within the call"),
    Cell::tried(
        Netlink,
        State::Full,
        "netlink_full",
        "more messages than the queue takes, `run` stopped",
        full,
    ),
    Cell::left_out(
        Netlink,
        State::Foreign,
        "no owner: each process has sockets of its own",
    ),
    Cell::left_out(Netlink, State::Garbage, "the kernel is the sender"),
    Cell::left_out(Netlink, State::Vanishes, A_PART_OF_THE_KERNEL),
    Cell::left_out(Netlink, State::Returns, A_PART_OF_THE_KERNEL),
];

/// The socket guard holds alone.
fn absent(trial: &mut Trial<'_>) -> Result<()> {
    let call = u32::try_from(libc::SYS_socket)?;
    let (family, error) = (
        u32::try_from(libc::AF_NETLINK)?,
        u32::try_from(libc::EAFNOSUPPORT)?,
    );
    trial.boot(Duration::ZERO, |command| {
        refuse(command, call, Some(family), error);
        Ok(())
    })?;
    trial.says(&["netlink", "socket guard"])?;
    trial.heals("an `up` that may use netlink", HEALING, |trial| {
        trial.rig.enforcer.expect(&["up"], 0).map(drop)
    })
}

fn full(trial: &mut Trial<'_>) -> Result<()> {
    trial.live(|_| Ok(()))?;
    trial.daemon()?.signal(Signal::STOP)?;
    for _ in 0..4 {
        let mut batch = String::from("link add flap type veth peer name flop\n");
        batch.push_str(&"link set flap up\nlink set flap down\n".repeat(100));
        batch.push_str("link del flap");
        trial.rig.lab.host.ip(&batch)?;
    }
    trial.daemon()?.signal(Signal::CONT)?;
    trial.needs_no_word("nothing: `run` looks at the whole");
    trial.guards_a_newcomer()?;
    trial.heals("`run` itself", HEALING, |_| Ok(()))
}
