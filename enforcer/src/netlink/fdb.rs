//! Own unicast MAC addresses of interfaces: RTM_GETNEIGH of the family AF_BRIDGE (rtnetlink(7)).

use anyhow::{Context as _, Result};

use super::{
    Request, Socket,
    framing::{each_attribute, index},
};

/// linux/rtnetlink.h.
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
/// linux/socket.h.
const AF_BRIDGE: u8 = 7;
/// linux/neighbour.h.
const NDA_LLADDR: u16 = 2;
const NTF_SELF: u8 = 1 << 1;

/// Returns the unicast addresses in `dev->uc` of every interface (`ndo_dflt_fdb_dump` in
/// net/core/rtnetlink.c), with the ifindex. Without NETLINK_GET_STRICT_CHK the kernel ignores a
/// filter for one interface.
///
/// # Errors
/// The kernel's refusal, or a reply that cannot be read.
pub(crate) async fn own_macs(socket: &mut Socket) -> Result<Vec<(u32, [u8; 6])>> {
    // `struct ndmsg`.
    let mut body = [0; 12];
    body[0] = AF_BRIDGE;
    let request = Request {
        kind: RTM_GETNEIGH,
        body: &body,
        reply: RTM_NEWNEIGH,
    };
    Ok(socket.dump(request, parse).await?.entries)
}

/// Parses the payload of an RTM_NEWNEIGH message of a forwarding database: `struct ndmsg` and
/// attributes. Returns ifindex and unicast address; `None` for an address that the device itself
/// does not listen for.
///
/// # Errors
/// The message is cut short.
pub(super) fn parse(payload: &[u8]) -> Result<Option<(u32, [u8; 6])>> {
    let (header, attributes) = payload
        .split_first_chunk::<12>()
        .context("a neighbour message is shorter than its header")?;
    let flags = header[10];
    let device = index(&header[4..8]);
    let mut address = None;
    each_attribute(attributes, |kind, value| {
        if kind == NDA_LLADDR {
            address = <[u8; 6]>::try_from(value).ok();
        }
        Ok(())
    })?;
    // The lowest bit of the first octet marks group addresses (IEEE 802, 8.2).
    let address = address.filter(|mac| flags & NTF_SELF != 0 && mac[0] & 1 == 0);
    Ok(device.zip(address))
}
