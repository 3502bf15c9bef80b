//! The list from this kernel, each test in a new network namespace. These tests need root: their
//! names begin with `root_`.

use std::process::{Child, Command, Output};
use std::thread;

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::super::{Host, Interface, InterfaceOptions, host, list, plan};

/// Runs a test on a new thread in a new network namespace, which ends with the thread.
fn in_new_namespace(test: impl FnOnce() + Send + 'static) {
    let runs = thread::spawn(|| {
        // SAFETY: file descriptors are not unshared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
            .expect("this test makes a network namespace: run it as root, or skip `root_`");
        test();
    });
    if let Err(panic) = runs.join() {
        std::panic::resume_unwind(panic);
    }
}

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

#[track_caller]
fn run(program: &str, arguments: &str) {
    let output = output(program, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {error}");
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
        let taps = ["tap0", "tun0"].map(|name| {
            let it = named(&all, name);
            (it.kind.as_deref(), it.link_type, it.mac.is_some())
        });
        assert_eq!(taps, [(Some("tun"), 1, true), (Some("tun"), 65534, false)]);
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
        let files =
            ["iptables", "ip6tables"].map(|it| format!("/proc/sys/net/bridge/bridge-nf-call-{it}"));
        let set = |values: [&str; 2]| {
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
        let expected = |bridge_nf_call| Host {
            bridge_nf_call,
            tcx: true,
            ..Host::default()
        };
        assert_eq!(set(["0", "0"]), expected(false));
        assert_eq!(set(["1", "0"]), expected(true));
        assert_eq!(set(["0", "1"]), expected(true));
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
