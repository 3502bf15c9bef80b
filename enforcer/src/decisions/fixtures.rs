//! Registries for the tests of this room.

use std::io::Write as _;

use crate::registry::{Loaded, Reader, Source, load};

/// Loads a registry from its text, which must be good.
pub(super) fn loaded(text: &str) -> Loaded {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let loaded = load(&Source::Named(file.path().into()), &Reader::NAMED);
    loaded.unwrap_or_else(|rejected| panic!("{rejected}"))
}
