//! The kernel's programs, maps and links by id, and the facts about each.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use super::{
    bpf::{self, Command},
    object::Shape,
};

/// linux/bpf.h: BPF_OBJ_NAME_LEN, with the closing zero.
pub(super) const NAME_BYTES: usize = 16;

/// linux/bpf.h: enum bpf_map_type.
const ARRAY: u32 = 2;
/// linux/bpf.h: enum bpf_map_type.
pub(super) const DEVMAP_HASH: u32 = 25;

/// The kernel's facts about a map: linux/bpf.h, struct bpf_map_info, up to the name.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MapInfo {
    /// The type, an enum bpf_map_type.
    pub(super) kind: u32,
    id: u32,
    key_bytes: u32,
    value_bytes: u32,
    max_entries: u32,
    flags: u32,
    name: [u8; NAME_BYTES],
}

impl MapInfo {
    /// The id.
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// The type, the sizes of key and value, the number of entries and the flags.
    pub(super) fn shape(&self) -> Shape {
        [
            self.kind,
            self.key_bytes,
            self.value_bytes,
            self.max_entries,
            self.flags,
        ]
    }

    /// The name, which the kernel cuts to 15 bytes; empty for a name that is no text.
    pub(super) fn name(&self) -> &str {
        text(&self.name)
    }
}

/// The kernel's facts about a program.
#[derive(Clone, Debug)]
pub(super) struct ProgramInfo {
    /// The name, which the kernel cuts to 15 bytes.
    pub(super) name: String,
    /// The ids of the maps.
    pub(super) maps: Vec<u32>,
}

fn text(name: &[u8; NAME_BYTES]) -> &str {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(name).unwrap_or_default()
}

/// Returns the facts about a map.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    bpf::object_info(map, &mut info)?;
    Ok(info)
}

/// Returns the facts about a program.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    /// The maps of one program: linux/bpf.h, MAX_USED_MAPS.
    const MOST: u32 = 64;
    /// linux/bpf.h: struct bpf_prog_info, up to the name.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        tag: [u8; 8],
        jited_bytes: u32,
        translated_bytes: u32,
        jited: u64,
        translated: u64,
        loaded_at: u64,
        user: u32,
        map_count: u32,
        maps: u64,
        name: [u8; NAME_BYTES],
    }
    let mut maps = [0u32; MOST as usize];
    let mut info = Info {
        map_count: MOST,
        maps: maps.as_mut_ptr() as u64,
        ..Info::default()
    };
    bpf::object_info(program, &mut info)?;
    let count = usize::try_from(info.map_count).unwrap_or(usize::MAX);
    Ok(ProgramInfo {
        name: text(&info.name).to_owned(),
        maps: maps.into_iter().take(count).collect(),
    })
}

/// Returns the ids of all links of the kernel.
///
/// # Errors
/// CAP_SYS_ADMIN is missing.
pub(super) fn link_ids() -> io::Result<Vec<u32>> {
    /// linux/bpf.h: union bpf_attr, of BPF_*_GET_NEXT_ID.
    #[repr(C)]
    struct Attributes {
        start: u32,
        next: u32,
        flags: u32,
    }
    let mut ids = Vec::new();
    let mut attributes = Attributes {
        start: 0,
        next: 0,
        flags: 0,
    };
    loop {
        match bpf::call(Command::NextLinkId, &mut attributes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ids),
            Err(error) => return Err(error),
        }
        ids.push(attributes.next);
        attributes.start = attributes.next;
    }
}

/// Opens a link.
///
/// # Errors
/// The link is gone (ENOENT) or not complete yet (EAGAIN), or the kernel's refusal.
pub(super) fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    by_id(Command::LinkById, id)
}

/// Opens a program.
///
/// # Errors
/// The program is gone, or the kernel's refusal.
pub(super) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    by_id(Command::ProgramById, id)
}

/// Opens a map.
///
/// # Errors
/// The map is gone, or the kernel's refusal.
pub(super) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    by_id(Command::MapById, id)
}

fn by_id(command: Command, id: u32) -> io::Result<OwnedFd> {
    /// linux/bpf.h: union bpf_attr, of BPF_*_GET_FD_BY_ID.
    #[repr(C)]
    struct Attributes {
        id: u32,
        next: u32,
        flags: u32,
    }
    let mut attributes = Attributes {
        id,
        next: 0,
        flags: 0,
    };
    bpf::new_descriptor(command, &mut attributes)
}

/// Detaches a link (Linux 5.9), which keeps its pins and descriptors.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    /// linux/bpf.h: union bpf_attr, of BPF_LINK_DETACH.
    #[repr(C)]
    struct Attributes {
        link: u32,
    }
    let mut attributes = Attributes {
        link: link.as_raw_fd().cast_unsigned(),
    };
    bpf::call(Command::LinkDetach, &mut attributes).map(drop)
}

/// Reads or writes an entry of an array, or of a hash of devices, with values of this type's size.
///
/// # Errors
/// The map has no such entry (ENOENT), or values of another size (EINVAL), or the kernel's refusal.
pub(super) fn element<V>(
    command: Command,
    map: BorrowedFd<'_>,
    key: u32,
    value: &mut V,
) -> io::Result<()> {
    /// linux/bpf.h: union bpf_attr, of BPF_MAP_*_ELEM.
    #[repr(C)]
    struct Attributes {
        map: u32,
        hole: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    // A map for each processor has more values than one, whatever their size.
    let info = map_info(map)?;
    let is_single = matches!(info.kind, ARRAY | DEVMAP_HASH);
    if !is_single || info.key_bytes != 4 || usize::try_from(info.value_bytes) != Ok(size_of::<V>())
    {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut attributes = Attributes {
        map: map.as_raw_fd().cast_unsigned(),
        hole: 0,
        key: (&raw const key) as u64,
        value: (&raw mut *value) as u64,
        flags: 0,
    };
    bpf::call(command, &mut attributes).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_the_first_zero() {
        assert_eq!(text(b"STATE\0\0\0\0\0\0\0\0\0\0\0"), "STATE");
        assert_eq!(text(b"wire_xdp_ethern\0"), "wire_xdp_ethern");
        assert_eq!(text(&[0xff; NAME_BYTES]), "");
    }
}
