//! A19, and the QinQ of A11: tags in front of the packet.

use enforcer_ebpf::Reason;

use crate::lab::frames::{DOT1AD, DOT1Q};
use crate::lab::topology::HOST_LAN;
use crate::lab::{Port, Server, Transport};
use crate::scenario::host_only::SAME_PATH;
use crate::scenarios::attack::Attack;
use crate::scenarios::raw_packet::{Probe, from_lan};

use Reason::{HeaderChain, UntrustedInterface};

const PORT: Port<'static> = Port("tcp", 3000);
const Q: (u16, u16) = (DOT1Q, 0);
const AD: (u16, u16) = (DOT1AD, 0);

pub(super) fn attacks() -> Vec<Attack> {
    let behind = |name, tags: &'static [(u16, u16)]| {
        Attack::new(name, PORT, move |lab| {
            let server = Server::start(
                &lab.host,
                Transport::Tcp,
                &format!("{HOST_LAN}:3000"),
                "grafana",
            )?;
            from_lan(lab, server, move || {
                let probe = Probe::v4(PORT);
                (probe, vec![probe.tagged(tags)])
            })
        })
    };
    let up_to_four = |name, tags| behind(name, tags).held_by_both(UntrustedInterface);
    let more = |name, tags| {
        behind(name, tags)
            .held_by_wire(HeaderChain)
            .held_by_socket(UntrustedInterface)
    };
    vec![
        up_to_four("a19_priority_tags::one_802.1q", &[Q]).host_only(SAME_PATH),
        up_to_four("a19_priority_tags::one_802.1ad", &[AD]).host_only(SAME_PATH),
        up_to_four("a19_priority_tags::two_mixed", &[AD, Q]).host_only(SAME_PATH),
        up_to_four("a19_priority_tags::four_802.1q", &[Q; 4]).host_only(SAME_PATH),
        up_to_four("a19_priority_tags::four_mixed", &[Q, AD, AD, Q])
            .shown_as("3000 behind four stacked priority tags"),
        more("a19_priority_tags::five_802.1q", &[Q; 5]),
        more("a19_priority_tags::five_802.1ad", &[AD; 5]).host_only(SAME_PATH),
        more("a19_priority_tags::sixty", &[Q; 60])
            .host_only(SAME_PATH)
            .up_to_the_kernel("how many tags it takes off (6.1 to 6.18 all, 7.3 fewer)"),
        // Without VLAN devices, no device takes the frame in, or needs a guard.
        behind("a11_qinq::real_ids", &[(DOT1AD, 5), (DOT1Q, 7)])
            .host_only(SAME_PATH)
            .refused_by_the_stack("a frame of a VLAN that has no device is for somebody else"),
        behind(
            "a11_qinq::a_real_id_behind_a_priority_tag",
            &[AD, (DOT1Q, 7)],
        )
        .host_only(SAME_PATH)
        .refused_by_the_stack("a frame of a VLAN that has no device is for somebody else"),
    ]
}
