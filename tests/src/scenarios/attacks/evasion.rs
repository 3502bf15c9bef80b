//! A11: the same segment, disguised by options, fragments and extension headers.

use enforcer_ebpf::Reason;

use crate::lab::frames::number::{DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING};
use crate::lab::frames::{V4, chain, v6, v6_fragment};
use crate::lab::topology::{GHOST, GHOST6, HOST_LAN, HOST_LAN6};
use crate::lab::{Port, Server, Transport};
use crate::scenario::host_only::{SAME_PATH, TUNNELLED};
use crate::scenarios::attack::Attack;
use crate::scenarios::raw_packet::{Probe, from_lan};

use Reason::{HeaderChain, UntrustedInterface};

const TCP: Port<'static> = Port("tcp", 8087);
const UDP: Port<'static> = Port("udp", 8125);
/// A port that the registry does not know, for packets that pretend to be harmless.
const HARMLESS: u16 = 8888;

/// Record route: 39 bytes, the pointer at the first free slot (RFC 791).
const RECORD_ROUTE: [u8; 40] = {
    let mut option = [0; 40];
    option[0] = 7;
    option[1] = 39;
    option[2] = 4;
    option
};

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = options();
    attacks.extend(fragments());
    attacks.extend(overlaps());
    attacks.extend(chains());
    attacks.extend(v6_fragments());
    attacks
}

/// A listener on the host's LAN addresses, and frames to its port.
fn raw(
    name: &'static str,
    port: Port<'static>,
    craft: impl Fn() -> (Probe, Vec<Vec<u8>>) + Send + Sync + Clone + 'static,
) -> Attack {
    Attack::new(name, port, move |lab| {
        let transport = if port.0 == "udp" {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        let listen = |address: &str| Server::start(&lab.host, transport, address, "service");
        let servers = (
            listen(&format!("{HOST_LAN}:{}", port.1))?,
            listen(&format!("[{HOST_LAN6}]:{}", port.1))?,
        );
        from_lan(lab, servers, craft.clone())
    })
}

fn options() -> Vec<Attack> {
    let with = |name, options: &'static [u8]| {
        raw(name, TCP, move || {
            let probe = Probe::v4(TCP);
            let packet = V4::new(GHOST, HOST_LAN)
                .options(options)
                .packet(probe.protocol, &probe.segment());
            (probe, vec![probe.framed(&packet)])
        })
        .held_by_both(UntrustedInterface)
    };
    vec![
        with("a11_ipv4_options::one_word_of_no_operation", &[1; 4]).host_only(SAME_PATH),
        with("a11_ipv4_options::forty_bytes_of_no_operation", &[1; 40])
            .shown_as("8087 behind 40 bytes of IPv4 options"),
        with("a11_ipv4_options::record_route", &RECORD_ROUTE).host_only(SAME_PATH),
        with("a11_ipv4_options::router_alert", &[148, 4, 0, 0]).host_only(SAME_PATH),
    ]
}

fn fragments() -> Vec<Attack> {
    let cut = |name, port: Port<'static>, size, backwards: bool| {
        raw(name, port, move || {
            let probe = Probe::v4(port);
            let mut parts = V4::new(GHOST, HOST_LAN)
                .identification(probe.source)
                .fragments(probe.protocol, &probe.segment(), size);
            if backwards {
                parts.reverse();
            }
            (probe, parts.iter().map(|part| probe.framed(part)).collect())
        })
        .held_by_both(UntrustedInterface)
    };
    vec![
        cut("a11_ipv4_fragments::udp", UDP, 16, false).host_only(TUNNELLED),
        cut("a11_ipv4_fragments::backwards", UDP, 8, true).host_only(SAME_PATH),
        // RFC 1858: the ports in the first fragment, the flags in the next.
        cut("a11_ipv4_fragments::tiny", Port("tcp", 8200), 8, false)
            .shown_as("tiny fragments: the SYN flag in the second"),
    ]
}

/// Fragments with different contents for the same bytes (RFC 3128, RFC 5722).
fn overlaps() -> Vec<Attack> {
    let ipv4 = raw("a11_overlapping_fragments::ipv4", UDP, || {
        let probe = Probe::v4(UDP);
        let header = V4::new(GHOST, HOST_LAN).identification(probe.source);
        let (harmless, real) = (probe.at(HARMLESS).segment(), probe.segment());
        let parts = [
            header.fragment(probe.protocol, &harmless[..8], 0, true),
            header.fragment(probe.protocol, &real[..16], 0, true),
            header.fragment(probe.protocol, &real[16..], 16, false),
        ];
        (probe, parts.iter().map(|part| probe.framed(part)).collect())
    })
    .host_only(SAME_PATH)
    .refused_by_the_stack("a queue with overlapping fragments is discarded whole")
    .held_by_wire(UntrustedInterface);
    let ipv6 = raw("a11_overlapping_fragments::ipv6", UDP, || {
        let probe = Probe::v6(UDP);
        let (harmless, real) = (probe.at(HARMLESS).segment(), probe.segment());
        let parts = [
            v6_fragment(probe.protocol, &harmless[..8], 0, true, probe.source.into()),
            v6_fragment(probe.protocol, &real[..16], 0, true, probe.source.into()),
            v6_fragment(probe.protocol, &real[16..], 16, false, probe.source.into()),
        ];
        let framed = |part: &Vec<u8>| probe.framed(&v6(GHOST6, HOST_LAN6, FRAGMENT, part));
        (probe, parts.iter().map(framed).collect())
    })
    .refused_by_the_stack("a queue with overlapping fragments is discarded whole")
    .held_by_wire(UntrustedInterface);
    vec![ipv4, ipv6]
}

