//! Why one guard stands alone, in words.

const CONTAINER: &str = "the packet goes on to a container, past every socket of the host";
const LOCAL: &str = "the socket guard takes packets that the host puts on lo for local";

/// The end of the names of attacks on a port that DNAT takes to a container.
const TO_A_CONTAINER: &str = "to_a_container";

/// Why one guard stands alone, by the beginning of the attacks' names; the longest counts. A name
/// that ends in [`TO_A_CONTAINER`] needs no entry.
pub(super) const WHY: [(&str, &str); 24] = [
    ("a02_", CONTAINER),
    ("a03_", CONTAINER),
    ("a07_", CONTAINER),
    (
        "a10_an_interface_that_appears_later",
        "`up` has ended: `run` guards a new interface on the event",
    ),
    (
        "a14_peers::a_container_at_the_hosts_socket",
        "a container bridge is inside and has no wire guard",
    ),
    (
        "a15_raw_socket",
        "a raw socket has a protocol and no port for the socket guard to judge",
    ),
    ("a18_", CONTAINER),
    (
        "a18_behind_another_interface::to_a_socket",
        "without `forward = false` the wire guard passes what the host would forward",
    ),
    ("a20_", CONTAINER),
    ("a23_", CONTAINER),
    ("a27_", CONTAINER),
    ("a28_an_unregistered_port::dnat", CONTAINER),
    ("a29_a_containers_own_address", CONTAINER),
    (
        "a29_the_bridges_own_address",
        "the port has no entry: only the address is a container network's",
    ),
    ("a30_", CONTAINER),
    ("a32_", CONTAINER),
    (
        "a34_",
        "at the socket the parts are one datagram, from one interface",
    ),
    (
        "a35_",
        "XDP sees no type of a packet: the wire guard needs tcx to tell a relayed copy",
    ),
    (
        "a37_",
        "the wire guard passes another VLAN's frame, and a program takes the tag off behind",
    ),
    ("a38_", LOCAL),
    (
        "a38_what_the_host_moves_to_a_peers_interface",
        "at the socket the packet comes from the peer's interface",
    ),
    (
        "a38_what_the_host_puts_on_lo::synproxy",
        "the host opens the connection to the service over lo, as a local client",
    ),
    ("a39_", CONTAINER),
    (
        "a16_",
        "an interface has room for one XDP program: beside it the wire guard needs tcx",
    ),
];

/// Why one guard stands alone against an attack, by the name.
pub(super) fn why_of(name: &str) -> Option<&'static str> {
    let known = WHY.iter().filter(|(start, _)| name.starts_with(start));
    let longest = known.max_by_key(|(start, _)| start.len());
    let by_the_end = || name.ends_with(TO_A_CONTAINER).then_some(CONTAINER);
    longest.map(|(_, why)| *why).or_else(by_the_end)
}
