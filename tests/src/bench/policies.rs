//! The registries under which the cases are measured.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::Result;
use enforcer::kernel::sandbox::Sandbox;
use enforcer::registry::{MAX_PORTS, MAX_PREFIXES};

use crate::test_run::network::LOCAL_V4;
use crate::test_run::rig::unattached;
use crate::test_run::world::World;

/// The localhost-only service.
pub(super) const LOCAL_PORT: u16 = 9200;
/// The service with peers on wg0.
pub(super) const PEER_PORT: u16 = 9090;
/// A peer, in every policy with peers.
pub(super) const PEER: &str = "10.200.0.1";
/// An address outside all policies.
pub(super) const STRANGER: &str = "10.1.0.1";
/// A port outside all policies.
pub(super) const UNREGISTERED_PORT: u16 = 22;

/// The service at [`LOCAL_V4`] alone.
pub(super) const AT_ADDRESS_PORT: u16 = 9400;
/// A container's address, on the network of podman0.
pub(super) const CONTAINER: &str = "10.88.0.5";
/// An address behind eth0.
pub(super) const FORWARDED: &str = "198.51.100.9";
/// An address to which the host has no route.
pub(super) const NOWHERE: &str = "10.10.0.2";
/// A MAC that the host does not take.
pub(super) const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0x7e, 0x99];

/// A registry by its size, or by what the registry uses beside ports and peers. Without
/// [`Self::Networks`] the host has no container network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// A single port.
    OnePort,
    /// As many ports as a registry may have, each in a service.
    AllPorts,
    /// A service with a peer of a single address.
    OnePrefix,
    /// As many addresses as a registry may have.
    AllPrefixes,
    /// As many prefixes, of eight lengths.
    EightLengths,
    /// A single port, on a host with a container network.
    Networks,
    /// A single port, and `[unregistered]`.
    Unregistered,
    /// A single port, and a service at one address.
    AtAddress,
}

impl Size {
    pub(super) const ALL: [Self; 8] = [
        Self::OnePort,
        Self::AllPorts,
        Self::OnePrefix,
        Self::AllPrefixes,
        Self::EightLengths,
        Self::Networks,
        Self::Unregistered,
        Self::AtAddress,
    ];

    /// The maps with this policy, and no program yet.
    pub(super) fn prepare(self) -> Result<Sandbox> {
        let mut bench = unattached()?;
        let world = World::new(&self.registry()?, &Default::default())?;
        bench.switch_to(&world.tables)?;
        Ok(bench)
    }

    fn registry(self) -> Result<String> {
        let mut text = format!("[services.local]\nports = [{LOCAL_PORT}]\n");
        if self != Self::Networks {
            text += "[interfaces.podman0]\ncontainers = false\n";
        }
        let prefixes = match self {
            Self::OnePort | Self::Networks => return Ok(text),
            Self::Unregistered => return Ok(text + "[unregistered]\ntcp = \"drop\"\n"),
            Self::AtAddress => {
                return Ok(format!(
                    "{text}[services.at]\nports = [{AT_ADDRESS_PORT}]\non = [\"{LOCAL_V4}\"]\n"
                ));
            }
            Self::AllPorts => {
                for port in (10_000_u16..).take(MAX_PORTS - 1) {
                    write!(text, "[services.s-{port}]\nports = [{port}]\n")?;
                }
                return Ok(text);
            }
            Self::OnePrefix => vec![(PEER.parse()?, 32)],
            Self::AllPrefixes => all_of(&[32]),
            Self::EightLengths => all_of(&[25, 26, 27, 28, 29, 30, 31, 32]),
        };
        let prefixes: Vec<String> = prefixes
            .iter()
            .map(|(network, length)| format!("\"{network}/{length}\""))
            .collect();
        write!(
            text,
            "[services.metrics]\nports = [{PEER_PORT}]\nallow = [\"fleet\"]\n\
             [peers.fleet]\ninterface = \"wg0\"\naddresses = [{}]\n",
            prefixes.join(", ")
        )?;
        Ok(text)
    }
}

/// As many prefixes as a registry may have, in equal shares of these lengths. The asking peer is in
/// a prefix of the first length: the shortest, looked up last.
fn all_of(lengths: &[u8]) -> Vec<(Ipv4Addr, u8)> {
    let mut prefixes = Vec::with_capacity(MAX_PREFIXES);
    for (index, &length) in
        (0..).flat_map(|index| lengths.iter().map(move |length| (index, length)))
    {
        if prefixes.len() == MAX_PREFIXES {
            break;
        }
        // Each length has a separate block, so no prefix lies in another.
        let block = if length == lengths[0] {
            200
        } else {
            4 * length
        };
        let base = Ipv4Addr::new(10, block, 0, 0).to_bits();
        let network = base + (index << (32 - length));
        prefixes.push((Ipv4Addr::from_bits(network), length));
    }
    prefixes
}
