//! Netlink, by which `run` learns of interfaces.

use anyhow::Result;
use rustix::process::Signal;

use super::cell::Obstacle::Netlink;
use super::cell::{Cell, State};
use super::trial::{HEALING, Trial};

const A_PART_OF_THE_KERNEL: &str = "a socket family of the kernel does not go";

pub(super) const CELLS: &[Cell] = &[
    Cell::left_out(
        Netlink,
        State::Absent,
        "a gap: `run` cannot list the interfaces, attaches no guard, says so and ends with 1",
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
