//! A rule that makes a bridge route a frame instead of forwarding the frame.
//!
//! `nft` knows the words `meta broute set 1` from 1.0.8 on, so the rule goes to the kernel as
//! netlink here. Numbers: include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h.

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socket_with};

use super::netns::Netns;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// The subsystem of nf_tables, and the message for a new rule.
const NFTABLES: u16 = 10;
const NEW_RULE: u16 = NFTABLES << 8 | 6;
const BRIDGE_FAMILY: u8 = 7;
const REQUEST: u16 = 1;
const ACKNOWLEDGED: u16 = 4;
const CREATE_AT_THE_END: u16 = 0xc00;
const NESTED: u16 = 0x8000;
/// `NFT_META_IIFNAME`, and `NFT_CMP_EQ`.
const INCOMING_NAME: u32 = 6;
const EQUAL: u32 = 0;
/// `NFT_META_BRI_BROUTE`.
const BROUTE: u32 = 35;
const REGISTER: u32 = 1;
/// Bytes of a netlink header.
const HEADER: usize = 16;

/// Lets every frame that a member of a bridge receives be routed: the IP stack takes the frame on
/// the member.
pub fn route_all(namespace: &Netns, member: &str) -> Result<()> {
    namespace.nft(
        "table bridge brouter {
           chain prerouting { type filter hook prerouting priority -300; policy accept; }
         }",
    )?;
    let rule = rule_for(member);
    let batch = [
        message(BATCH_BEGIN, REQUEST, 0, NFTABLES, &[]),
        message(
            NEW_RULE,
            REQUEST | ACKNOWLEDGED | CREATE_AT_THE_END,
            BRIDGE_FAMILY,
            0,
            &rule,
        ),
        message(BATCH_END, REQUEST, 0, NFTABLES, &[]),
    ]
    .concat();
    let error = namespace
        .run(|| answer_to(&batch))?
        .context("failed to speak with nf_tables")?;
    ensure!(
        error == 0,
        "the kernel refused `meta broute set 1`: {}",
        std::io::Error::from_raw_os_error(-error)
    );
    Ok(())
}

/// The attributes of the rule: `iifname MEMBER meta broute set 1`.
fn rule_for(member: &str) -> Vec<u8> {
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(member.bytes()) {
        *to = from;
    }
    let incoming = expression(
        "meta",
        &[
            attribute(1, &REGISTER.to_be_bytes()),
            attribute(2, &INCOMING_NAME.to_be_bytes()),
        ],
    );
    let is_the_member = expression(
        "cmp",
        &[
            attribute(1, &REGISTER.to_be_bytes()),
            attribute(2, &EQUAL.to_be_bytes()),
            attribute(3 | NESTED, &attribute(1, &name)),
        ],
    );
    let immediate = expression(
        "immediate",
        &[
            attribute(1, &REGISTER.to_be_bytes()),
            attribute(2 | NESTED, &attribute(1, &[1])),
        ],
    );
    let meta = expression(
        "meta",
        &[
            attribute(2, &BROUTE.to_be_bytes()),
            attribute(3, &REGISTER.to_be_bytes()),
        ],
    );
    [
        attribute(1, b"brouter\0"),
        attribute(2, b"prerouting\0"),
        attribute(
            4 | NESTED,
            &[incoming, is_the_member, immediate, meta].concat(),
        ),
    ]
    .concat()
}

/// The error number of the kernel's acknowledgement, negative as in the message, or 0.
fn answer_to(batch: &[u8]) -> std::io::Result<i32> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(rustix::net::netlink::NETFILTER),
    )?;
    rustix::net::send(&socket, batch, SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let number = answer[..length].get(HEADER..HEADER + 4);
    let number = number.and_then(|bytes| bytes.try_into().ok());
    let number = number.ok_or_else(|| std::io::Error::other("a short answer"))?;
    Ok(i32::from_ne_bytes(number))
}

fn message(kind: u16, flags: u16, family: u8, subsystem: u16, attributes: &[u8]) -> Vec<u8> {
    let [.., a, b, c, d] = (HEADER + 4 + attributes.len()).to_be_bytes();
    let mut bytes = u32::from_be_bytes([a, b, c, d]).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]); // sequence number, port
    bytes.extend([family, 0]);
    bytes.extend(subsystem.to_be_bytes());
    bytes.extend(attributes);
    bytes
}

fn expression(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
    let name = attribute(1, format!("{name}\0").as_bytes());
    let data = attribute(2 | NESTED, &data.concat());
    attribute(1 | NESTED, &[name, data].concat())
}

/// An attribute, padded to whole words.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let [.., high, low] = (4 + value.len()).to_be_bytes();
    let mut bytes = u16::from_be_bytes([high, low]).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
