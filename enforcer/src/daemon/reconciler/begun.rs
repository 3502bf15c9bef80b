//! The input of the reconciler from the start of `run`.

use super::SharedRegistry;

/// The result of the start: a policy is in force.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    /// The registry in force, if this process put the policy in force.
    pub(crate) registry: Option<SharedRegistry>,
    /// The registry's files have not answered yet, and the read goes on.
    pub(crate) is_loading: bool,
    /// A good registry was kept out of force by a problem that may pass.
    pub(crate) retry: bool,
    /// The reported errors of a bad registry, in plain text.
    pub(crate) errors: Option<String>,
}
