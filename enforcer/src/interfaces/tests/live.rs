//! The list from this kernel, each test in a new network namespace. These tests need root: their
//! names begin with `root_`.

use std::process::{Child, Command, Output};

use super::super::{Host, Interface, InterfaceOptions, find, host, list, plan};
use crate::netlink::tests::namespace::{in_new_namespace, run};
use crate::printable::decode_path;

fn output(program: &str, arguments: &str) -> Output {
    Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("`{program}` of iproute2 is needed: {error}"))
}

#[track_caller]
fn must(arguments: &str) {
    run("ip", arguments);
}

/// Runs a command that makes a device; returns false if the kernel lacks the kind of device. Any
/// other failure panics.
#[track_caller]
fn possible(arguments: &str) -> bool {
    let output = output("ip", arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    let unknown = error.contains("Unknown device type");
    assert!(
        output.status.success() || unknown,
        "ip {arguments}: {error}"
    );
    !unknown
}

fn listed() -> Vec<Interface> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(list())
        .unwrap()
}

#[track_caller]
fn named<'a>(all: &'a [Interface], name: &str) -> &'a Interface {
    all.iter()
        .find(|interface| interface.name == name)
        .unwrap_or_else(|| panic!("no {name} in {all:#?}"))
}

/// A process that ends with the test, even on a panic.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // The process may have ended before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn root_the_list_says_what_ip_link_made() {
    in_new_namespace(|| {
        must("link add veth0 address 02:00:00:00:00:01 type veth peer name veth1");
        must("link add br0 type bridge");
        must("link set veth1 master br0 up");
        must("link add mv0 link veth0 type macvlan");
        must("link property add dev br0 altname an-alternative-name");
        must("tuntap add tap0 mode tap");
        must("tuntap add tun0 mode tun");
        must("tuntap add tun1 mode tun pi");
        let all = listed();
        let indexes: Vec<u32> = all.iter().map(|it| it.index).collect();
        assert!(indexes.is_sorted(), "{indexes:?}");
        // This kernel may add tunnels to every namespace.
        let lo = named(&all, "lo");
        assert_eq!(
            (lo.index, lo.loopback, lo.up, lo.link_type),
            (1, true, false, 772)
        );
        let [veth0, veth1, br0] = ["veth0", "veth1", "br0"].map(|name| named(&all, name));
        assert_eq!(
            *veth0,
            Interface {
                index: veth0.index,
                name: "veth0".to_owned(),
                kind: Some("veth".to_owned()),
                link_type: 1,
                mac: Some([2, 0, 0, 0, 0, 1]),
                parent: Some(veth1.index),
                ..Interface::default()
            }
        );
        assert_eq!((veth1.up, veth1.master), (true, Some(br0.index)));
        assert_eq!(
            (br0.kind.as_deref(), br0.up, br0.parent),
            (Some("bridge"), false, None)
        );
        let mv0 = named(&all, "mv0");
        assert_eq!(
            (mv0.kind.as_deref(), mv0.parent),
            (Some("macvlan"), Some(veth0.index))
        );
        let taps = ["tap0", "tun0", "tun1"].map(|name| {
            let it = named(&all, name);
            assert_eq!(it.kind.as_deref(), Some("tun"));
            (it.link_type, it.mac.is_some(), it.packet_info)
        });
        let expected = [
            (1, true, false),
            (65534, false, false),
            (65534, false, true),
        ];
        assert_eq!(taps, expected);
    });
}

#[test]
fn root_a_bridge_says_what_it_takes_and_what_netfilter_does_on_its_members() {
    in_new_namespace(|| {
        must("link add veth0 address 02:00:00:00:00:01 type veth peer name veth1");
        for name in ["br0", "br4", "br6", "bra"] {
            must(&format!(
                "link add {name} address 02:00:00:00:01:00 type bridge"
            ));
        }
        must("link set veth0 master br0");
        run(
            "bridge",
            "fdb add 02:00:00:00:00:02 dev veth0 master permanent",
        );
        run("bridge", "fdb add 02:00:00:00:00:03 dev br0 self local");
        run(
            "bridge",
            "fdb add 02:00:00:00:00:04 dev veth0 master static",
        );
        must("link set br4 type bridge nf_call_iptables 1");
        must("link set br6 type bridge nf_call_ip6tables 1");
        must("link set bra type bridge nf_call_arptables 1");
        let all = listed();
        let nf_call = ["br0", "br4", "br6", "bra"].map(|name| named(&all, name).nf_call);
        assert_eq!(nf_call, [false, true, true, false]);
        let mut last = named(&all, "br0").local_macs.clone();
        last.sort_unstable();
        // The bridge's own MAC, the port's, and those made permanent by hand.
        assert_eq!(
            last,
            [
                [2, 0, 0, 0, 0, 1],
                [2, 0, 0, 0, 0, 2],
                [2, 0, 0, 0, 0, 3],
                [2, 0, 0, 0, 1, 0]
            ]
        );
        assert_eq!(named(&all, "veth0").local_macs, [[0; 6]; 0]);
    });
}

