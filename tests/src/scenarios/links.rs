//! Devices on devices: the hook of each on this kernel, and a peer on a VLAN.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use enforcer_ebpf::{Guard, Reason};

use crate::lab::enforcer::REGISTRY;
use crate::lab::frames::Ends;
use crate::lab::kernel::software_hook;
use crate::lab::wire::Wire;
use crate::lab::{Ask, Feature, Guards, Lab, Outcome, Patience, Port, Server, Transport};

use super::raw_packet::{Probe, send_probe};
use super::runner::{answered, expect_no_drops, unanswered};
use crate::scenario::{Rig, Scenario};

/// The host's address on the VLAN, and the neighbour's.
const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 85, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 168, 85, 2);
const SENSOR: Port<'static> = Port("udp", 8125);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("links::each_has_the_hook_of_this_kernel", hooks).needs_all([
            Feature::Vlan,
            Feature::Bond,
            Feature::Macvlan,
            Feature::Vrf,
        ]),
        Scenario::new("links::a_peer_on_a_vlan_device", vlan_peer).needs(Feature::Vlan),
    ]
}

/// Software devices and VLAN parents get tcx, or XDP in the stack where there is no tcx.
fn hooks(rig: &Rig<'_>) -> Result<()> {
    rig.lab
        .host
        .ip("link add link eth0 name eth0.5 type vlan id 5
         link set eth0.5 up
         link add link eth0 name child0 type macvlan mode bridge
         link set child0 up
         link add nic1 type veth peer name nic2
         link add bond0 type bond mode active-backup
         link set nic1 master bond0
         link set nic1 up
         link set bond0 up
         link add nic3 type veth peer name nic4
         link add vrf0 type vrf table 77
         link set nic3 master vrf0
         link set nic3 up
         link set vrf0 up")?;
    rig.enforcer.up_uncovered(Guards::Both, "vrf0")?;
    let (_, status) = rig.enforcer.status()?;
    let expected = software_hook();
    for device in ["eth0", "eth0.5", "child0", "nic1", "bond0", "nic3"] {
        let guard = status
            .guards
            .iter()
            .find(|guard| guard.interface.as_deref() == Some(device));
        ensure!(
            guard.is_some_and(|guard| guard.hook == expected),
            "expected {expected} on {device}, but saw {status:?}"
        );
    }
    Ok(())
}

/// The parent must let pass the packets that the VLAN device allows, and no others may profit.
fn vlan_peer(rig: &Rig<'_>) -> Result<()> {
    on_a_vlan(rig.lab)?;
    let statsd = "[services.statsd]\nports = [8125]\nprotocol = \"udp\"\n";
    let allowed = format!("{statsd}allow = [\"sensor\"]\n");
    let registry = format!(
        "{}[peers.sensor]\ninterface = \"eth0.5\"\naddresses = [\"{NEIGHBOUR}/32\"]\n",
        REGISTRY.replace(statsd, &allowed)
    );
    rig.enforcer.registry(&registry)?;
    let server = Server::start(&rig.lab.host, Transport::Udp, "0.0.0.0:8125", "statsd")?;
    let sensor =
        || Ask::new(Transport::Udp, &format!("{HOST}:8125")).ask(&rig.lab.lan, Patience::Long);
    // The same source without the tag; the answer goes to the VLAN, so the service's tally tells.
    let (out, answers) = (
        Wire::open(&rig.lab.lan, "eth0")?,
        Wire::open(&rig.lab.lan, "eth0.5")?,
    );
    let untagged = |patience| -> Result<Outcome> {
        send_probe(&out, &answers, patience, &|| {
            let probe = Probe::between(Ends::V4(NEIGHBOUR, HOST), SENSOR);
            (probe, vec![probe.frame()])
        })
    };
    answered(sensor()?).context("the sensor, unguarded")?;
    answered(untagged(Patience::Long)?).context("the forger, unguarded")?;

    for guards in [Guards::Wire, Guards::Socket, Guards::Both] {
        rig.enforcer.up(guards)?;
        answered(sensor()?).with_context(|| format!("the sensor, with {guards:?}"))?;
        expect_no_drops(rig)?;
        let sees_tags = Feature::Tcx.is_here();
        // XDP sees no tag that the driver took off: there the parent passes the packets of the VLAN
        // device, and the forger meets the socket guard.
        if guards != Guards::Wire || sees_tags {
            let before = server.received();
            unanswered(untagged(Patience::Brief)?)
                .with_context(|| format!("the forger, with {guards:?}"))?;
            ensure!(server.received() == before, "the forger was heard");
            let guard = if guards.include(Guard::Wire) && sees_tags {
                Guard::Wire
            } else {
                Guard::Socket
            };
            rig.enforcer
                .expect_counted(guard, Reason::UntrustedInterface, SENSOR, 1)?;
        }
        rig.enforcer.down()?;
    }
    Ok(())
}

fn on_a_vlan(lab: &Lab) -> Result<()> {
    for (namespace, address) in [(&lab.host, HOST), (&lab.lan, NEIGHBOUR)] {
        namespace.ip(&format!(
            "link add link eth0 name eth0.5 type vlan id 5
             addr add {address}/24 dev eth0.5
             link set eth0.5 up"
        ))?;
    }
    Ok(())
}
