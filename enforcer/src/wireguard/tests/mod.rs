mod parse;
mod uapi;

use std::collections::BTreeMap;

use super::AllowedIps;

/// Returns the first byte of each key, with the key's prefixes.
fn words(allowed: &AllowedIps) -> BTreeMap<u8, Vec<String>> {
    let mut words: BTreeMap<u8, Vec<String>> = allowed
        .keys()
        .map(|key| (key.as_bytes()[0], Vec::new()))
        .collect();
    for (prefix, key) in allowed.iter() {
        let list = words.entry(key.as_bytes()[0]).or_default();
        list.push(prefix.to_string());
    }
    words
}
