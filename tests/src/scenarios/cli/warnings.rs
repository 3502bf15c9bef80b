//! Warnings about container networks: prefixes of global addresses, and peers behind WireGuard; and
//! the hint at a macvlan passthru device that the kernel does not show.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::command::{Finished, finish};
use crate::lab::enforcer::REGISTRY;
use crate::lab::{Feature, Guards, Netns, PrivateRun};
use crate::scenario::{Rig, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("warnings::a_network_of_global_addresses", global_addresses),
        Scenario::new("warnings::peers_behind_wireguard", peers),
        Scenario::new("warnings::a_passthru_device_elsewhere", passthru).needs(Feature::Macvlan),
    ]
}

/// The start of the warning about the network that the scenario adds.
const GLOBAL: &str = "container network 2001:db8:88::/64 of podman0 has global addresses";

/// Checks whether a command says a text, with exit code 0. Output at a pipe is not wrapped.
fn says(finished: &Finished, text: &str, expected: bool) -> Result<()> {
    let said = format!("{}{}", finished.stdout, finished.stderr);
    ensure!(finished.code == Some(0), "{finished}");
    ensure!(
        said.contains(text) == expected,
        "expected `{text}`: {expected}, but saw {finished}"
    );
    Ok(())
}

fn global_addresses(rig: &Rig<'_>) -> Result<()> {
    let enforcer = rig.enforcer;
    let check = |expected| says(&enforcer.call(&["check"])?, GLOBAL, expected);
    let status = |expected| says(&enforcer.call(&["status"])?, GLOBAL, expected);
    let up = |expected| says(&enforcer.call(&["up"])?, GLOBAL, expected);
    up(false)?;
    check(false)?;
    status(false)?;
    let add = "addr add 2001:db8:88::1/64 dev podman0 nodad";
    rig.lab.host.ip(add)?;
    check(true)?;
    up(true)?;
    status(true)?;
    let code = enforcer.status()?.0;
    ensure!(code == Some(0), "a warning is no gap: {code:?}");
    for table in ["routed = true", "routed = false"] {
        enforcer.registry(&format!("{REGISTRY}[interfaces.podman0]\n{table}\n"))?;
        check(false)?;
        says(&enforcer.call(&["reload"])?, GLOBAL, false)?;
        status(false)?;
    }
    Ok(())
}

/// The start of the warning about the lab's peer.
const PEER: &str =
    "peer collector on WireGuard is in no `allow` of the container network of podman0";

fn peers(rig: &Rig<'_>) -> Result<()> {
    let (lab, enforcer) = (rig.lab, rig.enforcer);
    // The control: a veth with a familiar name is no WireGuard device.
    enforcer.up(Guards::Both)?;
    says(&enforcer.call(&["check"])?, PEER, false)?;
    says(&enforcer.call(&["status"])?, PEER, false)?;
    lab.host.ip("link del wg0
         tuntap add wg0 mode tun
         addr add 10.10.0.2/24 dev wg0
         link set wg0 up")?;
    let run = PrivateRun::new(lab)?;
    let folder = run.path().join("wireguard");
    fs::create_dir_all(&folder)?;
    let _listener = UnixListener::bind(folder.join("wg0.sock")).context("no socket")?;
    let call = |arguments: &[&str]| {
        let mut command = enforcer.command(arguments)?;
        run.guide(&mut command);
        finish(command, "")
    };
    says(&call(&["check"])?, PEER, true)?;
    says(&call(&["check"])?, "allow = [\"collector\"]", true)?;
    says(&call(&["reload"])?, PEER, true)?;
    says(&call(&["status"])?, PEER, true)?;
    says(&call(&["check"])?, "not looked at", false)?;
    blind(rig, &run)?;
    for peers in ["\"collector\"", ""] {
        let table = format!("[interfaces.podman0]\nallow = [{peers}]\n");
        enforcer.registry(&format!("{REGISTRY}{table}"))?;
        says(&call(&["check"])?, PEER, false)?;
        says(&call(&["reload"])?, PEER, false)?;
        says(&call(&["status"])?, PEER, false)?;
    }
    Ok(())
}

/// `check` without capabilities, in front of a folder of sockets that belongs to another user.
fn blind(rig: &Rig<'_>, run: &PrivateRun) -> Result<()> {
    const NOBODY: u32 = 65534;
    let folder = run.path().join("wireguard");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    chown(&folder, Some(NOBODY), Some(NOBODY))?;
    let call = |arguments: &[&str]| {
        let mut command: Command = rig.lab.host.command("setpriv");
        command
            .arg("--bounding-set=-all")
            .arg(rig.enforcer.binary())
            .arg("--config")
            .arg(rig.enforcer.config_path()?)
            .args(arguments);
        run.guide(&mut command);
        finish(command, "")
    };
    let blind = "wg0 counts as no WireGuard device";
    let text = call(&["check"])?;
    says(&text, blind, true)?;
    says(&text, "/wireguard/wg0.sock", true)?;
    says(&text, PEER, false)?;
    says(&call(&["check", "--json"])?, blind, true)?;
    chown(&folder, Some(0), Some(0))?;
    // The control: the same command sees a folder of its own user.
    says(&call(&["check"])?, PEER, true)
}

/// The start of the hint at the parent, and the line to add.
const PROMISCUOUS: &str = "nic1 is promiscuous";
const SIDE: &str = "`side = \"inside\"` under `[interfaces.nic1]`";

fn passthru(rig: &Rig<'_>) -> Result<()> {
    let (lab, enforcer) = (rig.lab, rig.enforcer);
    let child = Netns::new("macvlan")?;
    lab.host.ip("link add nic1 type veth peer name nic2
         link set nic2 up
         link set nic1 up")?;
    enforcer.up(Guards::Both)?;
    let status = |text, expected| says(&enforcer.call(&["status"])?, text, expected);
    status(PROMISCUOUS, false)?;
    lab.host.ip(&format!(
        "link add child0 link nic1 type macvlan mode passthru
         link set child0 netns {}",
        child.path()
    ))?;
    // The control: a child that is down takes no frame.
    status(PROMISCUOUS, false)?;
    child.ip("link set child0 up")?;
    status(PROMISCUOUS, true)?;
    status(SIDE, true)?;
    enforcer.registry(&format!("{REGISTRY}[interfaces.nic1]\nside = \"inside\"\n"))?;
    enforcer.call(&["reload"])?;
    status(PROMISCUOUS, false)
}
