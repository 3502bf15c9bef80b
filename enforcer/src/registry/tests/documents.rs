//! The registries that documents show as examples.

use super::{accepts, summary};

/// The example registry of the contract, word for word.
const CONTRACT: &str = include_str!("design.toml");
const README: &str = include_str!("../../../../README.md");
const WALKTHROUGH: &str = include_str!("../../../../docs/walkthrough.md");
const MANUAL: &str = include_str!("../../../../docs/man/enforcer.toml.5");
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

/// Returns the TOML of a Markdown document. Later blocks continue the first one.
fn toml_of(document: &str) -> String {
    let blocks = document.split("```toml\n").skip(1);
    blocks.filter_map(|rest| rest.split("```").next()).collect()
}

/// Returns the literal blocks (mdoc(7): `.Bd -literal`) of a section of a manual page.
fn literal_blocks(section: &str) -> Vec<String> {
    let (_, rest) = MANUAL.split_once(&format!("\n.Sh {section}\n")).unwrap();
    let section = rest.split("\n.Sh ").next().unwrap();
    let blocks = section.split(".Bd -literal").skip(1);
    let blocks = blocks.map(|rest| {
        let (_, block) = rest.split_once('\n').unwrap();
        let block = block.split("\n.Ed").next().unwrap();
        block.replace("\\(dq", "\"").replace("\\&", "")
    });
    blocks.collect()
}

#[test]
fn the_examples_of_the_readme_and_the_walkthrough_are_good() {
    for (document, services) in [(README, 4), (WALKTHROUGH, 5)] {
        let loaded = accepts(&toml_of(document));
        assert_eq!(loaded.registry.services().len(), services);
        assert!(!loaded.registry.unregistered().passes_all());
    }
}

#[test]
fn the_examples_of_the_manual_page_are_good() {
    let examples = literal_blocks("EXAMPLES");
    assert_eq!(examples.len(), 1);
    for example in examples {
        let loaded = accepts(&example);
        assert_eq!(summary(&loaded.warnings), [""; 0]);
        assert_eq!(loaded.registry.ignored_findings().len(), 1);
    }
}
