//! Teams of interfaces with one active port, as teamd's runner `activebackup` sets up the kernel.
//!
//! Numbers: include/uapi/linux/if_team.h, and the attribute types of include/net/netlink.h.

use anyhow::Result;

use super::netlink::{Family, attribute, name, nested};
use super::netns::Netns;

/// `TEAM_CMD_OPTIONS_SET`.
const SET_OPTIONS: u8 = 1;
/// `NLA_U32`, `NLA_STRING` and `NLA_FLAG`; a flag without data is false.
const NUMBER: u8 = 3;
const STRING: u8 = 5;
const FLAG: u8 = 6;

/// Makes `team0` with an active port and a disabled one, the backup; both ports are down before.
pub fn active_backup(namespace: &Netns, active: &str, backup: &str) -> Result<()> {
    namespace.ip("link add team0 type team")?;
    let team = Family::open(namespace, "team", 1)?;
    let index = |interface| Ok::<_, anyhow::Error>(namespace.ifindex(interface)?.to_ne_bytes());
    let this = attribute(1, &index("team0")?);
    let set = |option: &str, kind: u8, more: &[Vec<u8>]| {
        let named = [name(1, option), attribute(3, &[kind])];
        let item = nested(1, &[named.concat(), more.concat()]);
        match team.call(SET_OPTIONS, &[], &[this.clone(), nested(2, &[item])]) {
            Err(error) if went_unheard(&error) => Ok(()),
            set => set,
        }
    };
    // A team takes another mode only without ports.
    set("mode", STRING, &[name(4, "activebackup")])?;
    namespace.ip(&format!(
        "link set {active} master team0
         link set {backup} master team0"
    ))?;
    set("activeport", NUMBER, &[attribute(4, &index(active)?)])?;
    set("enabled", FLAG, &[attribute(6, &index(backup)?)])
}

/// Whether an option is set and nobody listened: the kernel answers with the result of the notice
/// to listeners (`team_nl_options_set_doit` in drivers/net/team/team_core.c, and
/// `nlmsg_multicast_filtered` in include/net/netlink.h).
fn went_unheard(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.raw_os_error() == Some(libc::ESRCH))
}
