//! Which peers are at which addresses of an interface.

use enforcer_ebpf::PeerSet;
use ipnet::IpNet;

/// The AllowedIPs of one WireGuard device, each with the peers that are known by its key: none for
/// a key that the registry does not name, which makes the prefix a hole in a wider one. Each prefix
/// stands there once.
pub(super) type KeyPrefixes = Vec<(IpNet, PeerSet)>;

/// A prefix as it is said to be somebody's.
enum Claim {
    /// A peer by address.
    Address(u16),
    /// Those of a key of the device of this number.
    Key(usize, PeerSet),
}

/// A prefix, and what holds at the addresses whose longest match it is.
struct Found {
    prefix: IpNet,
    /// The narrowest of those found that holds it.
    around: Option<usize>,
    /// A peer by address is at every address of its prefixes: those of the wider ones are here too.
    by_address: PeerSet,
    /// By device: of keys, those of the longest match alone.
    by_key: Vec<PeerSet>,
}

impl Found {
    fn peers(&self) -> PeerSet {
        self.by_key
            .iter()
            .fold(self.by_address, |all, keys| all.union(keys))
    }
}

/// The peers at the longest match, for each prefix that changes what the one around it says.
///
/// Several devices where the packets of one cannot be told from those of another: what any of them
/// says holds then.
pub(super) fn longest_matches(
    addresses: &[(IpNet, u16)],
    devices: &[&KeyPrefixes],
) -> Vec<(IpNet, PeerSet)> {
    let by_address = addresses
        .iter()
        .map(|(prefix, peer)| (*prefix, Claim::Address(*peer)));
    let by_key = devices.iter().enumerate().flat_map(|(device, prefixes)| {
        prefixes
            .iter()
            .map(move |(prefix, peers)| (*prefix, Claim::Key(device, *peers)))
    });
    let mut claims: Vec<(IpNet, Claim)> = by_address.chain(by_key).collect();
    // By network and then by length: each prefix comes after all that contain it.
    claims.sort_by_key(|(prefix, _)| (prefix.network(), prefix.prefix_len()));
    let mut found: Vec<Found> = Vec::with_capacity(claims.len());
    // Those that hold the last one found, the narrowest last.
    let mut around: Vec<usize> = Vec::new();
    for (prefix, claim) in claims {
        if found.last().is_none_or(|last| last.prefix != prefix) {
            while around
                .last()
                .is_some_and(|&i| !found[i].prefix.contains(&prefix))
            {
                around.pop();
            }
            let wider = around.last().copied();
            let inherited = wider.map(|i| (found[i].by_address, found[i].by_key.clone()));
            let (by_address, by_key) =
                inherited.unwrap_or_else(|| (PeerSet::EMPTY, vec![PeerSet::EMPTY; devices.len()]));
            around.push(found.len());
            found.push(Found {
                prefix,
                around: wider,
                by_address,
                by_key,
            });
        }
        if let Some(last) = found.last_mut() {
            match claim {
                Claim::Address(peer) => last.by_address.insert(peer),
                Claim::Key(device, peers) => last.by_key[device] = peers,
            }
        }
    }
    found
        .iter()
        .map(|it| (it, it.around.map_or(PeerSet::EMPTY, |i| found[i].peers())))
        .filter(|(it, around)| it.peers() != *around)
        .map(|(it, _)| (it.prefix, it.peers()))
        .collect()
}
