//! The socket guard away from the root of the cgroups, and without any cgroup2.

use anyhow::{Context, Result, ensure};

use crate::lab::cleanup::cgroup2_root;
use crate::lab::command::finish;
use crate::lab::mounts::{Change, with_mounts};
use crate::lab::namespaces::in_cgroup_namespace;
use crate::lab::{Guards, Patience};
use crate::scenario::{Rig, Scenario};

use super::super::runner::{answered, expect_state, unanswered};
use super::{expect_words, from_lan, service};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("a24_a_cgroup_namespace::is_told", below_the_root),
        Scenario::new("pins::no_cgroup2_leaves_the_wire_guards", no_cgroup2),
    ]
}

/// From inside of the namespace its cgroup looks like the root, and the sockets of the host's other
/// cgroups are beyond the guard.
fn below_the_root(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    let cgroup = rig.lab.cgroup()?;
    let root = cgroup2_root().context("no cgroup2 is mounted")?;
    let inside = |arguments: &[&str]| -> Result<_> {
        let mut command = rig.enforcer.command(arguments)?;
        in_cgroup_namespace(&mut command, cgroup.path(), &root)?;
        finish(command, "")
    };
    let words = "below the root";
    let up = inside(&["up", "--guards", "socket"])?;
    ensure!(
        up.code == Some(3) && up.stderr.contains(words),
        "expected `up` to tell the place of the socket guard, but {up}"
    );
    answered(from_lan(rig, Patience::Long)?).context("the socket is another cgroup's")?;
    expect_words(rig, 3, &["degraded", words])?;
    let status = inside(&["status"])?;
    ensure!(
        status.code == Some(3) && status.stdout.contains(words),
        "expected `status` inside to tell the place, but {status}"
    );
    // With wire guards the host is closed, and degraded all the same.
    inside(&["up"])?;
    unanswered(from_lan(rig, Patience::Brief)?)?;
    expect_words(rig, 3, &[words])?;
    // The control: the same command outside stands at the root.
    rig.enforcer.up(Guards::Both)?;
    expect_state(rig, 0, "enforcing")?;
    rig.enforcer.up(Guards::Socket)?;
    unanswered(from_lan(rig, Patience::Brief)?)?;
    rig.enforcer.down()
}

fn no_cgroup2(rig: &Rig<'_>) -> Result<()> {
    let _server = service(rig)?;
    let root = cgroup2_root().context("no cgroup2 is mounted")?;
    let inside = |arguments: &[&str]| -> Result<_> {
        let mut command = rig.enforcer.command(arguments)?;
        with_mounts(&mut command, vec![Change::without(&root)?]);
        finish(command, "")
    };
    let up = inside(&["up"])?;
    ensure!(up.code == Some(3), "expected wire guards alone, but {up}");
    unanswered(from_lan(rig, Patience::Brief)?)?;
    let status = inside(&["status"])?;
    ensure!(
        status.code == Some(3) && status.stdout.contains("no cgroup2"),
        "expected `status` to name the cause, but {status}"
    );
    // A reload changes nothing for the worse, and adds the guard where there is a cgroup2.
    let reload = inside(&["reload"])?;
    ensure!(reload.code == Some(0), "{reload}");
    unanswered(from_lan(rig, Patience::Brief)?)?;
    rig.enforcer.reload()?;
    expect_state(rig, 0, "enforcing")?;
    // An attached socket guard needs no mount.
    let status = inside(&["status"])?;
    ensure!(status.code == Some(0), "{status}");
    rig.enforcer.down()
}
