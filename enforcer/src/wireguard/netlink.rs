//! Asking the kernel's WireGuard over generic netlink.

use anyhow::{Context as _, Result, bail};
use rtnetlink::sys::protocols::NETLINK_GENERIC;

use super::{AllowedIps, message};
use crate::interfaces::Socket;

/// How often the device may change under the question.
const ATTEMPTS: usize = 10;

/// linux/genetlink.h: the family that names the others, the command, and the version that is asked
/// for.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_VERSION: u8 = 2;
/// linux/wireguard.h.
const WG_GENL_NAME: &str = "wireguard";
const WG_GENL_VERSION: u8 = 1;

/// Asks the device of an ifindex. The kernel refuses one that is not WireGuard (`lookup_interface`
/// in drivers/net/wireguard/netlink.c).
///
/// # Errors
/// The kernel's refusal, an answer that cannot be read, or a device that changes all the time.
pub(super) async fn ask(ifindex: u32) -> Result<AllowedIps> {
    let mut socket = Socket::open(NETLINK_GENERIC).context("failed to open a netlink socket")?;
    let family = family(&mut socket)
        .await
        .context("failed to look for the kernel's WireGuard")?
        .context("the kernel has no WireGuard")?;
    let question = [
        &header(message::WG_CMD_GET_DEVICE, WG_GENL_VERSION)[..],
        &message::ifindex(ifindex),
    ]
    .concat();
    for _ in 0..ATTEMPTS {
        let mut allowed = AllowedIps::default();
        let mut answers = Vec::new();
        let whole = socket
            .dump_other(family, &question, family, |payload| {
                answers.push(payload.to_vec());
                Ok(())
            })
            .await?;
        // The parts of one that changed in between need not fit together.
        if whole {
            for payload in &answers {
                message::device(payload, &mut allowed)?;
            }
            return Ok(allowed);
        }
    }
    bail!("it changed each of the {ATTEMPTS} times that the kernel was asked");
}

/// The number of the family, if the kernel has it. All are asked for: the one list ends as every
/// other does.
async fn family(socket: &mut Socket) -> Result<Option<u16>> {
    let question = header(CTRL_CMD_GETFAMILY, CTRL_VERSION);
    for _ in 0..ATTEMPTS {
        let mut found = None;
        let whole = socket
            .dump_other(GENL_ID_CTRL, &question, GENL_ID_CTRL, |payload| {
                let (name, number) = message::family(payload)?;
                if name == WG_GENL_NAME {
                    found = Some(number);
                }
                Ok(())
            })
            .await?;
        if whole || found.is_some() {
            return Ok(found);
        }
    }
    bail!("its families changed each of the {ATTEMPTS} times that it was asked");
}

/// `struct genlmsghdr`: command, version, reserved.
const fn header(command: u8, version: u8) -> [u8; 4] {
    [command, version, 0, 0]
}
