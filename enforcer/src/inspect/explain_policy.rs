//! The policy and the cited registry of `explain`.

use super::{explain_error::ExplainError, explain_live::Copies};
use crate::{
    control::Instance,
    decisions::{
        attached::AttachedGuards,
        candidate::{Candidate, EVERY_GUARD, Recipe},
    },
    host,
    policy::{PolicyTables, Slots},
    printable,
    registry::{
        Loaded, Origin, Provenance, READ_LIMIT, Reader, Registry, Rejected, Source, Trust,
        load_within,
    },
};

/// The policy behind the verdict, with its registry.
pub(super) struct JudgedPolicy {
    /// The policy.
    pub(super) tables: PolicyTables,
    /// The registry, or the reason why no line can be cited.
    pub(super) registry: Result<Registry, String>,
    /// The origin of the registry, if nothing is pinned.
    pub(super) hypothetical: Option<Origin>,
}

impl JudgedPolicy {
    /// Finds the policy in force, or the policy that `up` would put in force from a registry,
    /// which `read` reads.
    ///
    /// # Errors
    /// The pins cannot be read, or with nothing pinned, the registry is bad or exceeds a limit of
    /// the maps.
    pub(super) async fn find(
        instance: &Instance,
        read: impl FnOnce() -> Result<Loaded, Rejected>,
        copies: Option<&Copies>,
    ) -> Result<Self, ExplainError> {
        let tables = match copies {
            Some(copies) => Some(copies.tables()?),
            None => instance.maps()?.map(|maps| maps.tables()).transpose()?,
        };
        match tables {
            Some(tables) => Ok(Self {
                registry: cited_registry(&tables.provenance),
                tables,
                hypothetical: None,
            }),
            None => Self::would_be(&read()?).await,
        }
    }

    /// The policy that a registry would be on this host with nothing pinned.
    async fn would_be(loaded: &Loaded) -> Result<Self, ExplainError> {
        let snapshot = host::snapshot_for(&loaded.registry).await?;
        let recipe = Recipe {
            loaded,
            snapshot: &snapshot,
            flags: EVERY_GUARD,
        };
        let attached = AttachedGuards::default();
        let candidate = Candidate::compile(&recipe, &attached, &Slots::new())?;
        Ok(Self {
            tables: candidate.tables,
            registry: Ok(loaded.registry.clone()),
            hypothetical: Some(loaded.origin.clone()),
        })
    }
}

/// Reads the registry of a policy in force again, to cite lines: possible only if the digest of all
/// files is the digest of then.
fn cited_registry(provenance: &Provenance) -> Result<Registry, String> {
    let file = match &provenance.path {
        Some(path) => printable::decode_path(path),
        None => "the embedded default".to_owned(),
    };
    if provenance.digest == 0 {
        return Err(format!("{file} is nothing that could be read again"));
    }
    // The lines were believed when the policy was put in force.
    let reader = Reader {
        trust: Trust::Warn,
        ..Reader::STRICT
    };
    match load_within(&Source::in_force(provenance), &reader, READ_LIMIT) {
        Ok(loaded) if loaded.provenance.digest == provenance.digest => Ok(loaded.registry),
        Ok(_) => Err(format!(
            "{file} has changed since the policy was put in force (`enforcer reload` would apply \
             the file)"
        )),
        Err(_) => Err(format!(
            "{file} has changed since the policy was put in force, or cannot be read (`enforcer \
             check` says why)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::registry::load;

    #[test]
    fn lines_are_cited_only_from_unchanged_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.toml");
        let write = |text: &str| fs::write(&path, text).unwrap();
        write("[services.redis]\nports = [6379]\n");
        let provenance = load(&Source::Named(path.clone()), &Reader::NAMED)
            .unwrap()
            .provenance;
        assert!(cited_registry(&provenance).is_ok());
        write("[services.redis]\nports = [6380]\n");
        let why = cited_registry(&provenance).unwrap_err();
        assert!(why.contains("has changed since"), "{why}");
        assert!(why.contains("enforcer reload"), "{why}");
        write("[services.redis\n");
        let why = cited_registry(&provenance).unwrap_err();
        assert!(why.contains("enforcer check"), "{why}");
        let unreadable = Provenance {
            digest: 0,
            ..provenance
        };
        let why = cited_registry(&unreadable).unwrap_err();
        assert!(why.contains("nothing that could be read again"), "{why}");
    }
}
