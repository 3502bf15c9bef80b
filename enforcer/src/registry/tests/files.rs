//! The choice of files, and unreadable files.

use std::fs;
use std::os::unix::fs::symlink;

use enforcer_ebpf::Mode;

use super::super::{Loaded, MissingFile, Origin, Reader, Rejected};
use super::etc::{Etc, file_names, names};

const A: &str = "[services.a]\nports = [1]\n";
const B: &str = "[services.b]\nports = [2]\n";

#[test]
fn fragments_are_read_after_the_file_by_name() {
    let etc = Etc::new()
        .with("enforcer.toml", format!("mode = \"audit\"\n{A}"))
        .with(
            "enforcer.d/20.toml",
            "[services.c]\nports = [3]\nallow = [\"p\"]\n",
        )
        .with("enforcer.d/10.toml", B)
        .with(
            "enforcer.d/30.toml",
            "[peers.p]\ninterface = \"wg0\"\naddresses = [\"any\"]\n",
        )
        // None of these is a fragment.
        .with("enforcer.d/.40.toml", "broken")
        .with("enforcer.d/50.toml~", "broken")
        .with("enforcer.d/README", "broken")
        .with("enforcer.d/60.TOML", "broken")
        .with("other.d/70.toml", "broken");
    symlink("/nowhere", etc.path("enforcer.d/.#10.toml")).unwrap();
    let loaded = etc.default().unwrap();
    assert_eq!(names(&loaded), ["a", "b", "c"]);
    assert_eq!(
        file_names(&loaded),
        ["enforcer.toml", "10.toml", "20.toml", "30.toml"]
    );
    assert_eq!(loaded.registry.mode(), Mode::Audit);
    assert_eq!(loaded.registry.peers().len(), 1);
}

#[test]
fn fragments_do_without_the_default_file_in_enforce_mode() {
    let etc = Etc::new().with("enforcer.d/b.toml", B);
    let loaded = etc.default().unwrap();
    assert_eq!(names(&loaded), ["b"]);
    assert_eq!(file_names(&loaded), ["b.toml"]);
    assert_eq!(loaded.registry.mode(), Mode::Enforce);
}

#[test]
fn the_embedded_registry_applies_only_where_nothing_is() {
    let etc = Etc::new();
    assert_eq!(etc.default().unwrap().origin, Origin::Embedded);
    fs::create_dir(etc.path("enforcer.d")).unwrap();
    assert_eq!(etc.default().unwrap().origin, Origin::Embedded);

    let etc = etc.with("enforcer.toml", "");
    etc.rejects(
        etc.default(),
        &["enforcer.toml:1:1 the registry has no services"],
    );
    let etc = Etc::new().with("enforcer.d/a.toml", "# later\n");
    etc.rejects(
        etc.default(),
        &["enforcer.d/a.toml:1:1 the registry has no services"],
    );
}

#[test]
fn on_a_reload_absence_is_an_error() {
    let etc = Etc::new();
    etc.rejects(
        etc.where_absent(MissingFile::Fragments),
        &["enforcer.toml:1:1 there is no registry: the file and its fragments are absent"],
    );
}

/// Fragments alone must not replace a vanished main file: the file's ports would open.
#[test]
fn a_file_that_was_there_is_missed_beside_its_fragments() {
    let gone = ["enforcer.toml:1:1 this file is gone: the policy in force was made from it"];
    let etc = Etc::new();
    etc.rejects(etc.where_absent(MissingFile::Vanished), &gone);
    let etc = etc.with("enforcer.d/b.toml", B);
    etc.rejects(etc.where_absent(MissingFile::Vanished), &gone);
    // The control: fragments that stood alone before, and an empty file.
    let alone = etc.where_absent(MissingFile::Fragments).unwrap();
    assert_eq!(names(&alone), ["b"]);
    assert!(!alone.provenance.has_main);
    let etc = etc.with("enforcer.toml", "");
    let both = etc.where_absent(MissingFile::Vanished).unwrap();
    assert_eq!(names(&both), ["b"]);
    assert!(both.provenance.has_main);
}

