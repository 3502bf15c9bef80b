//! Longest-match prefixes: the peers at each address of an interface.

use enforcer_ebpf::PeerSet;
use ipnet::IpNet;

/// The distinct AllowedIPs of a WireGuard device, each with the peers known by the prefix's key.
/// The set is empty for a key of no peer: the prefix is a hole in a wider prefix.
pub(super) type KeyPrefixes = Vec<(IpNet, PeerSet)>;

/// A source's peers for a prefix.
enum Claim {
    /// The registry lists the prefix in the `addresses` of the peer with this number.
    Address(u16),
    /// The prefix is an AllowedIP of the device at this index, with the peers known by the key.
    Key(usize, PeerSet),
}

/// A prefix, and the peers at the addresses with this prefix as longest match.
struct Node {
    prefix: IpNet,
    /// The index of the narrowest node that contains this prefix.
    parent: Option<usize>,
    /// The peers by address, with all peers of wider prefixes.
    by_address: PeerSet,
    /// The peers by key of each device: a longer AllowedIP replaces the peers of a shorter.
    by_key: Vec<PeerSet>,
}

impl Node {
    fn peers(&self) -> PeerSet {
        self.by_key
            .iter()
            .fold(self.by_address, |all, keys| all.union(keys))
    }
}

/// Returns the peers at the longest match, for each prefix whose peers differ from the peers of
/// the next wider prefix.
///
/// Several devices are given where a guard cannot tell their packets apart; the result is the
/// union of the devices' peers.
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
    // By network and then by length: a wider prefix comes before the prefixes inside.
    claims.sort_by_key(|(prefix, _)| (prefix.network(), prefix.prefix_len()));
    let mut nodes: Vec<Node> = Vec::with_capacity(claims.len());
    // The nodes that contain the last prefix, the narrowest last.
    let mut enclosing: Vec<usize> = Vec::new();
    for (prefix, claim) in claims {
        if nodes.last().is_none_or(|last| last.prefix != prefix) {
            while enclosing
                .last()
                .is_some_and(|&i| !nodes[i].prefix.contains(&prefix))
            {
                enclosing.pop();
            }
            let parent = enclosing.last().copied();
            let inherited = parent.map(|i| (nodes[i].by_address, nodes[i].by_key.clone()));
            let (by_address, by_key) =
                inherited.unwrap_or_else(|| (PeerSet::EMPTY, vec![PeerSet::EMPTY; devices.len()]));
            enclosing.push(nodes.len());
            nodes.push(Node {
                prefix,
                parent,
                by_address,
                by_key,
            });
        }
        if let Some(last) = nodes.last_mut() {
            match claim {
                Claim::Address(peer) => last.by_address.insert(peer),
                Claim::Key(device, peers) => last.by_key[device] = peers,
            }
        }
    }
    let parents_peers = |node: &Node| node.parent.map_or(PeerSet::EMPTY, |i| nodes[i].peers());
    nodes
        .iter()
        .filter(|node| node.peers() != parents_peers(node))
        .map(|node| (node.prefix, node.peers()))
        .collect()
}
