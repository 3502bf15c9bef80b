//! The scenarios' type, and the mark of a guest.

use anyhow::{Context, Result};

use super::host::Host;

/// The file that marks a guest, written by `cargo xtask vm --system`; the content is the guest's
/// name in the closing line.
const MARK: &str = "/etc/enforcer-guest";

/// A test case on the guest's own host.
pub(super) struct SystemScenario {
    pub(super) name: &'static str,
    pub(super) body: fn(&Host) -> Result<()>,
}

/// The guest's name.
///
/// # Errors
/// This is no guest.
pub(super) fn guest() -> Result<String> {
    let name = std::fs::read_to_string(MARK)
        .with_context(|| format!("no {MARK}: this runs in a guest of cargo xtask vm --system"))?;
    Ok(name.trim().to_owned())
}
