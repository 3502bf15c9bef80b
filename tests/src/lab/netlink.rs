//! Messages of netlink, built byte by byte, for what `ip` and `nft` have no words for.
//!
//! Layouts: netlink(7), and include/uapi/linux/genetlink.h. Numbers are in the byte order of the
//! machine, unless a family says otherwise.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::net::netlink::GENERIC;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::netns::Netns;

/// `NLM_F_REQUEST`.
pub(super) const REQUEST: u16 = 1;
/// `NLM_F_ACK`.
pub(super) const ACKNOWLEDGED: u16 = 4;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `NLMSG_ERROR`: the kernel's acknowledgement, or an error.
const ERROR: u16 = 2;
/// Bytes of a netlink header.
const HEADER: usize = 16;

/// The family `nlctrl`, its command for the number of another family, and both attributes.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// A message without a port or a sequence number.
pub(super) fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let [.., a, b, c, d] = (HEADER + body.len()).to_be_bytes();
    let mut bytes = u32::from_be_bytes([a, b, c, d]).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// An attribute, padded to whole words.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let [.., high, low] = (4 + value.len()).to_be_bytes();
    let mut bytes = u16::from_be_bytes([high, low]).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute that holds attributes.
pub(super) fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &attributes.concat())
}

/// An attribute with a name, which ends with a NUL byte.
pub(super) fn name(kind: u16, name: &str) -> Vec<u8> {
    attribute(kind, format!("{name}\0").as_bytes())
}

/// A socket of a namespace for one of netlink's protocols.
pub(super) fn socket(protocol: Protocol) -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol))?;
    Ok(socket)
}

/// Sends messages and returns the kernel's first answer.
///
/// # Errors
/// The error number of the answer, if the kernel refuses.
pub(super) fn answer_to(socket: impl AsFd, messages: &[u8]) -> io::Result<Vec<u8>> {
    rustix::net::send(&socket, messages, SendFlags::empty())?;
    let mut answer = vec![0; 1 << 14];
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    answer.truncate(length);
    let short = || io::Error::other("a short answer");
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    if u16::from_ne_bytes(kind.ok_or_else(short)?) == ERROR {
        let number = answer.get(HEADER..HEADER + 4);
        let number = number.and_then(|bytes| bytes.try_into().ok());
        match i32::from_ne_bytes(number.ok_or_else(short)?) {
            0 => {}
            number => return Err(io::Error::from_raw_os_error(-number)),
        }
    }
    Ok(answer)
}

/// A family of generic netlink, spoken with in one namespace.
#[derive(Debug)]
pub(super) struct Family {
    socket: OwnedFd,
    name: &'static str,
    number: u16,
    version: u8,
}

impl Family {
    /// Asks for the number of a family, upon which the kernel loads the family's module.
    pub(super) fn open(namespace: &Netns, name: &'static str, version: u8) -> Result<Self> {
        let socket = namespace
            .run(|| socket(GENERIC))?
            .context("failed to make a socket for generic netlink")?;
        let number = number_of(&socket, name)
            .with_context(|| format!("the kernel has no generic netlink family {name}"))?;
        Ok(Self {
            socket,
            name,
            number,
            version,
        })
    }

    /// Sends a command with the family's own header and attributes, and waits until the kernel has
    /// carried the command out.
    pub(super) fn call(&self, command: u8, header: &[u8], attributes: &[Vec<u8>]) -> Result<()> {
        let generic = [command, self.version, 0, 0];
        let body = [&generic[..], header, &attributes.concat()].concat();
        let request = message(self.number, REQUEST | ACKNOWLEDGED, &body);
        answer_to(&self.socket, &request)
            .map(drop)
            .with_context(|| format!("the family {} refused command {command}", self.name))
    }
}

fn number_of(socket: &OwnedFd, family: &str) -> io::Result<u16> {
    let body = [vec![GET_FAMILY, 1, 0, 0], name(FAMILY_NAME, family)].concat();
    let answer = answer_to(socket, &message(CONTROLLER, REQUEST, &body))?;
    let mut rest = answer.get(HEADER + 4..).unwrap_or_default();
    while let [a, b, c, d, value @ ..] = rest {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        if let (FAMILY_ID, [low, high, ..]) = (u16::from_ne_bytes([*c, *d]), value) {
            return Ok(u16::from_ne_bytes([*low, *high]));
        }
        rest = rest
            .get(length.next_multiple_of(4).max(4)..)
            .unwrap_or_default();
    }
    Err(io::Error::other("an answer without a number"))
}
