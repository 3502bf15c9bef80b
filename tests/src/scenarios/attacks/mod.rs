//! Every attack, by the row of the table that it belongs to.

mod disguised;
mod in_company;
mod links;
mod published;
mod reach;
mod tagged;
mod transports;
mod tunnelled;

use super::attack::Attack;

/// All of them.
pub fn all() -> Vec<Attack> {
    let mut attacks = reach::attacks();
    attacks.extend(published::attacks());
    attacks.extend(disguised::attacks());
    attacks.extend(tagged::attacks());
    attacks.extend(transports::attacks());
    attacks.extend(in_company::attacks());
    attacks.extend(links::attacks());
    attacks.extend(tunnelled::attacks());
    attacks.sort_by_key(|attack| attack.name);
    attacks
}