fn chains() -> Vec<Attack> {
    let behind = |name, port: Port<'static>, headers: &'static [u8], on_the_wire| {
        raw(name, port, move || {
            let probe = Probe::v6(port);
            let (first, bytes) = chain(headers, probe.protocol, &probe.segment());
            let packet = v6(GHOST6, HOST_LAN6, first, &bytes);
            (probe, vec![probe.framed(&packet)])
        })
        .held_by_wire(on_the_wire)
        .held_by_socket(UntrustedInterface)
    };
    vec![
        behind(
            "a11_ipv6_chains::hop_by_hop",
            TCP,
            &[HOP_BY_HOP],
            UntrustedInterface,
        )
        .host_only(SAME_PATH),
        behind(
            "a11_ipv6_chains::all_kinds",
            TCP,
            &[HOP_BY_HOP, DESTINATION, ROUTING, DESTINATION],
            UntrustedInterface,
        )
        .host_only(SAME_PATH),
        behind(
            "a11_ipv6_chains::udp",
            UDP,
            &[DESTINATION; 3],
            UntrustedInterface,
        )
        .host_only(SAME_PATH),
        behind(
            "a11_ipv6_chains::eight",
            TCP,
            &[DESTINATION; 8],
            UntrustedInterface,
        ),
        behind("a11_ipv6_chains::nine", TCP, &[DESTINATION; 9], HeaderChain),
        behind(
            "a11_ipv6_chains::sixty",
            TCP,
            &[DESTINATION; 60],
            HeaderChain,
        )
        .host_only(SAME_PATH)
        .up_to_the_kernel("how many extension headers it follows (6.1 to 6.18 all, 7.3 fewer)"),
    ]
}

fn v6_fragments() -> Vec<Attack> {
    // A datagram behind headers of which the last travel inside the fragments.
    let cut = |name, port: Port<'static>, inside: &'static [u8], size: usize| {
        raw(name, port, move || {
            let probe = Probe::v6(port);
            let (first, bytes) = chain(inside, probe.protocol, &probe.segment());
            let last = (bytes.len() - 1) / size;
            let frames = bytes.chunks(size).enumerate().map(|(index, part)| {
                let id = probe.source.into();
                let part = v6_fragment(first, part, index * size, index < last, id);
                probe.framed(&v6(GHOST6, HOST_LAN6, FRAGMENT, &part))
            });
            (probe, frames.collect())
        })
    };
    vec![
        cut("a11_ipv6_fragments::atomic", TCP, &[], 1024)
            .host_only(SAME_PATH)
            .held_by_both(UntrustedInterface),
        cut("a11_ipv6_fragments::udp", UDP, &[], 8)
            .host_only(TUNNELLED)
            .held_by_both(UntrustedInterface),
        cut(
            "a11_ipv6_fragments::behind_headers",
            UDP,
            &[DESTINATION],
            16,
        )
        .host_only(SAME_PATH)
        .held_by_both(UntrustedInterface),
        fragments_behind_hop_by_hop(),
        cut("a11_ipv6_fragments::tiny_tcp", TCP, &[], 8)
            .host_only(SAME_PATH)
            .refused_by_the_stack("a first fragment must hold the whole TCP header (RFC 8200)")
            .held_by_wire(UntrustedInterface),
        ports_in_the_second_fragment(),
    ]
}

fn fragments_behind_hop_by_hop() -> Attack {
    raw("a11_ipv6_fragments::behind_hop_by_hop", UDP, || {
        let probe = Probe::v6(UDP);
        let segment = probe.segment();
        let frames =
            [(0, true, &segment[..16]), (16, false, &segment[16..])].map(|(offset, more, part)| {
                let id = probe.source.into();
                let fragment = v6_fragment(probe.protocol, part, offset, more, id);
                let (first, bytes) = chain(&[HOP_BY_HOP], FRAGMENT, &fragment);
                probe.framed(&v6(GHOST6, HOST_LAN6, first, &bytes))
            });
        (probe, frames.to_vec())
    })
    .host_only(SAME_PATH)
    .held_by_both(UntrustedInterface)
}

/// A first fragment that ends before the ports.
fn ports_in_the_second_fragment() -> Attack {
    raw("a11_ipv6_fragments::ports_in_the_second", UDP, || {
        let probe = Probe::v6(UDP);
        let (first, bytes) = chain(&[DESTINATION], probe.protocol, &probe.segment());
        let frames =
            [(0, true, &bytes[..8]), (8, false, &bytes[8..])].map(|(offset, more, part)| {
                let part = v6_fragment(first, part, offset, more, probe.source.into());
                probe.framed(&v6(GHOST6, HOST_LAN6, FRAGMENT, &part))
            });
        (probe, frames.to_vec())
    })
    .refused_by_the_stack("a first fragment must hold the whole chain (RFC 8200)")
    .held_by_wire(HeaderChain)
}