#[test]
fn a_named_file_has_fragments_of_its_own_and_must_be_there() {
    let etc = Etc::new()
        .with("mine.toml", A)
        .with("mine.d/b.toml", B)
        .with("gone.d/b.toml", B)
        .with("plain", A)
        .with("plain.d/broken.toml", "broken");
    assert_eq!(names(&etc.named("mine.toml").unwrap()), ["a", "b"]);
    assert_eq!(names(&etc.named("plain").unwrap()), ["a"]);
    etc.rejects(
        etc.named("gone.toml"),
        &["gone.toml:1:1 cannot read this file: No such file or directory (os error 2)"],
    );
}

#[test]
fn a_name_in_two_files_names_both_places() {
    let peer = "[peers.p]\ninterface = \"wg0\"\naddresses = [\"any\"]\n";
    let etc = Etc::new()
        .with("enforcer.toml", A)
        .with("enforcer.d/1.toml", format!("\n{A}{peer}"))
        .with("enforcer.d/2.toml", format!("{peer}{B}"));
    etc.rejects(
        etc.default().map_err(|mut rejected| {
            assert!(rejected.to_string().contains("- first defined here"));
            // The path in the message is the test's directory.
            rejected.errors = rejected.errors[..2].to_vec().into();
            rejected
        }),
        &[
            "enforcer.d/1.toml:2:11 service `a` is already defined at enforcer.toml:1:11",
            "enforcer.d/2.toml:1:8 peer `p` is already defined at enforcer.d/1.toml:4:8",
        ],
    );
}

#[test]
fn fragments_hold_services_and_peers_only() {
    let etc = Etc::new().with("enforcer.toml", A).with(
        "enforcer.d/1.toml",
        format!("mode = \"audit\"\n[interfaces.eth0]\n[unregistered]\n[doctor]\n{B}"),
    );
    etc.rejects(
        etc.default(),
        &[
            "enforcer.d/1.toml:1:1 `mode` does not belong in a fragment",
            "enforcer.d/1.toml:2:2 `interfaces` does not belong in a fragment",
            "enforcer.d/1.toml:3:2 `unregistered` does not belong in a fragment",
            "enforcer.d/1.toml:4:2 `doctor` does not belong in a fragment",
        ],
    );
}

/// Reads the registry in place, with one more fragment.
fn with_fragment(etc: &Etc, name: &str) -> Result<Loaded, Rejected> {
    let reader = Reader::NAMED.with_fragment(Some(etc.path(name)));
    etc.read(MissingFile::Embedded, &reader)
}

#[test]
fn one_more_fragment_is_merged_with_the_registry_in_place() {
    let etc = Etc::new()
        .with("enforcer.toml", A)
        .with("enforcer.d/10.toml", B)
        .with("new/good", "[services.c]\nports = [3]\nallow = [\"p\"]\n[peers.p]\ninterface = \"wg0\"\naddresses = [\"any\"]\n")
        .with("new/bad.toml", "mode = \"audit\"\n[services.c]\nports = [2]\nallow = [\"nobody\"]\n[services.a]\nports = [4]\n");
    let good = with_fragment(&etc, "new/good").unwrap();
    assert_eq!(names(&good), ["a", "b", "c"]);
    assert_eq!(file_names(&good), ["enforcer.toml", "10.toml", "good"]);
    etc.rejects(
        with_fragment(&etc, "new/bad.toml"),
        &[
            "new/bad.toml:1:1 `mode` does not belong in a fragment",
            "new/bad.toml:3:10 tcp port 2 is already registered for service `b`, at enforcer.d/10.toml:2:10",
            "new/bad.toml:4:10 unknown peer `nobody`",
            "new/bad.toml:5:11 service `a` is already defined at enforcer.toml:1:11",
        ],
    );
    etc.rejects(
        with_fragment(&etc, "new/absent.toml"),
        &["new/absent.toml:1:1 cannot read this file: No such file or directory (os error 2)"],
    );
    // A fragment of the folder does not clash with itself.
    let again = with_fragment(&etc, "enforcer.d/../enforcer.d/10.toml").unwrap();
    assert_eq!(names(&again), ["a", "b"]);
}

#[test]
fn one_more_fragment_stands_alone_where_there_is_no_registry() {
    let etc = Etc::new().with("new.toml", B);
    let alone = with_fragment(&etc, "new.toml").unwrap();
    assert_eq!(names(&alone), ["b"]);
    assert_eq!(file_names(&alone), ["new.toml"]);
}