#[test]
fn root_macvlan_devices_have_modes_and_a_vrf_a_table() {
    in_new_namespace(|| {
        must("link add veth0 type veth peer name veth1");
        must("link add pass0 link veth0 type macvlan mode passthru");
        must("link add source0 link veth1 type macvlan mode source");
        must("link add bridge0 link veth1 type macvtap mode bridge");
        let vrf = possible("link add vrf0 type vrf table 1001");
        let all = listed();
        let modes =
            ["pass0", "source0", "bridge0", "veth0"].map(|name| named(&all, name).macvlan_mode);
        use super::super::MacvlanMode::{ByDestination, Passthru, Source};
        assert_eq!(
            modes,
            [Some(Passthru), Some(Source), Some(ByDestination), None]
        );
        if vrf {
            assert_eq!(named(&all, "vrf0").vrf_table, Some(1001));
        }
    });
}

#[test]
fn root_an_interface_is_found_by_every_name_that_ip_link_takes() {
    in_new_namespace(|| {
        must("link add br0 type bridge");
        must("link property add dev br0 altname an-alternative-name altname other");
        let all = listed();
        let index = named(&all, "br0").index;
        for (name, expected) in [
            ("br0", Some(index)),
            ("an-alternative-name", Some(index)),
            ("other", Some(index)),
            ("lo", Some(1)),
            ("an-alternative", None),
        ] {
            assert_eq!(find(&all, name).map(|it| it.index), expected, "{name}");
            let shown = output("ip", &format!("link show {name}"));
            assert_eq!(shown.status.success(), expected.is_some(), "{name}");
        }
    });
}

#[test]
fn root_vlan_and_dummy_devices_where_the_kernel_has_them() {
    in_new_namespace(|| {
        must("link add veth0 type veth peer name veth1");
        let vlan = possible("link add link veth0 name v5 type vlan id 5");
        if vlan {
            must("link add link veth0 name v6 type vlan id 6 reorder_hdr off");
        }
        let dummy = possible("link add dummy0 type dummy");
        let all = listed();
        let count = all
            .iter()
            .filter(|it| it.is_kind("vlan") || it.is_kind("dummy"));
        assert_eq!(count.count(), 2 * usize::from(vlan) + usize::from(dummy));
        if vlan {
            let [v5, v6] = ["v5", "v6"].map(|name| named(&all, name));
            assert_eq!(v5.parent, Some(named(&all, "veth0").index));
            assert_eq!((v5.keeps_tag, v6.keeps_tag), (false, true));
        }
    });
}

#[test]
fn root_what_lives_in_another_namespace_shows_here() {
    in_new_namespace(|| {
        must("link add veth0 address 02:00:00:00:00:01 type veth peer name veth1");
        must("link set veth0 up");
        let own = "fdb add 02:00:00:00:00:01 dev veth0 self permanent";
        run("bridge", own);
        assert!(!named(&listed(), "veth0").other_macs, "its own MAC");
        // The child goes up in another namespace, which lives as long as the process.
        let mut sleeper = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "echo; read line; ip link set mv0 up; echo; read line",
            ])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("`unshare` of util-linux is needed");
        let mut from = std::io::BufReader::new(sleeper.stdout.take().unwrap());
        let mut to = sleeper.stdin.take().unwrap();
        let mut wait = || std::io::BufRead::read_line(&mut from, &mut String::new()).unwrap();
        wait();
        must(&format!(
            "link add mv0 link veth0 netns {} type macvlan",
            sleeper.id()
        ));
        must(&format!("link set veth1 netns {}", sleeper.id()));
        std::io::Write::write_all(&mut to, b"\n").unwrap();
        wait();
        let all = listed();
        drop(to);
        sleeper.wait().unwrap();
        let veth0 = named(&all, "veth0");
        assert!(veth0.other_macs, "the macvlan device's MAC");
        assert_eq!(veth0.parent, None, "its other end is elsewhere");
        assert!(!all.iter().any(|it| it.name == "mv0" || it.name == "veth1"));
    });
}

