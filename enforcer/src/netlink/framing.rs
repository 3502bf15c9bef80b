//! Messages in a datagram, and attributes in a message (linux/netlink.h).
//!
//! Every length is checked before use: bytes that no kernel writes are an error, never a panic.

use std::{io, net::IpAddr};

use anyhow::{Context as _, Result, bail};

use crate::printable;

/// linux/netlink.h: message types.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// linux/netlink.h: flags of a request.
pub(super) const NLM_F_REQUEST: u16 = 1;
pub(super) const NLM_F_DUMP: u16 = 0x300;
/// linux/netlink.h: flag of a reply to a dump whose subject changed in between.
const NLM_F_DUMP_INTR: u16 = 0x10;

/// linux/netlink.h: NLA_TYPE_MASK, without the flags for nesting and byte order.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// The size of `struct nlmsghdr`: length, type, flags, sequence number, port id.
const HEADER: usize = 16;

/// linux/socket.h: address families.
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

/// A message without header.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// Splits a datagram into the first message and the rest; `None` where a length does not fit.
fn split_message(datagram: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let header = datagram.first_chunk::<HEADER>()?;
    let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
    let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
    let message = Message {
        kind: u16::from_ne_bytes([k0, k1]),
        flags: u16::from_ne_bytes([f0, f1]),
        sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
        payload: datagram.get(HEADER..length)?,
    };
    // The last message of a datagram may lack padding.
    let rest = datagram.get(length.next_multiple_of(4)..);
    Some((message, rest.unwrap_or_default()))
}

/// Returns whether a message of a datagram, by type and payload, is as asked. A datagram that cannot
/// be read counts as well.
pub(super) fn any_message(datagram: &[u8], is_asked: impl Fn(u16, &[u8]) -> bool) -> bool {
    let mut rest = datagram;
    while !rest.is_empty() {
        let Some((message, behind)) = split_message(rest) else {
            return true;
        };
        if is_asked(message.kind, message.payload) {
            return true;
        }
        rest = behind;
    }
    false
}

/// Splits attributes into the type and value of the first one, and the rest; `None` where a length
/// does not fit.
fn split_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let [l0, l1, k0, k1] = *bytes.first_chunk()?;
    let length = usize::from(u16::from_ne_bytes([l0, l1]));
    let value = bytes.get(4..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..);
    let kind = u16::from_ne_bytes([k0, k1]) & NLA_TYPE_MASK;
    Some((kind, value, rest.unwrap_or_default()))
}

/// Visits each attribute (`struct nlattr`): type without flags, and value.
///
/// # Errors
/// The visitor's, or an attribute is cut short.
pub(crate) fn each_attribute<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(u16, &'a [u8]) -> Result<()>,
) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (kind, value, behind) = split_attribute(rest).context("an attribute is cut short")?;
        visit(kind, value)?;
        rest = behind;
    }
    Ok(())
}

/// Returns a string up to the NUL, decoded without loss.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0);
    printable::decode(&value[..end.unwrap_or(value.len())])
}

/// Returns the first four bytes of a value as a number.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().copied().map(u32::from_ne_bytes)
}

/// Returns an ifindex or an id; 0 stands for none.
pub(super) fn index(value: &[u8]) -> Option<u32> {
    number(value).filter(|&number| number != 0)
}

/// Returns an address of an AF_* family; `None` for another family or length.
pub(super) fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        AF_INET6 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Writes a message: `struct nlmsghdr` and a body.
///
/// # Errors
/// The body is longer than a length field can say.
pub(super) fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(HEADER + body.len()).context("a netlink request is too long")?;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // Port id: the kernel fills in the sender's.
    bytes.extend([0; 4]);
    bytes.extend(body);
    Ok(bytes)
}

/// Appends an attribute to the body of a request.
///
/// # Errors
/// The value is longer than a length field can say.
pub(super) fn push_attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) -> Result<()> {
    let length = u16::try_from(4 + value.len()).context("a netlink attribute is too long")?;
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
    Ok(())
}

/// The replies to one dump request (netlink(7), NLM_F_DUMP).
pub(super) struct Replies {
    sequence: u32,
    /// The last reply was read.
    pub(super) is_done: bool,
    /// No reply reports that the subject of the dump changed in between.
    pub(super) is_consistent: bool,
}

impl Replies {
    /// Returns the state before the first reply to the request of a sequence number.
    pub(super) const fn to(sequence: u32) -> Self {
        Self {
            sequence,
            is_done: false,
            is_consistent: true,
        }
    }

    /// Visits the payload of each reply of the type `wanted` in one datagram.
    ///
    /// # Errors
    /// The kernel's refusal, the visitor's error, or a datagram that is cut short.
    pub(super) fn read(
        &mut self,
        datagram: &[u8],
        wanted: u16,
        mut visit: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut rest = datagram;
        while !rest.is_empty() && !self.is_done {
            let (message, behind) = split_message(rest).context(CUT_SHORT)?;
            rest = behind;
            if message.sequence != self.sequence {
                continue;
            }
            self.is_consistent &= message.flags & NLM_F_DUMP_INTR == 0;
            match message.kind {
                NLMSG_DONE => {
                    check(message.payload)?;
                    self.is_done = true;
                }
                NLMSG_ERROR => {
                    check(message.payload)?;
                    bail!(ACKNOWLEDGED);
                }
                kind if kind == wanted => visit(message.payload)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The reply to a request for one object.
#[derive(Debug)]
pub(super) enum Reply<'a> {
    /// The payload.
    Payload(&'a [u8]),
    /// The kernel refused, whatever the errno.
    Refused,
}

/// Returns the first reply to the request of a sequence number; `None` where the datagram has only
/// other messages.
///
/// # Errors
/// The datagram is cut short, or the kernel replied with another type of message.
pub(super) fn first_reply(
    datagram: &[u8],
    sequence: u32,
    wanted: u16,
) -> Result<Option<Reply<'_>>> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let (message, behind) = split_message(rest).context(CUT_SHORT)?;
        rest = behind;
        if message.sequence != sequence {
            continue;
        }
        return match message.kind {
            kind if kind == wanted => Ok(Some(Reply::Payload(message.payload))),
            NLMSG_ERROR if refusal(message.payload).is_some() => Ok(Some(Reply::Refused)),
            NLMSG_ERROR => bail!(ACKNOWLEDGED),
            kind => bail!("the kernel replied over netlink with a message of type {kind}"),
        };
    }
    Ok(None)
}

const CUT_SHORT: &str = "the kernel's answer over netlink is cut short";
const ACKNOWLEDGED: &str = "the kernel acknowledged over netlink what it was to answer";

/// Returns the errno, negated, at the beginning of NLMSG_DONE and NLMSG_ERROR; `None` for success.
fn refusal(payload: &[u8]) -> Option<io::Error> {
    let code = payload.first_chunk().copied().map_or(0, i32::from_ne_bytes);
    (code < 0).then(|| io::Error::from_raw_os_error(code.saturating_neg()))
}

fn check(payload: &[u8]) -> Result<()> {
    match refusal(payload) {
        // The error stays in the chain, for callers that know what a refusal means.
        Some(errno) => Err(errno).context("the kernel refused to answer over netlink"),
        None => Ok(()),
    }
}
