//! Policies compiled from registries, and decisions over them.

mod addresses;
mod keys;
mod prefixes;
mod tables;
mod views;

use std::{io::Write as _, net::IpAddr};

use enforcer_ebpf::{Guard, Protocol};

use super::{PacketSpec, PolicyInterface, PolicyTables};
use crate::{
    registry::{self, PublicKey, Registry, Source},
    wireguard::AllowedIps,
};

fn key(byte: u8) -> PublicKey {
    PublicKey::from([byte; 32])
}

pub(super) fn registry(text: &str) -> Registry {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    registry::load(
        &Source::Named(file.path().to_owned()),
        &registry::Reader::NAMED,
    )
    .unwrap_or_else(|rejected| panic!("rejected:\n{rejected}"))
    .registry
}

/// Returns an interface with AllowedIPs given as the byte that fills the key, and the prefix.
fn attachment(ifindex: u32, name: &str, allowed: Option<&[(u8, &str)]>) -> PolicyInterface {
    let allowed_ips = allowed.map(|list| {
        let mut allowed = AllowedIps::default();
        for (byte, prefix) in list {
            allowed.allow(key(*byte), prefix.parse().unwrap()).unwrap();
        }
        allowed
    });
    PolicyInterface {
        ifindex,
        name: name.to_owned(),
        allowed_ips,
        ..PolicyInterface::default()
    }
}

/// Returns the services that a source on an interface may reach.
fn grants(tables: &PolicyTables, ifindex: u32, source: &str) -> Vec<String> {
    let spec = |port| PacketSpec {
        guard: Guard::Socket,
        ifindex,
        loopback: false,
        source: source.parse::<IpAddr>().unwrap().into(),
        destination: None,
        protocol: Protocol::Tcp,
        port,
        route: enforcer_ebpf::Route::Here,
        opens: true,
    };
    let services = tables.ports.keys();
    services
        .filter(|(_, port)| !tables.judge(&spec(*port)).drops())
        .filter_map(|(protocol, port)| tables.service_of(*protocol, *port))
        .map(str::to_owned)
        .collect()
}
