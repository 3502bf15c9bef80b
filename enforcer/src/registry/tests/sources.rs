//! The source of a registry: by `--config`, or by the provenance of a policy in force.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{DEFAULT_PATH, MissingFile, Provenance, Reader, Source, load};

const TEXT: &str = "[services.a]\nports = [1]\n";

#[test]
fn a_file_that_config_names_must_exist_even_at_the_default_path() {
    for path in [DEFAULT_PATH, "/elsewhere.toml"] {
        let source = Source::of_config(Some(Path::new(path)), MissingFile::Embedded);
        assert_eq!(source, Source::Named(path.into()));
    }
}

#[test]
fn without_config_the_default_path_has_the_given_meaning_if_missing() {
    for absent in [
        MissingFile::Embedded,
        MissingFile::Fragments,
        MissingFile::Vanished,
    ] {
        let path = DEFAULT_PATH.into();
        let source = Source::Default { path, absent };
        assert_eq!(Source::of_config(None, absent), source);
    }
}

#[test]
fn the_main_file_of_a_policy_in_force_must_exist_if_there_was_one() {
    let provenance = |path: Option<&str>, has_main| Provenance {
        path: path.map(PathBuf::from),
        digest: 1,
        has_main,
        fragments: None,
    };
    let in_force = |path, has_main| Source::in_force(&provenance(path, has_main));
    let named = Source::Named(DEFAULT_PATH.into());
    let fragments = Source::Default {
        path: DEFAULT_PATH.into(),
        absent: MissingFile::Fragments,
    };
    assert_eq!(in_force(Some(DEFAULT_PATH), true), named);
    assert_eq!(in_force(Some(DEFAULT_PATH), false), fragments);
    assert_eq!(in_force(None, false), Source::Embedded);
    assert_eq!(in_force(None, true), Source::Embedded);
}

#[test]
fn a_registry_in_force_is_read_again_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("main.toml");
    fs::create_dir(main.with_extension("d")).unwrap();
    fs::write(main.with_extension("d").join("a.toml"), TEXT).unwrap();
    let default = Source::Default {
        path: main.clone(),
        absent: MissingFile::Fragments,
    };
    let again = |source: &Source| {
        let before = load(source, &Reader::NAMED).unwrap().provenance;
        let again = load(&Source::in_force(&before), &Reader::NAMED)
            .unwrap()
            .provenance;
        assert_eq!(again, before);
        before
    };
    again(&Source::Embedded);
    let fragments = again(&default);
    fs::write(&main, "").unwrap();
    let whole = again(&Source::Named(main.clone()));
    assert_eq!(again(&default), whole);
    // A main file that came since is no policy of fragments alone, and the other way round.
    let now = load(&Source::in_force(&fragments), &Reader::NAMED)
        .unwrap()
        .provenance;
    assert_ne!(now, fragments);
    fs::remove_file(&main).unwrap();
    load(&Source::in_force(&whole), &Reader::NAMED).unwrap_err();
}
