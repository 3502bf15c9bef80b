//! Offsets of fields in structures of the running kernel, from the kernel's BTF.
//!
//! aya reads BTF too, but hides the members. The format is in Documentation/bpf/btf.rst in the
//! kernel's tree.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::printable::decode_path;

const KIND_STRUCT: u32 = 4;

/// The types of a kernel.
pub(crate) struct Btf {
    bytes: Vec<u8>,
    types: std::ops::Range<usize>,
    strings: usize,
}

impl Btf {
    /// Reads the types of the running kernel.
    ///
    /// # Errors
    /// The kernel shows no BTF (`CONFIG_DEBUG_INFO_BTF`), or BTF of an unknown form.
    pub(crate) fn of_kernel() -> Result<Self> {
        let path = Path::new("/sys/kernel/btf/vmlinux");
        let bytes = fs::read(path).with_context(|| {
            format!(
                "failed to read {}: the kernel must be built with CONFIG_DEBUG_INFO_BTF",
                decode_path(path)
            )
        })?;
        Self::parse(bytes)
    }

    fn parse(bytes: Vec<u8>) -> Result<Self> {
        const MAGIC: u32 = 0xeb9f;
        let header = u32_at(&bytes, 0)?;
        ensure!(header & 0xffff == MAGIC, "not BTF of this byte order");
        let base = u32_at(&bytes, 4)? as usize;
        let types = base + u32_at(&bytes, 8)? as usize;
        let length = u32_at(&bytes, 12)? as usize;
        let strings = base + u32_at(&bytes, 16)? as usize;
        Ok(Self {
            bytes,
            types: types..types + length,
            strings,
        })
    }

    /// Returns the offset in bytes of a direct member of a structure.
    ///
    /// # Errors
    /// The kernel has no such structure or member, or a kind of type that is unknown here.
    pub(crate) fn offset(&self, structure: &str, member: &str) -> Result<u64> {
        let mut at = self.types.start;
        while at < self.types.end {
            let name = u32_at(&self.bytes, at)?;
            let info = u32_at(&self.bytes, at + 4)?;
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let members = at + 12;
            if kind == KIND_STRUCT && self.name(name) == Some(structure.as_bytes()) {
                let bitfields = info >> 31 == 1;
                return self
                    .member(members, count, bitfields, member)
                    .with_context(|| {
                        format!("struct {structure} of this kernel has no member {member}")
                    });
            }
            at = members + trailing_bytes(kind, count)?;
        }
        Err(anyhow!("this kernel has no struct {structure}"))
    }

    fn member(&self, start: usize, count: usize, bitfields: bool, name: &str) -> Result<u64> {
        for i in 0..count {
            let at = start + i * 12;
            if self.name(u32_at(&self.bytes, at)?) == Some(name.as_bytes()) {
                let bits = u32_at(&self.bytes, at + 8)?;
                let bits = if bitfields { bits & 0x00ff_ffff } else { bits };
                ensure!(bits.is_multiple_of(8), "a bit field has no offset in bytes");
                return Ok(u64::from(bits / 8));
            }
        }
        bail!("no such member")
    }

    fn name(&self, offset: u32) -> Option<&[u8]> {
        let rest = self.bytes.get(self.strings + offset as usize..)?;
        rest.split(|byte| *byte == 0).next()
    }
}

/// Returns the number of bytes behind a type's three words, by kind (linux/btf.h: BTF_KIND_*).
fn trailing_bytes(kind: u32, count: usize) -> Result<usize> {
    Ok(match kind {
        // Pointers, forwards, typedefs, qualifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, declaration tags.
        1 | 14 | 17 => 4,
        // Arrays; members of structures and unions; section variables; 64-bit enumerators.
        3 => 12,
        4 | 5 | 15 | 19 => count * 12,
        // Enumerators, parameters.
        6 | 13 => count * 8,
        other => bail!("BTF kind {other} is not known here"),
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .context("BTF ends too early")?;
    Ok(u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_shows_the_two_fields() {
        let btf = Btf::of_kernel().unwrap();
        // The first member of struct sock_common is a union; skc_net lies behind it.
        assert!(btf.offset("sock_common", "skc_net").unwrap() > 8);
        assert!(btf.offset("net", "net_cookie").unwrap() > 0);
        assert!(btf.offset("net", "no_such_member").is_err());
        assert!(btf.offset("no_such_struct", "x").is_err());
    }

    /// BTF of these words in the section of types, and these names.
    fn btf(types: &[u32], names: &str) -> Result<Btf> {
        let length = |bytes: usize| u32::try_from(bytes).unwrap();
        let (types_end, names_length) = (length(types.len() * 4), length(names.len()));
        let header = [0x0001_eb9f, 24, 0, types_end, types_end, names_length];
        let words = header.iter().chain(types);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(names.as_bytes());
        Btf::parse(bytes)
    }

    #[test]
    fn members_are_found_behind_other_types() {
        const BITFIELDS: u32 = 1 << 31;
        let names = "\0first\0second\0a\0b\0";
        let (first, second, a, b) = (1, 7, 14, 16);
        let types = [
            // An integer, with one word behind the three.
            [0, 1 << 24, 4, 32].as_slice(),
            // An enumeration of two values, and an array.
            &[0, 6 << 24 | 2, 4, a, 0, b, 1],
            &[0, 3 << 24, 0, 1, 1, 2],
            // struct first { a; b }, and struct second with bit fields.
            &[first, 4 << 24 | 2, 16, a, 1, 0, b, 1, 64],
            &[
                second,
                BITFIELDS | 4 << 24 | 2,
                8,
                a,
                1,
                32 << 24 | 32,
                b,
                1,
                3 << 24 | 33,
            ],
        ]
        .concat();
        let btf = btf(&types, names).unwrap();
        for (structure, member, expected) in [
            ("first", "a", Some(0)),
            ("first", "b", Some(8)),
            ("second", "a", Some(4)),
            // A bit field that begins within a byte.
            ("second", "b", None),
            ("first", "c", None),
            ("a", "a", None),
        ] {
            assert_eq!(
                btf.offset(structure, member).ok(),
                expected,
                "{structure}.{member}"
            );
        }
    }

    #[test]
    fn an_unknown_kind_and_an_early_end_are_errors() {
        let unknown = btf(&[0, 20 << 24, 0], "\0x\0").unwrap();
        let error = unknown.offset("x", "y").unwrap_err().to_string();
        assert!(error.contains("kind 20"), "{error}");
        let short = btf(&[0, 4 << 24 | 9, 0, 1, 1, 1], "\0x\0").unwrap();
        assert!(short.offset("x", "y").is_err());
        let cut = btf(&[1, 4 << 24 | 9, 0, 1, 1, 0], "\0x\0").unwrap();
        assert!(cut.offset("x", "y").is_err());
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(Btf::parse(vec![0; 24]).is_err());
        assert!(Btf::parse(vec![0x9f, 0xeb]).is_err());
    }
}
