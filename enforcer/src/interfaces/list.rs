//! The interfaces and settings of the calling thread's network namespace.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

use super::facts::{Host, Interface};
use super::framing::ARPHRD_ETHER;
use crate::netlink::fdb::{self, Of};
use crate::netlink::{ATTEMPTS, Protocol, Socket, link};
use crate::procfs::sysctl::{self, BRIDGE_FILTER_VLAN_TAGGED, BRIDGE_NF_CALL};

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
    if found
        .values()
        .any(|it| has_own_address_list(it) || it.is_kind("bridge"))
    {
        let read = read_macs(&mut found).await;
        read.context("failed to list the MAC addresses of interfaces")?;
    }
    Ok(found.into_values().collect())
}

/// Reads the MAC addresses that interfaces take. Where the forwarding tables are too long together,
/// one table at a time is read, and a bridge with a table that is too long alone has unknown
/// addresses.
async fn read_macs(found: &mut BTreeMap<u32, Interface>) -> anyhow::Result<()> {
    if let Some(macs) = fdb::taken_macs(Of::All).await? {
        add_macs(found, macs);
        return Ok(());
    }
    let is_bridge = |index: &u32| found.get(index).is_some_and(|it| it.is_kind("bridge"));
    let bridges: Vec<u32> = found.keys().copied().filter(is_bridge).collect();
    // A port's own list has no meaning, and comes with the bridge's.
    let is_alone = |it: &&Interface| !it.master.is_some_and(|master| is_bridge(&master));
    let with_lists = found.values().filter(|it| has_own_address_list(it));
    let others: Vec<u32> = with_lists.filter(is_alone).map(|it| it.index).collect();
    for index in others {
        let macs = fdb::taken_macs(Of::Interface(index)).await?;
        add_macs(found, macs.unwrap_or_default());
    }
    for index in bridges {
        // A bridge that has just gone needs no addresses.
        match fdb::taken_macs(Of::Bridge(index)).await {
            Ok(Some(macs)) => add_macs(found, macs),
            Ok(None) | Err(_) => {
                let bridge = found.get_mut(&index);
                bridge.into_iter().for_each(|it| it.macs_unknown = true);
            }
        }
    }
    Ok(())
}

fn add_macs(found: &mut BTreeMap<u32, Interface>, macs: Vec<fdb::Taken>) {
    for taken in macs {
        if let Some(interface) = found.get_mut(&taken.ifindex) {
            add_mac(interface, taken);
        }
    }
}

fn add_mac(interface: &mut Interface, taken: fdb::Taken) {
    if has_own_address_list(interface) {
        interface.other_macs |= interface.mac != Some(taken.mac);
    }
    // A bridge has an entry for each VLAN.
    let is_new = taken.by_bridge && !interface.local_macs.contains(&taken.mac);
    if is_new && interface.is_kind("bridge") {
        interface.local_macs.push(taken.mac);
    }
}

/// Returns the interface of a name as `ip link` finds one, alternative names included.
pub fn find<'a>(
    interfaces: impl IntoIterator<Item = &'a Interface>,
    name: &str,
) -> Option<&'a Interface> {
    interfaces
        .into_iter()
        .find(|interface| interface.is_named(name))
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

/// Returns the facts of a plan beside the interfaces, read in the network namespace of the calling
/// thread. `tcx` says whether the kernel has the hook; the caller adds the ids of own programs.
///
/// # Errors
/// A setting is there, and cannot be read.
pub fn host(tcx: bool) -> anyhow::Result<Host> {
    let [v4, v6] = BRIDGE_NF_CALL;
    Ok(Host {
        bridge_nf_call: is_on(v4)? || is_on(v6)?,
        bridge_filter_vlan_tagged: is_on(BRIDGE_FILTER_VLAN_TAGGED)?,
        tcx,
        ..Host::default()
    })
}

fn is_on(path: &str) -> anyhow::Result<bool> {
    sysctl::is_on(path).with_context(|| {
        format!(
            "failed to read {path}, which says what the members of bridges need of guards; is \
             /proc mounted and readable here?"
        )
    })
}