#[test]
fn root_a_bridge_that_learned_too_much_hides_no_other_interface() {
    in_new_namespace(|| {
        for bridge in ["full", "short"] {
            must(&format!("link add {bridge} up type bridge"));
            must(&format!(
                "link add {bridge}0 up master {bridge} type veth peer name {bridge}1"
            ));
        }
        let local = "fdb add 02:00:00:00:00:77 dev short0 master permanent";
        run("bridge", local);
        assert!(!listed().iter().any(|it| it.macs_unknown));
        let learned = (0..16_500u32).map(|number| {
            let [_, _, high, low] = number.to_be_bytes();
            format!("fdb add 06:00:00:00:{high:02x}:{low:02x} dev full0 master static\n")
        });
        let batch = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(batch.path(), learned.collect::<String>()).unwrap();
        run("bridge", &format!("-batch {}", decode_path(batch.path())));
        let all = listed();
        let unknown = all.iter().filter(|it| it.macs_unknown);
        let unknown: Vec<&str> = unknown.map(|it| it.name.as_str()).collect();
        assert_eq!(unknown, ["full"]);
        let macs = &named(&all, "short").local_macs;
        assert!(macs.contains(&[2, 0, 0, 0, 0, 0x77]), "{macs:x?}");
        must("link del full0");
        assert!(!listed().iter().any(|it| it.macs_unknown), "short again");
    });
}

#[test]
fn root_a_list_is_whole_while_interfaces_come_and_go() {
    in_new_namespace(|| {
        for n in 0..60 {
            must(&format!("link add stay{n} type bridge"));
        }
        let churn = Command::new("sh")
            .args([
                "-c",
                "while ip link add go type bridge; do ip link del go; done",
            ])
            .spawn()
            .unwrap();
        let churn = Ending(churn);
        let counts: Vec<usize> = (0..50)
            .map(|_| {
                let all = listed();
                all.iter().filter(|it| it.name.starts_with("stay")).count()
            })
            .collect();
        drop(churn);
        assert_eq!(counts, [60; 50]);
    });
}

#[test]
fn root_the_host_is_that_of_the_threads_namespace() {
    in_new_namespace(|| {
        let files = ["call-iptables", "call-ip6tables", "filter-vlan-tagged"]
            .map(|it| format!("/proc/sys/net/bridge/bridge-nf-{it}"));
        let set = |values: [&str; 3]| {
            for (file, value) in files.iter().zip(values) {
                std::fs::write(file, value).unwrap();
            }
            host(true).unwrap()
        };
        if !std::path::Path::new(&files[0]).exists() {
            // br_netfilter is not loaded.
            assert!(!host(true).unwrap().bridge_nf_call);
            return;
        }
        let expected = |bridge_nf_call, bridge_filter_vlan_tagged| Host {
            bridge_nf_call,
            bridge_filter_vlan_tagged,
            tcx: true,
            ..Host::default()
        };
        assert_eq!(set(["0", "0", "0"]), expected(false, false));
        assert_eq!(set(["1", "0", "0"]), expected(true, false));
        assert_eq!(set(["0", "1", "1"]), expected(true, true));
        assert_eq!(set(["0", "0", "1"]), expected(false, true));
        assert!(!host(false).unwrap().tcx);
    });
}

#[test]
fn root_a_plan_for_a_container_host() {
    in_new_namespace(|| {
        must("link add podman0 up type bridge");
        must("link add eth0 up type veth peer name far");
        must("link add vetha up type veth peer name inner");
        must("link set vetha master podman0");
        must("tuntap add tun0 mode tun");
        must("link set tun0 up");
        let all = listed();
        let plan = plan(&all, |_| InterfaceOptions::default(), &host(true).unwrap());
        let names: Vec<&str> = plan.guards.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["eth0", "tun0"]);
        assert_eq!(plan.uncovered, []);
    });
}
