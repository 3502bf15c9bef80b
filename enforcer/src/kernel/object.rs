//! The object of the guards as it was built, and the shapes of its maps.

use std::{collections::BTreeMap, sync::LazyLock};

use anyhow::{Context as _, Result, anyhow};
use aya::{include_bytes_aligned, maps::MapData};

use crate::failpoint::{Call, through};

/// The guards as they were built.
pub(super) static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/guards"));

/// Checks that a pinned map has the shape that this build's object gives it. aya reuses a pinned
/// map whatever it is.
///
/// # Errors
/// It has another shape.
pub(crate) fn check_shape(name: &str, map: &MapData) -> Result<()> {
    match misshapen(name, map)? {
        None => Ok(()),
        Some(why) => Err(anyhow!(why)),
    }
}

/// How a pinned map differs from what this build's object makes it: in type, sizes of key and
/// value, entries or flags.
///
/// # Errors
/// The kernel does not say.
pub(crate) fn misshapen(name: &str, map: &MapData) -> Result<Option<String>> {
    // The shapes alone: the object as a whole would stay in the memory of `run`.
    static EXPECTED: LazyLock<BTreeMap<String, [u32; 5]>> = LazyLock::new(|| {
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
    let wants = *EXPECTED
        .get(name)
        .with_context(|| format!("the embedded object has no map {name}"))?;
    let info = through(Call::MapInfo, || -> Result<_> { Ok(map.info()?) })
        .with_context(|| format!("failed to examine the map {name}"))?;
    let has = [
        info.map_type().map_or(u32::MAX, |kind| kind as u32),
        info.key_size(),
        info.value_size(),
        info.max_entries(),
        info.map_flags(),
    ];
    Ok((has != wants).then(|| {
        format!(
            "the map {name} has another shape (type, key, value, entries, flags): {has:?}, and \
             not {wants:?}"
        )
    }))
}
