//! Reading rtnetlink's answers.
//!
//! Only the attributes that a plan needs are read. rtnetlink's own parser reads all of them, and
//! netlink-proto drops a message of which it cannot read one (`NetlinkCodec::decode`): an
//! interface that is missing from the list would be an interface without a guard.

use std::io;

use anyhow::{Context as _, bail, ensure};
use rtnetlink::packet_core::{
    NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NlasIterator,
};

use super::facts::{Interface, XdpAttached, XdpMode};

/// linux/if.h.
const IFF_UP: u32 = 1;
const IFF_BROADCAST: u32 = 1 << 1;
const IFF_LOOPBACK: u32 = 1 << 3;
const IFF_POINTOPOINT: u32 = 1 << 4;

/// linux/if_link.h.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
/// Since Linux 5.14.
const IFLA_PARENT_DEV_NAME: u16 = 56;
/// Within IFLA_LINKINFO.
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
/// Within IFLA_INFO_DATA of a VLAN device: `struct ifla_vlan_flags`, flags and mask.
const IFLA_VLAN_FLAGS: u16 = 2;
/// linux/if_vlan.h.
const VLAN_FLAG_REORDER_HDR: u32 = 1;
/// Within IFLA_XDP.
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;

/// linux/neighbour.h.
const NDA_LLADDR: u16 = 2;
const NTF_SELF: u8 = 1 << 1;

/// The answers to one question that asks for all of something (netlink(7), NLM_F_DUMP).
pub(super) struct Answers {
    sequence: u32,
    /// The last one was read.
    pub(super) done: bool,
    /// They fit together: nothing that was asked for changed in between.
    pub(super) whole: bool,
}

impl Answers {
    /// No answer yet to the question of this sequence number.
    pub(super) const fn to(sequence: u32) -> Self {
        Self {
            sequence,
            done: false,
            whole: true,
        }
    }

    /// Visits the payload of each answer of the type `wanted` in one datagram.
    ///
    /// # Errors
    /// The kernel's own, the visitor's, and where the datagram is cut short.
    pub(super) fn read(
        &mut self,
        datagram: &[u8],
        wanted: u16,
        mut visit: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut rest = datagram;
        while !rest.is_empty() && !self.done {
            let answer = NetlinkBuffer::new_checked(rest)
                .context("the kernel's answer over netlink is cut short")?;
            let length = usize::try_from(answer.length())?.next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            if answer.sequence_number() != self.sequence {
                continue;
            }
            self.whole &= answer.flags() & NLM_F_DUMP_INTR == 0;
            match answer.message_type() {
                NLMSG_DONE => {
                    check(answer.payload())?;
                    self.done = true;
                }
                NLMSG_ERROR => {
                    check(answer.payload())?;
                    bail!("the kernel acknowledged over netlink what it was to answer");
                }
                kind if kind == wanted => visit(answer.payload())?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The errno, negated, that NLMSG_DONE and NLMSG_ERROR begin with; 0 is success.
fn check(payload: &[u8]) -> anyhow::Result<()> {
    let code = payload.first_chunk().copied().map_or(0, i32::from_ne_bytes);
    ensure!(
        code >= 0,
        "the kernel refused to answer over netlink: {}",
        io::Error::from_raw_os_error(code.saturating_neg())
    );
    Ok(())
}

/// Reads the payload of an RTM_NEWLINK message: `struct ifinfomsg` and attributes. MissingFile
/// attributes are no error; what `other_macs` says, another message knows.
///
/// # Errors
/// Where the message is cut short or has no ifindex or name.
pub(super) fn link(payload: &[u8]) -> anyhow::Result<Interface> {
    let (header, attributes) = payload
        .split_first_chunk::<16>()
        .context("a link message is shorter than its header")?;
    let [_, _, t0, t1, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *header;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let mut interface = Interface {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        link_type: u16::from_ne_bytes([t0, t1]),
        up: flags & IFF_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        point_to_point: flags & (IFF_POINTOPOINT | IFF_BROADCAST) == IFF_POINTOPOINT,
        ..Interface::default()
    };
    let mut parent_is_elsewhere = false;
    each_attribute(attributes, |kind, value| {
        match kind {
            IFLA_ADDRESS => interface.mac = value.try_into().ok(),
            IFLA_IFNAME => interface.name = text(value),
            IFLA_LINK => interface.parent = index(value),
            IFLA_MASTER => interface.master = index(value),
            IFLA_LINK_NETNSID => parent_is_elsewhere = true,
            IFLA_LINKINFO => link_info(value, &mut interface)?,
            IFLA_XDP => interface.xdp = xdp(value)?,
            IFLA_PARENT_DEV_NAME => interface.has_device = true,
            _ => {}
        }
        Ok(())
    })?;
    if parent_is_elsewhere {
        interface.parent = None;
    }
    ensure!(
        interface.index != 0 && !interface.name.is_empty(),
        "a link message has no ifindex or no name"
    );
    Ok(interface)
}

fn link_info(nested: &[u8], interface: &mut Interface) -> anyhow::Result<()> {
    let mut data: &[u8] = &[];
    each_attribute(nested, |kind, value| {
        match kind {
            IFLA_INFO_KIND => interface.kind = Some(text(value)),
            IFLA_INFO_DATA => data = value,
            _ => {}
        }
        Ok(())
    })?;
    // The same numbers mean something else in other kinds.
    if interface.is_kind("vlan") {
        each_attribute(data, |kind, value| {
            if kind == IFLA_VLAN_FLAGS {
                interface.keeps_tag = number(value).unwrap_or(0) & VLAN_FLAG_REORDER_HDR == 0;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn xdp(nested: &[u8]) -> anyhow::Result<Option<XdpAttached>> {
    let mut mode = None;
    let mut prog_id = None;
    each_attribute(nested, |kind, value| {
        match (kind, value) {
            (IFLA_XDP_ATTACHED, &[code, ..]) => {
                mode = match code {
                    0 => None,
                    1 => Some(XdpMode::Native),
                    2 => Some(XdpMode::Generic),
                    3 => Some(XdpMode::Hardware),
                    _ => Some(XdpMode::Several),
                };
            }
            (IFLA_XDP_PROG_ID, value) => prog_id = index(value),
            _ => {}
        }
        Ok(())
    })?;
    Ok(mode.map(|mode| XdpAttached { prog_id, mode }))
}

/// Reads the payload of an RTM_NEWNEIGH message of a forwarding database: `struct ndmsg` and
/// attributes. Answers with the device's ifindex and the unicast address, if it is one that the
/// device itself listens for.
///
/// # Errors
/// Where the message is cut short.
pub(super) fn listens_for(payload: &[u8]) -> anyhow::Result<Option<(u32, [u8; 6])>> {
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

/// Visits each attribute (`struct nlattr`) by its type, without its flags, and its value.
///
/// # Errors
/// The visitor's, and where one is cut short.
pub(crate) fn each_attribute<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(u16, &'a [u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for attribute in NlasIterator::new(bytes) {
        let attribute = attribute.context("an attribute is cut short")?;
        // The iterator's buffers live as long as the message; their `value()` does not say so.
        let length = attribute.value_length();
        let whole: &'a [u8] = attribute.into_inner();
        visit(
            attribute.kind(),
            whole.get(4..4 + length).unwrap_or_default(),
        )?;
    }
    Ok(())
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().copied().map(u32::from_ne_bytes)
}

/// An ifindex or an id: 0 stands for none.
fn index(value: &[u8]) -> Option<u32> {
    number(value).filter(|&number| number != 0)
}

/// A string up to its NUL.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}
