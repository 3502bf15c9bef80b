//! A datapath of Open vSwitch, as ovs-vswitchd sets up the kernel for a bridge with static
//! addresses.
//!
//! Numbers and layouts: include/uapi/linux/openvswitch.h. The datapath goes with its namespace.

use anyhow::Result;

use super::frames::Mac;
use super::netlink::{Family, attribute, name, nested};
use super::netns::Netns;

/// The device of the datapath itself, under ovs-vswitchd's name: without an address, and down.
const SYSTEM: &str = "ovs-system";
/// `OVS_DP_CMD_NEW`, `OVS_VPORT_CMD_NEW` and `OVS_FLOW_CMD_NEW`.
const NEW: u8 = 1;
/// `OVS_VPORT_TYPE_NETDEV`, and `OVS_VPORT_TYPE_INTERNAL`.
const DEVICE: u32 = 1;
const INTERNAL: u32 = 2;
/// The bit of an Ethernet address for many, and the mask of a whole address.
const MANY: Mac = [1, 0, 0, 0, 0, 0];
const WHOLE: Mac = [0xff; 6];
/// No program hears of packets without a flow.
const NOBODY: [u8; 4] = [0; 4];

/// A datapath; its ports have the numbers from 1 on.
#[derive(Debug)]
pub struct Datapath {
    ports: Family,
    flows: Family,
    /// struct ovs_header: the index of the datapath's device.
    header: [u8; 4],
}

impl Datapath {
    /// Makes a datapath without ports.
    pub fn new(namespace: &Netns) -> Result<Self> {
        let datapaths = Family::open(namespace, "ovs_datapath", 2)?;
        datapaths.call(NEW, &[0; 4], &[name(1, SYSTEM), attribute(2, &NOBODY)])?;
        Ok(Self {
            ports: Family::open(namespace, "ovs_vport", 1)?,
            flows: Family::open(namespace, "ovs_flow", 1)?,
            header: namespace.ifindex(SYSTEM)?.to_ne_bytes(),
        })
    }

    /// Makes a device of the host as port 1, takes two interfaces as the ports 2 and 3, and forwards
    /// by the addresses behind each port.
    pub fn connect(&self, own: (&str, Mac), others: [(&str, Mac); 2]) -> Result<()> {
        let [first, second] = others;
        let ports = [(1, INTERNAL, own), (2, DEVICE, first), (3, DEVICE, second)];
        for (number, kind, (interface, _)) in ports {
            self.port(number, kind, interface)?;
        }
        for (from, ..) in ports {
            let others = ports.into_iter().filter(|(to, ..)| *to != from);
            let mut all = Vec::new();
            for (to, _, (_, mac)) in others {
                self.flow(from, mac, WHOLE, &[to])?;
                all.push(to);
            }
            self.flow(from, MANY, MANY, &all)?;
        }
        Ok(())
    }

    fn port(&self, number: u32, kind: u32, interface: &str) -> Result<()> {
        let attributes = [
            attribute(1, &number.to_ne_bytes()),
            attribute(2, &kind.to_ne_bytes()),
            name(3, interface),
            attribute(5, &NOBODY),
        ];
        self.ports.call(NEW, &self.header, &attributes)
    }

    /// Frames from a port to addresses that match under the mask go out of the ports `to`.
    fn flow(&self, from: u32, mac: Mac, mask: Mac, to: &[u32]) -> Result<()> {
        let matching = |port: u32, mac: Mac| {
            let source = [0; 6];
            [
                attribute(3, &port.to_ne_bytes()),
                attribute(4, &[source, mac].concat()),
            ]
        };
        let output = to.iter().map(|port| attribute(1, &port.to_ne_bytes()));
        let attributes = [
            nested(1, &matching(from, mac)),
            nested(2, &output.collect::<Vec<_>>()),
            nested(7, &matching(u32::MAX, mask)),
        ];
        self.flows.call(NEW, &self.header, &attributes)
    }
}
