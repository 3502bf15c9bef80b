//! The registries that documents show as examples.

use super::{accepts, summary};

/// The example registry of the contract, word for word.
const CONTRACT: &str = include_str!("design.toml");
const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

#[test]
fn the_whole_example_of_the_contract_is_good() {
    // The contract abbreviates the key.
    let text = CONTRACT.replace("base64…=", KEY);
    assert_ne!(text, CONTRACT);
    let loaded = accepts(&text);
    assert_eq!(summary(&loaded.warnings), [""; 0]);
    assert_eq!(loaded.registry.services().len(), 4);
    assert_eq!(loaded.registry.ignored_findings().len(), 1);
}
