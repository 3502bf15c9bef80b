//! A16: foreign programs on the same hooks, which let everything pass.

use anyhow::Result;
use enforcer_ebpf::Reason;

use crate::lab::bpf::{CGROUP_ALLOW, Foreign, Hook, TCX_PASS, XDP_PASS};
use crate::lab::redis::{Redis, ping};
use crate::lab::topology::HOST_LAN;
use crate::lab::{Feature, Lab, Port};
use crate::scenario::host_only::SAME_PATH;
use crate::scenarios::attack::{Attack, Attempt};

use Reason::UntrustedInterface;

pub(super) fn attacks() -> Vec<Attack> {
    let beside = |name, hook, number| {
        Attack::new(name, Port("tcp", 6379), move |lab| {
            let foreign = Foreign::on_interface(&lab.host, "eth0", hook, number)?;
            redis_beside(lab, Redis::start(lab)?, foreign)
        })
        .held_by_both(UntrustedInterface)
    };
    // An interface has room for a single XDP program; beside XDP there is only tcx.
    vec![
        beside(
            "a16_in_company::native_xdp_that_passes",
            Hook::XdpNative,
            XDP_PASS,
        )
        .host_only(SAME_PATH)
        .wire_needs(Feature::Tcx),
        beside(
            "a16_in_company::generic_xdp_that_passes",
            Hook::XdpGeneric,
            XDP_PASS,
        )
        .wire_needs(Feature::Tcx),
        beside("a16_in_company::tcx_that_accepts", Hook::Tcx, TCX_PASS).needs(Feature::Tcx),
        Attack::new(
            "a16_in_company::a_cgroup_that_allows",
            Port("tcp", 6379),
            |lab| {
                let cgroup = lab.cgroup()?;
                let redis = Redis::start_in(lab, Some(cgroup.path()))?;
                let foreign = Foreign::on_cgroup(cgroup.path(), CGROUP_ALLOW)?;
                // Dropped in this order: a cgroup must be empty to be removed.
                redis_beside(lab, redis, (foreign, cgroup))
            },
        )
        .held_by_both(UntrustedInterface),
    ]
}

fn redis_beside<'lab>(
    lab: &'lab Lab,
    redis: Redis,
    foreign: impl Send + 'lab,
) -> Result<Attempt<'lab>> {
    let kept = (redis, foreign);
    Ok(Box::new(move |patience| {
        let _kept = &kept;
        ping(&lab.lan, &format!("{HOST_LAN}:6379"), patience)
    }))
}
