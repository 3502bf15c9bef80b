//! A rule that makes a bridge route a frame instead of forwarding the frame.
//!
//! `nft` knows the words `meta broute set 1` from 1.0.8 on, so the rule goes to the kernel as
//! netlink here. Numbers: include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h.

use anyhow::{Context, Result};

use super::netlink::{ACKNOWLEDGED, REQUEST, answer_to, attribute, name, nested, socket};
use super::netns::Netns;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// The subsystem of nf_tables, and the message for a new rule.
const NFTABLES: u16 = 10;
const NEW_RULE: u16 = NFTABLES << 8 | 6;
const BRIDGE_FAMILY: u8 = 7;
const CREATE_AT_THE_END: u16 = 0xc00;
/// `NFT_META_IIFNAME`, and `NFT_CMP_EQ`.
const INCOMING_NAME: u32 = 6;
const EQUAL: u32 = 0;
/// `NFT_META_BRI_BROUTE`.
const BROUTE: u32 = 35;
const REGISTER: u32 = 1;

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
    namespace
        .run(|| answer_to(socket(rustix::net::netlink::NETFILTER)?, &batch))?
        .map(drop)
        .context("the kernel refused `meta broute set 1`")
}

/// The attributes of the rule: `iifname MEMBER meta broute set 1`.
fn rule_for(member: &str) -> Vec<u8> {
    let mut padded = [0; libc::IFNAMSIZ];
    for (to, from) in padded.iter_mut().zip(member.bytes()) {
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
            nested(3, &[attribute(1, &padded)]),
        ],
    );
    let immediate = expression(
        "immediate",
        &[
            attribute(1, &REGISTER.to_be_bytes()),
            nested(2, &[attribute(1, &[1])]),
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
        name(1, "brouter"),
        name(2, "prerouting"),
        nested(4, &[incoming, is_the_member, immediate, meta]),
    ]
    .concat()
}

fn message(kind: u16, flags: u16, family: u8, subsystem: u16, attributes: &[u8]) -> Vec<u8> {
    let [high, low] = subsystem.to_be_bytes();
    let body = [&[family, 0, high, low], attributes].concat();
    super::netlink::message(kind, flags, &body)
}

fn expression(kind: &str, data: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[name(1, kind), nested(2, data)])
}
