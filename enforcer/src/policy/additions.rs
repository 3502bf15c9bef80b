//! What a host has got since a policy was compiled, for a policy that waits for its registry.

use super::{compile::local_rows, host::PolicyHost, networks::networks, tables::PolicyTables};

impl PolicyTables {
    /// Returns the policy with the container networks, the rows of the local table and the MAC
    /// addresses that the host has beside those of the policy.
    ///
    /// Nothing is taken away, so the policy gets stricter only: a packet to a row of the local table
    /// or to a taken MAC is judged, and a container network is closed.
    pub(crate) fn with_additions(&self, host: &PolicyHost) -> Self {
        let mut tables = self.clone();
        for (prefix, row) in local_rows(&host.local) {
            tables.local.entry(prefix).or_insert(row);
        }
        for (mac, is_childs) in &host.macs {
            *tables.macs.entry(*mac).or_insert(*is_childs) &= is_childs;
        }
        for (prefix, row) in networks(self, &host.interfaces) {
            tables.networks.entry(prefix).or_insert(row);
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyInterface;

    #[test]
    fn additions_close_and_open_nothing() {
        let bridge = |ifindex, name: &str, subnet: &str| PolicyInterface {
            ifindex,
            name: name.to_owned(),
            is_bridge: true,
            addresses: vec![subnet.parse().unwrap()],
            ..PolicyInterface::default()
        };
        let host =
            |interfaces: &[PolicyInterface], local: &[&str], macs: &[([u8; 6], bool)]| PolicyHost {
                interfaces: interfaces.to_vec(),
                local: local.iter().map(|one| (one.parse().unwrap(), 2)).collect(),
                macs: macs.iter().copied().collect(),
                ..PolicyHost::default()
            };
        let old = bridge(5, "podman0", "10.88.0.1/16");
        let new = bridge(6, "podman1", "10.89.0.1/24");
        let mac = |last| [2, 0, 0, 0, 0, last];
        let before = PolicyTables::default().with_additions(&host(
            &[old],
            &["192.0.2.1/32"],
            &[(mac(1), false), (mac(2), true)],
        ));
        assert_eq!((before.local.len(), before.networks.len()), (1, 1));
        let now = before.with_additions(&host(
            &[new, bridge(7, "br0", "10.90.0.1/24")],
            &["192.0.2.2/32"],
            &[(mac(2), false), (mac(3), true)],
        ));
        assert_eq!((now.local.len(), now.networks.len()), (2, 2));
        let macs = [(mac(1), false), (mac(2), false), (mac(3), true)];
        assert_eq!(now.macs, macs.into());
        assert_eq!(now.ports, before.ports);
    }
}
