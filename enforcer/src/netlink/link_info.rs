//! IFLA_LINKINFO: the kind of an interface, and the options of each kind.

use anyhow::Result;

use super::{
    framing::{each_attribute, number, text},
    link::{Interface, MacvlanMode},
};

/// Within IFLA_LINKINFO (linux/if_link.h).
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;

/// Within IFLA_INFO_DATA, by kind (linux/if_link.h); `struct ifla_vlan_flags` has flags and mask.
const IFLA_VLAN_FLAGS: u16 = 2;
const IFLA_BR_NF_CALL_IPTABLES: u16 = 36;
const IFLA_BR_NF_CALL_IP6TABLES: u16 = 37;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_VRF_TABLE: u16 = 1;
const IFLA_TUN_PI: u16 = 4;
/// Ports in network byte order.
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_GENEVE_PORT: u16 = 5;
const IFLA_BAREUDP_PORT: u16 = 1;

/// linux/if_vlan.h.
const VLAN_FLAG_REORDER_HDR: u32 = 1;
/// linux/if_link.h.
const MACVLAN_MODE_PASSTHRU: u32 = 8;
const MACVLAN_MODE_SOURCE: u32 = 16;

/// Reads the value of IFLA_LINKINFO into an interface.
///
/// # Errors
/// An attribute is cut short.
pub(super) fn read(nested: &[u8], interface: &mut Interface) -> Result<()> {
    let mut data: &[u8] = &[];
    each_attribute(nested, |kind, value| {
        match kind {
            IFLA_INFO_KIND => interface.kind = Some(text(value)),
            IFLA_INFO_DATA => data = value,
            _ => {}
        }
        Ok(())
    })?;
    let kind = interface.kind.clone().unwrap_or_default();
    interface.packet_info = kind == "tun";
    // The same numbers mean something else in other kinds.
    each_attribute(data, |attribute, value| {
        let is_on = value.first().is_some_and(|&byte| byte != 0);
        match (kind.as_str(), attribute) {
            ("vlan", IFLA_VLAN_FLAGS) => {
                interface.keeps_tag = number(value).unwrap_or(0) & VLAN_FLAG_REORDER_HDR == 0;
            }
            ("bridge", IFLA_BR_NF_CALL_IPTABLES | IFLA_BR_NF_CALL_IP6TABLES) => {
                interface.nf_call |= is_on;
            }
            ("macvlan" | "macvtap", IFLA_MACVLAN_MODE) => {
                interface.macvlan_mode = number(value).map(mode);
            }
            ("vrf", IFLA_VRF_TABLE) => interface.vrf_table = number(value),
            ("tun", IFLA_TUN_PI) => interface.packet_info = is_on,
            ("vxlan", IFLA_VXLAN_PORT)
            | ("geneve", IFLA_GENEVE_PORT)
            | ("bareudp", IFLA_BAREUDP_PORT) => {
                interface.udp_port = value.first_chunk().copied().map(u16::from_be_bytes);
            }
            _ => {}
        }
        Ok(())
    })
}

const fn mode(number: u32) -> MacvlanMode {
    match number {
        MACVLAN_MODE_PASSTHRU => MacvlanMode::Passthru,
        MACVLAN_MODE_SOURCE => MacvlanMode::Source,
        _ => MacvlanMode::ByDestination,
    }
}
