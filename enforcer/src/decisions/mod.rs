//! The decisions of the loader, as pure functions over plain data.
//!
//! ```text
//! attached    the guards of a pin directory, as found on the host
//! candidate   the recipe for a policy: registry and host in, guards and tables out
//! reconcile   from the attached guards to the wanted guards: a list of steps
//! pending     the pending policy: confirm, roll back, refuse
//! lockout     whether a change would cut off an operator
//! peers       peers by key: waiting peers, stale and revoked grants
//! networks    container networks with packets that somebody may want
//! ```
//!
//! Nothing here reads a map, a file or a clock. `control` carries the decisions out.

pub(crate) mod attached;
pub(crate) mod candidate;
#[cfg(test)]
mod fixtures;
pub(crate) mod lockout;
pub(crate) mod networks;
pub(crate) mod peers;
pub(crate) mod pending;
pub(crate) mod reconcile;
