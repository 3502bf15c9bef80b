//! Generic netlink: families by name, and the header of messages (linux/genetlink.h).

use anyhow::{Context as _, Result, bail};

use super::{
    ATTEMPTS, Request, Socket,
    framing::{each_attribute, text},
};

/// The controller, which lists all families: type, command and version.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_VERSION: u8 = 2;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Returns the number of a family; `None` where the kernel lacks the family.
///
/// The request asks for all families. A request by name would load the module of an absent family
/// (`ctrl_getfamily` in net/netlink/genetlink.c).
///
/// # Errors
/// The kernel's refusal, a reply that cannot be read, or families that change all the time.
pub(crate) async fn family(socket: &mut Socket, name: &str) -> Result<Option<u16>> {
    let request = Request {
        kind: GENL_ID_CTRL,
        body: &header(CTRL_CMD_GETFAMILY, CTRL_VERSION),
        reply: GENL_ID_CTRL,
    };
    for _ in 0..ATTEMPTS {
        let dump = socket.dump(request, |payload| {
            let (found, number) = parse_family(payload)?;
            Ok((found == name).then_some(number))
        });
        let dump = dump.await?;
        let number = dump.entries.first().copied();
        if dump.is_consistent || number.is_some() {
            return Ok(number);
        }
    }
    bail!("the families changed each of the {ATTEMPTS} times that the kernel was asked");
}

/// Returns `struct genlmsghdr`: command, version, reserved.
pub(crate) const fn header(command: u8, version: u8) -> [u8; 4] {
    [command, version, 0, 0]
}

/// Splits a message into the command of `struct genlmsghdr` and the attributes.
///
/// # Errors
/// The message is shorter than the header.
pub(crate) fn split(payload: &[u8]) -> Result<(u8, &[u8])> {
    let (header, attributes) = payload
        .split_first_chunk::<4>()
        .context("a message of generic netlink is shorter than its header")?;
    Ok((header[0], attributes))
}

/// Parses the payload of a CTRL_CMD_NEWFAMILY message: name and number of a family.
///
/// # Errors
/// The message is cut short, or lacks the name or the number.
pub(super) fn parse_family(payload: &[u8]) -> Result<(String, u16)> {
    let (mut name, mut number) = (None, None);
    each_attribute(split(payload)?.1, |kind, value| {
        match kind {
            CTRL_ATTR_FAMILY_NAME => name = Some(text(value)),
            CTRL_ATTR_FAMILY_ID => {
                number = value.first_chunk().copied().map(u16::from_ne_bytes);
            }
            _ => {}
        }
        Ok(())
    })?;
    name.zip(number)
        .context("a family of generic netlink has no name or no number")
}
