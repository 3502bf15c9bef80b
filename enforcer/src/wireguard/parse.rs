//! Parsing of generic netlink's replies (linux/genetlink.h, linux/wireguard.h).
//!
//! A reply also holds the device's private key and the peers' preshared keys: the parser neither
//! keeps nor displays attributes beyond public keys and AllowedIPs.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::IpNet;

use super::allowed_ips::AllowedIps;
use crate::{
    netlink::{each_attribute, generic},
    registry::PublicKey,
};

pub(super) const WG_CMD_GET_DEVICE: u8 = 0;
const WGDEVICE_A_IFINDEX: u16 = 1;
const WGDEVICE_A_LISTEN_PORT: u16 = 6;
const WGDEVICE_A_PEERS: u16 = 8;
const WGPEER_A_PUBLIC_KEY: u16 = 1;
const WGPEER_A_ALLOWEDIPS: u16 = 9;
const WGALLOWEDIP_A_FAMILY: u16 = 1;
const WGALLOWEDIP_A_IPADDR: u16 = 2;
const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;
/// linux/socket.h.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Returns the attribute for the device's ifindex in a request.
pub(super) fn ifindex(number: u32) -> [u8; 8] {
    let mut attribute = [0; 8];
    attribute[..2].copy_from_slice(&8u16.to_ne_bytes());
    attribute[2..4].copy_from_slice(&WGDEVICE_A_IFINDEX.to_ne_bytes());
    attribute[4..].copy_from_slice(&number.to_ne_bytes());
    attribute
}

/// Adds the peers of one message about a device.
///
/// A device with many peers takes several messages. A peer with more AllowedIPs than fit recurs in
/// the next message, with the remaining AllowedIPs (`wg_get_device_dump` in
/// drivers/net/wireguard/netlink.c).
///
/// # Errors
/// The message is cut short, or a peer or an AllowedIP lacks an attribute. `known` is incomplete
/// then.
pub(super) fn device(payload: &[u8], known: &mut AllowedIps) -> Result<()> {
    let (command, attributes) = generic::split(payload)?;
    ensure!(
        command == WG_CMD_GET_DEVICE,
        "the kernel's WireGuard answered with its command {command}"
    );
    each_attribute(attributes, |kind, value| match kind {
        WGDEVICE_A_PEERS => each_attribute(value, |_, value| peer(value, known)),
        _ => Ok(()),
    })
    .context("the kernel's answer about a WireGuard device cannot be read")
}

/// Returns the port in one message about a device.
///
/// # Errors
/// The message is cut short.
pub(super) fn listen_port(payload: &[u8]) -> Result<Option<u16>> {
    let mut port = None;
    each_attribute(generic::split(payload)?.1, |kind, value| {
        if kind == WGDEVICE_A_LISTEN_PORT {
            port = short(value);
        }
        Ok(())
    })?;
    Ok(port)
}

fn peer(attributes: &[u8], known: &mut AllowedIps) -> Result<()> {
    let (mut key, mut allowed) = (None, Vec::new());
    each_attribute(attributes, |kind, value| {
        match kind {
            WGPEER_A_PUBLIC_KEY => key = <[u8; 32]>::try_from(value).ok(),
            WGPEER_A_ALLOWEDIPS => each_attribute(value, |_, value| {
                allowed.push(allowed_ip(value)?);
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    let key = PublicKey::from(key.context("a peer has no public key")?);
    known.insert(key);
    allowed
        .into_iter()
        .try_for_each(|prefix| known.allow(key, prefix))
}

fn allowed_ip(attributes: &[u8]) -> Result<IpNet> {
    let (mut family, mut address, mut length) = (None, None, None);
    each_attribute(attributes, |kind, value| {
        match kind {
            WGALLOWEDIP_A_FAMILY => family = short(value),
            WGALLOWEDIP_A_IPADDR => address = Some(value),
            WGALLOWEDIP_A_CIDR_MASK => length = value.first().copied(),
            _ => {}
        }
        Ok(())
    })?;
    let (Some(family), Some(address), Some(length)) = (family, address, length) else {
        bail!("an AllowedIP lacks its family, its address or its length");
    };
    let address = match family {
        AF_INET => <[u8; 4]>::try_from(address).ok().map(IpAddr::from),
        AF_INET6 => <[u8; 16]>::try_from(address).ok().map(IpAddr::from),
        _ => None,
    };
    let address = address.context("an AllowedIP is neither IPv4 nor IPv6")?;
    IpNet::new(address, length)
        .with_context(|| format!("{address}/{length} is an AllowedIP of an impossible length"))
}

fn short(value: &[u8]) -> Option<u16> {
    value.first_chunk().copied().map(u16::from_ne_bytes)
}
