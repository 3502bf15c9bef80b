//! MAC addresses that interfaces take for their own: RTM_GETNEIGH of the family AF_BRIDGE
//! (rtnetlink(7)).

use anyhow::{Context as _, Result};

use super::{
    Protocol, Request, Socket,
    framing::{each_attribute, index, push_attribute},
};

/// The most messages of one dump. Any machine behind a bridge can have the bridge learn addresses,
/// and the kernel begins again at the first entry for each datagram of a dump (`br_fdb_dump` in
/// net/bridge/br_fdb.c), so that the time grows with the square of the number.
const MOST: usize = 16_384;

/// linux/rtnetlink.h.
pub(super) const RTM_NEWNEIGH: u16 = 28;
pub(super) const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
/// linux/socket.h.
pub(super) const AF_BRIDGE: u8 = 7;
/// linux/neighbour.h.
const NDA_LLADDR: u16 = 2;
const NDA_MASTER: u16 = 9;
const NTF_SELF: u8 = 1 << 1;
pub(super) const NUD_PERMANENT: u16 = 0x80;

/// A unicast MAC that an interface takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The ifindex of the interface that takes the frames.
    pub(crate) ifindex: u32,
    /// The address.
    pub(crate) mac: [u8; 6],
    /// The interface is a bridge, and the address one of its permanent local entries, such as a
    /// port's MAC (`fdb_to_nud` in net/bridge/br_fdb.c). Otherwise the address is in `dev->uc`.
    pub(crate) by_bridge: bool,
}

/// The interfaces of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Every interface.
    All,
    /// A bridge with its ports, by ifindex.
    Bridge(u32),
    /// An interface by ifindex.
    Interface(u32),
}

/// Returns the unicast addresses in `dev->uc` of interfaces (`ndo_dflt_fdb_dump` in
/// net/core/rtnetlink.c), and the permanent local entries of bridges; `None` if the kernel has
/// more entries to tell than [`MOST`]. No filter of the kernel tells local entries from learned
/// ones.
///
/// # Errors
/// The kernel's refusal, or a reply that cannot be read.
pub(crate) async fn taken_macs(of: Of) -> Result<Option<Vec<Taken>>> {
    // The kernel ignores filters otherwise. The rest of a dump that is too long goes with the socket.
    let mut socket = Socket::open_strict(Protocol::Route)?;
    let body = body(of)?;
    let request = Request {
        kind: RTM_GETNEIGH,
        body: &body,
        reply: RTM_NEWNEIGH,
    };
    socket.dump_up_to(MOST, request, parse).await
}

/// Returns the body of a request (`valid_fdb_dump_strict` in net/core/rtnetlink.c).
fn body(of: Of) -> Result<Vec<u8>> {
    // `struct ndmsg`.
    let mut body = vec![0; 12];
    body[0] = AF_BRIDGE;
    match of {
        Of::All => {}
        Of::Bridge(bridge) => push_attribute(&mut body, NDA_MASTER, &bridge.to_ne_bytes())?,
        Of::Interface(index) => body[4..8].copy_from_slice(&index.to_ne_bytes()),
    }
    Ok(body)
}

/// Parses the payload of an RTM_NEWNEIGH message of a forwarding database: `struct ndmsg` and
/// attributes. `None` for an address that no interface of this host listens for: learned, static,
/// or of a group.
///
/// # Errors
/// The message is cut short.
pub(super) fn parse(payload: &[u8]) -> Result<Option<Taken>> {
    let (header, attributes) = payload
        .split_first_chunk::<12>()
        .context("a neighbour message is shorter than its header")?;
    let [_, _, _, _, i0, i1, i2, i3, s0, s1, flags, _] = *header;
    let state = u16::from_ne_bytes([s0, s1]);
    let (mut address, mut master) = (None, None);
    each_attribute(attributes, |kind, value| {
        match kind {
            NDA_LLADDR => address = <[u8; 6]>::try_from(value).ok(),
            NDA_MASTER => master = index(value),
            _ => {}
        }
        Ok(())
    })?;
    // The lowest bit of the first octet marks group addresses (IEEE 802, 8.2).
    let address = address.filter(|mac| mac[0] & 1 == 0);
    let is_own = flags & NTF_SELF != 0;
    let is_local = state & NUD_PERMANENT != 0;
    let taker = match (is_own, master) {
        (true, _) => index(&[i0, i1, i2, i3]),
        (false, Some(bridge)) if is_local => Some(bridge),
        (false, _) => None,
    };
    Ok(taker.zip(address).map(|(ifindex, mac)| Taken {
        ifindex,
        mac,
        by_bridge: !is_own,
    }))
}
