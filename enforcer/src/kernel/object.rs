//! The embedded object of the guards, and the shapes of its maps.

use std::{collections::BTreeMap, sync::LazyLock};

use anyhow::{Context as _, Result};
use aya::{include_bytes_aligned, maps::MapData};

use crate::failpoint::{Call, through};

/// The object of the guards, from the build.
pub(super) static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/guards"));

/// The type, the sizes of key and value, the number of entries and the flags of a map.
pub(super) type Shape = [u32; 5];

/// Returns the difference between the shape of a pinned map and the shape in this build's object,
/// in words; `None` for equal shapes. aya reuses a pinned map of any shape.
///
/// # Errors
/// The kernel's refusal, or the object has no map of this name.
pub(super) fn shape_mismatch(name: &str, map: &MapData) -> Result<Option<String>> {
    let info = through(Call::MapInfo, || -> Result<_> { Ok(map.info()?) })
        .with_context(|| format!("failed to examine the map {name}"))?;
    let found = [
        info.map_type().map_or(u32::MAX, |kind| kind as u32),
        info.key_size(),
        info.value_size(),
        info.max_entries(),
        info.map_flags(),
    ];
    difference(name, found)
}

/// Returns the difference between a shape and the shape in this build's object, in words; `None` for
/// equal shapes.
///
/// # Errors
/// The object has no map of this name.
pub(super) fn difference(name: &str, found: Shape) -> Result<Option<String>> {
    let expected = expected_shape(name)?;
    Ok((found != expected).then(|| {
        format!(
            "the map {name} has another shape (type, key, value, entries, flags): {found:?} \
             instead of {expected:?}"
        )
    }))
}

/// Returns the sizes in bytes of a map's key and value in this build's object.
///
/// # Errors
/// The object has no map of this name.
pub(super) fn entry_sizes(name: &str) -> Result<(usize, usize)> {
    let [_, key, value, ..] = expected_shape(name)?;
    Ok((usize::try_from(key)?, usize::try_from(value)?))
}

fn expected_shape(name: &str) -> Result<Shape> {
    // The shapes alone: the whole object would stay in the memory of `run`.
    static SHAPES: LazyLock<BTreeMap<String, Shape>> = LazyLock::new(|| {
        let object = aya_obj::Object::parse(OBJECT).ok();
        let maps = object.into_iter().flat_map(|object| object.maps);
        maps.map(|(name, map)| {
            let shape = [
                map.map_type(),
                map.key_size(),
                map.value_size(),
                map.max_entries(),
                map.map_flags(),
            ];
            (name, shape)
        })
        .collect()
    });
    SHAPES
        .get(name)
        .copied()
        .with_context(|| format!("the embedded object has no map {name}"))
}

#[cfg(test)]
mod tests {
    use enforcer_ebpf::layout::{
        BANKS, BankEntry, PEER_ENTRIES, PORT_ENTRIES, PREFIX_ENTRIES, PeerEntry, PrefixKey, State,
    };

    use super::*;

    #[test]
    fn the_object_has_the_layouts_shapes() {
        let shape = |name| {
            expected_shape(name)
                .map(|[_, key, value, entries, _]| (key as usize, value as usize, entries))
        };
        for (name, expected) in [
            ("STATE", (4, size_of::<State>(), 1)),
            ("BANK", (4, size_of::<BankEntry>(), BANKS)),
            ("PORTS", (4, 8, PORT_ENTRIES)),
            ("PEERS", (4, size_of::<PeerEntry>(), PEER_ENTRIES)),
            ("PREFIXES", (size_of::<PrefixKey>(), 32, PREFIX_ENTRIES)),
        ] {
            assert_eq!(shape(name).unwrap(), expected, "{name}");
        }
        assert!(shape("NO_SUCH_MAP").is_err());
    }
}
