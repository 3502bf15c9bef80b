//! The interfaces and settings of the calling thread's network namespace.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::facts::{Host, Interface};
use super::link::ARPHRD_ETHER;
use crate::netlink::{ATTEMPTS, Protocol, Socket, fdb, link};

/// Returns every interface of the calling thread's network namespace, by ifindex.
///
/// A socket belongs to the namespace of the thread that opens the socket (`sock_net`): the caller
/// runs on a current_thread runtime, on the thread that entered the namespace. No privileges are
/// needed.
///
/// # Errors
/// The kernel's refusal, an answer that cannot be read, or interfaces that change so fast that no
/// list is whole: a list with holes would leave interfaces without a guard.
pub async fn list() -> anyhow::Result<Vec<Interface>> {
    let what = "failed to list the network interfaces";
    let mut socket = Socket::open(Protocol::Route).context(what)?;
    let Some(found) = link::dump(&mut socket).await.context(what)? else {
        bail!(
            "{what}: they changed each of the {ATTEMPTS} times that the kernel was asked; try \
             again when fewer of them come and go"
        );
    };
    let by_index = found.into_iter().map(|found| (found.index, found));
    let mut found: BTreeMap<u32, Interface> = by_index.collect();
    if found.values().any(has_own_address_list) {
        let macs = fdb::own_macs(&mut socket).await;
        for (index, mac) in macs.context("failed to list the MAC addresses of interfaces")? {
            if let Some(interface) = found.get_mut(&index).filter(|it| has_own_address_list(it)) {
                interface.other_macs |= interface.mac != Some(mac);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Returns whether `other_macs` applies to an interface.
///
/// Bridges and VXLANs answer with their forwarding table instead. An interface that is down
/// listens for nothing.
fn has_own_address_list(interface: &Interface) -> bool {
    interface.up
        && !interface.loopback
        && interface.link_type == ARPHRD_ETHER
        && !interface.is_kind("bridge")
        && !interface.is_kind("vxlan")
}

/// What else a plan has to know, read in the network namespace of the calling thread. `tcx` says
/// whether the kernel has it; programs of our own are for the caller to add.
///
/// # Errors
/// Where a setting is there and cannot be read.
pub fn host(tcx: bool) -> anyhow::Result<Host> {
    // The kernel looks these names up in the namespace of the task that opens them
    // (net_ctl_root in net/sysctl_net.c), wherever /proc was mounted.
    let [v4, v6] = settings();
    Ok(Host {
        bridge_nf_call: is_on(&v4)? || is_on(&v6)?,
        tcx,
        ..Host::default()
    })
}

/// The settings that [`host`] reads.
pub fn settings() -> [PathBuf; 2] {
    ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"]
        .map(|name| Path::new("/proc/sys/net/bridge").join(name))
}

/// Whether a setting is not 0; the files are absent while br_netfilter is not loaded.
fn is_on(path: &Path) -> anyhow::Result<bool> {
    match std::fs::read_to_string(path) {
        Ok(value) => Ok(value.trim() != "0"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| {
            format!(
                "failed to read {}, which says whether members of bridges need guards; is /proc \
                 mounted and readable here?",
                path.display()
            )
        }),
    }
}