#[test]
fn errors_of_all_files_are_told_and_what_may_be_in_a_broken_one_is_not() {
    let etc = Etc::new()
        .with(
            "enforcer.toml",
            "mode = \"off\"\n[services.a]\nports = [0]\nallow = [\"p\"]\n",
        )
        .with("enforcer.d/1.toml", "[peers.p\n")
        .with("enforcer.d/2.toml", "[services.b]\nports = [70000]\n");
    etc.rejects(
        etc.default(),
        &[
            "enforcer.toml:1:8 unknown mode `off`",
            "enforcer.toml:3:10 port 0 cannot be registered",
            "enforcer.d/1.toml:1:9 syntax error: unclosed table",
            "enforcer.d/2.toml:2:10 port `70000` is out of range",
        ],
    );
}

#[test]
fn what_cannot_be_read_rejects_the_registry() {
    let etc = Etc::new().with("enforcer.toml", A);
    fs::create_dir_all(etc.path("enforcer.d/1.toml")).unwrap();
    symlink("/nowhere/at/all", etc.path("enforcer.d/2.toml")).unwrap();
    etc.rejects(
        etc.default(),
        &[
            "enforcer.d/1.toml:1:1 this is a folder, not a regular file",
            "enforcer.d/2.toml:1:1 cannot read this file: No such file or directory (os error 2)",
        ],
    );

    // A link to nothing is not an absent file, and a file is not a directory of fragments.
    let etc = Etc::new().with("enforcer.d", "");
    symlink("/nowhere/at/all", etc.path("enforcer.toml")).unwrap();
    etc.rejects(
        etc.default(),
        &[
            "enforcer.toml:1:1 cannot read this file: No such file or directory (os error 2)",
            "enforcer.d:1:1 cannot read this folder: Not a directory (os error 20)",
        ],
    );
}

#[test]
fn bytes_that_are_no_text_are_placed() {
    let etc = Etc::new().with("enforcer.toml", b"# \xc3\xa9\nmode = \"\xc3\xa9\xff\"\n");
    etc.rejects(
        etc.default(),
        &["enforcer.toml:2:10 this is not UTF-8: byte 0xff"],
    );
    let etc = Etc::new().with("enforcer.toml", b"# cut \xe8\xaf");
    etc.rejects(
        etc.default(),
        &["enforcer.toml:1:7 this is not UTF-8: byte 0xe8"],
    );
}

#[test]
fn a_byte_order_mark_is_not_a_column() {
    let etc = Etc::new().with("enforcer.toml", format!("\u{feff}mode = \"x\"\n{A}"));
    etc.rejects(etc.default(), &["enforcer.toml:1:8 unknown mode `x`"]);
}

#[test]
fn all_files_together_have_a_limit() {
    let half = format!("#{}", "x".repeat((2 << 20) - 1));
    let etc = Etc::new()
        .with("enforcer.toml", A)
        .with("enforcer.d/1.toml", &half)
        .with("enforcer.d/2.toml", &half[..half.len() - A.len()]);
    assert_eq!(names(&etc.default().unwrap()), ["a"]);
    let etc = etc.with("enforcer.d/3.toml", "#");
    etc.rejects(
        etc.default(),
        &["enforcer.d/3.toml:1:1 the files of the registry are larger than 4 MiB together"],
    );
}

#[test]
fn a_file_over_the_limit_is_refused_by_one_byte() {
    let text = |length: usize| format!("{A}#{}", "x".repeat(length - A.len() - 1));
    let etc = Etc::new()
        .with("fits.toml", text(2 << 20))
        .with("long.toml", text((2 << 20) + 1))
        .with("main.toml", A)
        .with("main.d/long.toml", text((2 << 20) + 1));
    assert_eq!(names(&etc.named("fits.toml").unwrap()), ["a"]);
    etc.rejects(
        etc.named("long.toml"),
        &["long.toml:1:1 this file is larger than 2 MiB"],
    );
    etc.rejects(
        etc.named("main.toml"),
        &["main.d/long.toml:1:1 this file is larger than 2 MiB"],
    );
}
