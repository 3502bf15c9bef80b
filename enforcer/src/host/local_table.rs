//! The local table: the destinations that are this host's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::Result;
use ipnet::IpNet;

use crate::{
    interfaces::Interface,
    netlink::local::{self, LOCAL_TABLE, LocalRoute},
};

/// All routes of type local, broadcast and anycast in table 255 and in the tables of VRFs, as
/// prefixes. Addresses of interfaces alone are not enough: a local route may have any length
/// (`ip route add local 192.0.2.0/24 dev lo`). Other tables do not count: TPROXY needs one in which
/// every destination is local.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalTable {
    rows: BTreeMap<IpNet, BTreeSet<u32>>,
}

impl LocalTable {
    /// Reads the table of the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's refusal, or routes that change all the time.
    pub(super) async fn read<'a>(
        interfaces: impl IntoIterator<Item = &'a Interface>,
    ) -> Result<Self> {
        let vrfs = interfaces.into_iter().filter_map(|it| it.vrf_table);
        let tables: BTreeSet<u32> = vrfs.chain([LOCAL_TABLE]).collect();
        Ok(Self::of(local::list(tables).await?))
    }

    fn of(routes: Vec<LocalRoute>) -> Self {
        let mut rows: BTreeMap<IpNet, BTreeSet<u32>> = BTreeMap::new();
        for route in routes {
            let row = rows.entry(route.prefix.trunc()).or_default();
            row.extend(route.ifindex);
        }
        Self { rows }
    }

    /// Returns each prefix, in order, with the ifindexes of its routes.
    pub fn rows(&self) -> impl Iterator<Item = (&IpNet, &BTreeSet<u32>)> {
        self.rows.iter()
    }

    /// Returns whether a packet to this address is for this host, as far as routes say.
    pub fn contains(&self, address: IpAddr) -> bool {
        let lengths = 0..=if address.is_ipv4() { 32 } else { 128 };
        lengths
            .filter_map(|length| IpNet::new(address, length).ok())
            .any(|prefix| self.rows.contains_key(&prefix.trunc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(prefixes: &[&str]) -> LocalTable {
        let route = |(number, prefix): (u32, &&str)| LocalRoute {
            prefix: prefix.parse().unwrap(),
            ifindex: Some(number),
            table: LOCAL_TABLE,
        };
        LocalTable::of((1..).zip(prefixes).map(route).collect())
    }

    #[test]
    fn a_destination_is_local_by_any_row() {
        let table = table(&[
            "127.0.0.0/8",
            "192.0.2.1/32",
            "198.51.100.0/24",
            "2001:db8::/64",
        ]);
        for (address, expected) in [
            ("127.9.9.9", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("198.51.100.255", true),
            ("198.51.101.0", false),
            ("2001:db8::9", true),
            ("2001:db8:0:1::", false),
            // The families are apart.
            ("::7f09:909", false),
            ("::ffff:127.0.0.1", false),
        ] {
            assert_eq!(
                table.contains(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
        let all = tests::table(&["0.0.0.0/0"]);
        assert!(all.contains("8.8.8.8".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
        assert!(!LocalTable::default().contains("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn routes_of_one_prefix_are_a_row() {
        let rows = table(&["192.0.2.1/32", "192.0.2.9/24", "192.0.2.1/32"]);
        let rows: Vec<(String, Vec<u32>)> = rows
            .rows()
            .map(|(prefix, indexes)| (prefix.to_string(), indexes.iter().copied().collect()))
            .collect();
        let expected = [("192.0.2.0/24", vec![2]), ("192.0.2.1/32", vec![1, 3])];
        assert_eq!(rows, expected.map(|(prefix, all)| (prefix.to_owned(), all)));
    }
}
