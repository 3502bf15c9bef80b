//! All attacks, a file for each kind.

mod evasion;
mod foreign_programs;
mod links;
mod published;
mod raw_sockets;
mod reach;
mod tagged;
mod transports;
mod tunnelled;

use super::attack::Attack;

/// All attacks, in the order of their names.
pub fn all() -> Vec<Attack> {
    let mut attacks = reach::attacks();
    attacks.extend(published::attacks());
    attacks.extend(evasion::attacks());
    attacks.extend(tagged::attacks());
    attacks.extend(transports::attacks());
    attacks.extend(raw_sockets::attacks());
    attacks.extend(foreign_programs::attacks());
    attacks.extend(links::attacks());
    attacks.extend(tunnelled::attacks());
    attacks.extend(super::whole_host::attacks());
    attacks.sort_by_key(|attack| attack.name);
    attacks
}
