//! Names of pins, on a plain directory: only `check` and the removal want a bpffs.

use std::fs::File;

use tempfile::TempDir;

use super::*;

const HOOKS: [Hook; 3] = [Hook::XdpNative, Hook::XdpGeneric, Hook::Tcx];

/// A directory with empty files of these names.
fn directory<S: AsRef<str>>(names: &[S]) -> (TempDir, PinDir) {
    let parent = tempfile::tempdir().unwrap();
    let pins = PinDir::new(&parent.path().join("pins")).unwrap();
    pins.create().unwrap();
    for name in names {
        File::create(pins.path().join(name.as_ref())).unwrap();
    }
    (parent, pins)
}

#[test]
fn a_pin_directory_has_a_parent_and_a_name_that_bpffs_takes() {
    for (path, usable) in [
        ("/sys/fs/bpf/enforcer", true),
        ("/pins", true),
        ("/a.b/pins", true),
        ("/", false),
        ("pins", false),
        ("/sys/fs/bpf/a.b", false),
        ("/sys/fs/bpf/..", false),
        ("/sys/fs/bpf/a\0b", false),
        ("/sys/fs/bpf/pins_enforcer_tmp", false),
        ("/sys/fs/bpf/pins_enforcer_rescue", false),
        ("/sys/fs/bpf/pins_enforcer_scratch", false),
    ] {
        assert_eq!(PinDir::new(Path::new(path)).is_ok(), usable, "{path:?}");
    }
}

#[test]
fn staging_and_scratch_are_beside_the_pins() {
    let pins = PinDir::new(Path::new("/sys/fs/bpf/enforcer")).unwrap();
    assert_eq!(pins.parent(), Path::new("/sys/fs/bpf"));
    let places = [pins.staging(0x5003), pins.rescue(0x5003)].concat();
    let paths: Vec<_> = places.iter().map(|place| place.path().to_str()).collect();
    assert_eq!(
        paths,
        [
            Some("/sys/fs/bpf/enforcer_enforcer_tmp"),
            Some("/sys/fs/bpf/enforcer_enforcer_tmp_5003"),
            Some("/sys/fs/bpf/enforcer_enforcer_rescue"),
            Some("/sys/fs/bpf/enforcer_enforcer_rescue_5003"),
        ]
    );
    for place in places {
        assert_eq!(place.parent(), pins.parent());
        assert_ne!(place.path(), pins.scratch().path());
        assert!(PinDir::new(place.path()).is_err(), "another's pins");
    }
}

#[test]
fn names_of_wire_links_come_back() {
    for hook in HOOKS {
        for ifindex in [1, 7, u32::MAX] {
            let name = wire_link_name(ifindex, hook);
            assert!(is_pin_name(&name) && !name.contains(['.', '-']), "{name}");
            assert_eq!(parse_wire_link(&name), Some((ifindex, hook)), "{name}");
        }
    }
    assert_eq!(wire_link_name(7, Hook::XdpNative), "link_wire_7_xdp_native");
}

#[test]
fn other_names_are_no_wire_links() {
    for name in [
        "link_wire_7",
        "link_wire_7_",
        "link_wire_7_xdp",
        "link_wire__tcx",
        "link_wire_x_tcx",
        "link_wire_-7_tcx",
        "link_wire_4294967296_tcx",
        "link_early_7",
        "link_socket",
        "prog_wire_tcx_ip",
    ] {
        assert_eq!(parse_wire_link(name), None, "{name}");
    }
}

#[test]
fn names_that_enforcer_pins_are_told_from_others() {
    for (name, ours) in [
        ("STATE", true),
        ("TRIAL", true),
        ("prog_socket_ingress", true),
        ("link_socket", true),
        ("state", false),
        ("STATE2", false),
        ("", false),
        ("link", false),
    ] {
        assert_eq!(is_pin_name(name), ours, "{name}");
    }
}

#[test]
fn links_are_found_by_their_names() {
    let (_parent, pins) = directory(&[
        "link_wire_9_tcx",
        "link_wire_10_xdp_generic",
        "link_wire_2_xdp_native",
        "link_early_5",
        "link_early_x",
        "link_socket",
        "STATE",
    ]);
    let wire: Vec<(u32, Hook)> = pins
        .wire_links()
        .unwrap()
        .into_iter()
        .inspect(|(ifindex, hook, pin)| assert_eq!(*pin, pins.wire_link(*ifindex, *hook)))
        .map(|(ifindex, hook, _)| (ifindex, hook))
        .collect();
    let expected = [(2, Hook::XdpNative), (9, Hook::Tcx), (10, Hook::XdpGeneric)];
    assert_eq!(wire, expected);
    assert_eq!(pins.early_links().unwrap(), [(5, pins.early_link(5))]);
    assert!(pins.has_links().unwrap());
}

#[test]
fn a_missing_directory_has_no_pins() {
    let (parent, pins) = directory::<&str>(&[]);
    assert!(!pins.exists().unwrap() && !pins.has_links().unwrap());
    let none = PinDir::new(&parent.path().join("none")).unwrap();
    assert!(!none.exists().unwrap() && !none.has_links().unwrap());
    assert!(none.wire_links().unwrap().is_empty() && none.early_links().unwrap().is_empty());
    assert!(!none.has_all_maps().unwrap());
}

#[test]
fn a_set_without_one_of_the_maps_is_not_whole() {
    let (_parent, whole) = directory(&MAPS);
    assert!(whole.has_all_maps().unwrap() && !whole.has_links().unwrap());
    for map in MAPS {
        fs::remove_file(whole.map(map)).unwrap();
        assert!(!whole.has_all_maps().unwrap(), "{map}");
        File::create(whole.map(map)).unwrap();
    }
}

#[test]
fn a_new_set_takes_the_place_of_the_old_one() {
    let (_parent, pins) = directory(&["prog_old"]);
    let [staging, _] = pins.staging(1);
    staging.create().unwrap();
    File::create(staging.path().join("prog_new")).unwrap();
    pins.replace_with(&staging).unwrap();
    assert_eq!(
        (pins.names().unwrap(), staging.names().unwrap()),
        (vec!["prog_new".to_owned()], vec!["prog_old".to_owned()])
    );
    // Onto another directory only an exchange is a rename.
    assert!(pins.rename_from(&staging).is_err());
    let scratch = pins.scratch();
    scratch.rename_from(&staging).unwrap();
    assert!(scratch.exists().unwrap() && !staging.exists().unwrap());
    // Without a directory there before, the new set is moved.
    staging.replace_with(&scratch).unwrap();
    assert!(staging.exists().unwrap() && !scratch.exists().unwrap());
}

#[test]
fn files_outside_a_bpffs_are_never_removed() {
    for names in [&["STATE", "link_socket"][..], &["STATE", "other"]] {
        let (_parent, pins) = directory(names);
        assert!(pins.check().is_err());
        assert!(pins.remove_links(None).is_err());
        assert!(pins.remove(None).is_err());
        assert_eq!(pins.names().unwrap().len(), 2);
    }
}
