//! Foreign eBPF programs: two instructions to return a number.
//!
//! The bpf system call loads them by hand, so the lab needs no compiler and shares no code with the
//! loader under test.

use std::ffi::c_long;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Context, Result};

use super::netns::Netns;

const PROG_LOAD: c_long = 5;
const OBJ_GET: c_long = 7;
const OBJ_GET_INFO: c_long = 15;
const PROG_QUERY: c_long = 16;
const LINK_CREATE: c_long = 28;
const LINK_DETACH: c_long = 34;

/// The place of a program, which gives the returned number a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP in the driver.
    XdpNative,
    /// XDP in the stack's generic receive path.
    XdpGeneric,
    /// tcx, ingress.
    Tcx,
    /// cgroup_skb, ingress.
    Cgroup,
}

/// linux/bpf.h: the number of the helper bpf_skb_vlan_pop.
const SKB_VLAN_POP: i32 = 19;

/// XDP_DROP.
pub const XDP_DROP: i32 = 1;
/// XDP_PASS.
pub const XDP_PASS: i32 = 2;
/// TCX_NEXT: asks the next program.
pub const TCX_NEXT: i32 = -1;
/// TCX_PASS: accepts the packet and asks no later program.
pub const TCX_PASS: i32 = 0;
/// TCX_DROP.
pub const TCX_DROP: i32 = 2;
/// A cgroup program that denies.
pub const CGROUP_DENY: i32 = 0;
/// A cgroup program that allows.
pub const CGROUP_ALLOW: i32 = 1;

impl Hook {
    fn program_type(self) -> u32 {
        match self {
            Self::XdpNative | Self::XdpGeneric => 6,
            Self::Tcx => 3,
            Self::Cgroup => 8,
        }
    }

    fn attach_type(self) -> u32 {
        match self {
            Self::Cgroup => 0,
            Self::XdpNative | Self::XdpGeneric => 37,
            Self::Tcx => 46,
        }
    }

    fn link_flags(self) -> u32 {
        match self {
            Self::XdpGeneric => 1 << 1,
            Self::XdpNative => 1 << 2,
            Self::Tcx | Self::Cgroup => 0,
        }
    }
}

/// A program attached for the life of this value.
#[derive(Debug)]
pub struct Foreign {
    _link: OwnedFd,
}

impl Foreign {
    /// Attaches a program with the return value `number` to an interface of a namespace.
    pub fn on_interface(
        namespace: &Netns,
        interface: &str,
        hook: Hook,
        number: i32,
    ) -> Result<Self> {
        Self::named_on_interface(namespace, interface, hook, number, "")
    }

    /// As [`Self::on_interface`], with a name of at most 15 bytes for the program.
    pub fn named_on_interface(
        namespace: &Netns,
        interface: &str,
        hook: Hook,
        number: i32,
        name: &str,
    ) -> Result<Self> {
        let index = namespace.ifindex(interface)?;
        // The kernel looks the index up in the namespace of the caller.
        let link = namespace.run(|| link(hook, number, index, name))?;
        let link = link.with_context(|| format!("failed to attach {hook:?} to {interface}"))?;
        Ok(Self { _link: link })
    }

    /// Attaches a tcx program that takes a frame's tag off, and asks the next program; as the action
    /// `vlan pop` of tc.
    pub fn taking_tags_off(namespace: &Netns, interface: &str) -> Result<Self> {
        let index = namespace.ifindex(interface)?;
        let [number, exit] = returning(TCX_NEXT);
        let instructions = [calling(SKB_VLAN_POP), number, exit];
        let link = namespace.run(|| {
            let program = load(Hook::Tcx, &instructions, "")?;
            link_of(&program, Hook::Tcx, index)
        })?;
        let link = link.with_context(|| format!("failed to take tags off on {interface}"))?;
        Ok(Self { _link: link })
    }

    /// Attaches a cgroup_skb/ingress program with the return value `number`.
    pub fn on_cgroup(cgroup: &Path, number: i32) -> Result<Self> {
        let directory = File::open(cgroup).context("failed to open the cgroup")?;
        let target = u32::try_from(directory.as_raw_fd())?;
        let link =
            link(Hook::Cgroup, number, target, "").context("failed to attach to the cgroup")?;
        Ok(Self { _link: link })
    }
}

/// Attaches one program with the return value `number` to many interfaces of the caller's namespace.
pub fn attach_to_all(
    hook: Hook,
    number: i32,
    interfaces: impl Iterator<Item = u32>,
) -> io::Result<Vec<OwnedFd>> {
    let program = load(hook, &returning(number), "")?;
    interfaces
        .map(|interface| link_of(&program, hook, interface))
        .collect()
}

/// The number of programs on a hook of an interface in the caller's namespace.
pub fn programs_on(interface: u32, hook: Hook) -> io::Result<u32> {
    let mut attributes = Query {
        target: interface,
        attach_type: hook.attach_type(),
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut attributes)?;
    Ok(attributes.count)
}

/// The number of cgroup_skb/ingress programs on the cgroup itself.
pub fn programs_on_cgroup(cgroup: &Path) -> io::Result<u32> {
    let directory = File::open(cgroup)?;
    let target = u32::try_from(directory.as_raw_fd()).map_err(io::Error::other)?;
    programs_on(target, Hook::Cgroup)
}

/// Kind and id of the object pinned at a path, and for a link the id of the program behind.
///
/// All three kinds of `struct bpf_*_info` begin with type and id.
pub fn pinned(path: &Path) -> io::Result<[u32; 3]> {
    info(&pinned_object(path)?)
}

/// Takes the program of the link pinned at a path off its hook, as `bpftool link detach` does. The
/// pin stays.
pub fn detach_pinned(path: &Path) -> io::Result<()> {
    let link = pinned_object(path)?;
    let mut attributes = Detach {
        link: u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?,
    };
    bpf(LINK_DETACH, &mut attributes).map(drop)
}

/// Opens the object pinned at a path.
pub(super) fn pinned_object(path: &Path) -> io::Result<OwnedFd> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut attributes = Pinned {
        path: path.as_ptr() as u64,
        ..Pinned::default()
    };
    bpf(OBJ_GET, &mut attributes).and_then(owned)
}

/// The first words of an object's `struct bpf_*_info`.
pub(super) fn info<const N: usize>(object: &OwnedFd) -> io::Result<[u32; N]> {
    let mut head = [0u32; N];
    let mut attributes = Info {
        object: u32::try_from(object.as_raw_fd()).map_err(io::Error::other)?,
        length: u32::try_from(size_of_val(&head)).map_err(io::Error::other)?,
        info: head.as_mut_ptr() as u64,
    };
    bpf(OBJ_GET_INFO, &mut attributes)?;
    Ok(head)
}

/// Whether programs of a hook may call a helper with their context as the only argument.
pub(super) fn may_call(hook: Hook, helper: i32) -> bool {
    let [number, exit] = returning(1);
    load(hook, &[calling(helper), number, exit], "").is_ok()
}

/// A call of a helper, with the context as the only argument.
fn calling(helper: i32) -> Instruction {
    Instruction {
        code: 0x85,
        immediate: helper,
        ..Instruction::default()
    }
}

fn link(hook: Hook, number: i32, target: u32, name: &str) -> io::Result<OwnedFd> {
    link_of(&load(hook, &returning(number), name)?, hook, target)
}

fn link_of(program: &OwnedFd, hook: Hook, target: u32) -> io::Result<OwnedFd> {
    let mut attributes = Link {
        program: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        target,
        attach_type: hook.attach_type(),
        flags: hook.link_flags(),
        ..Link::default()
    };
    bpf(LINK_CREATE, &mut attributes).and_then(owned)
}

fn returning(number: i32) -> [Instruction; 2] {
    [
        // r0 = number
        Instruction {
            code: 0xb7,
            immediate: number,
            ..Instruction::default()
        },
        // exit
        Instruction {
            code: 0x95,
            ..Instruction::default()
        },
    ]
}

fn load(hook: Hook, instructions: &[Instruction], name: &str) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut bytes = [0; 16];
    // The last byte stays zero.
    for (to, from) in bytes[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    let mut attributes = Load {
        kind: hook.program_type(),
        count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        attach_type: hook.attach_type(),
        name: bytes,
        ..Load::default()
    };
    bpf(PROG_LOAD, &mut attributes).and_then(owned)
}

#[derive(Default)]
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The part of `union bpf_attr` for BPF_PROG_LOAD.
#[derive(Default)]
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

/// The part of `union bpf_attr` for BPF_LINK_CREATE.
#[derive(Default)]
#[repr(C)]
struct Link {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    padding: u32,
    expected_revision: u64,
}

/// The part of `union bpf_attr` for BPF_OBJ_GET.
#[derive(Default)]
#[repr(C)]
struct Pinned {
    path: u64,
    object: u32,
    flags: u32,
}

/// The part of `union bpf_attr` for BPF_LINK_DETACH.
#[repr(C)]
struct Detach {
    link: u32,
}

/// The part of `union bpf_attr` for BPF_OBJ_GET_INFO_BY_FD, read and written.
#[repr(C)]
struct Info {
    object: u32,
    length: u32,
    info: u64,
}

/// The part of `union bpf_attr` for BPF_PROG_QUERY, read and written.
#[derive(Default)]
#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

/// Marks the structs above: plain integers in the kernel's layout, every byte initialised.
pub(super) trait Attributes {}
impl Attributes for Load {}
impl Attributes for Link {}
impl Attributes for Detach {}
impl Attributes for Query {}
impl Attributes for Pinned {}
impl Attributes for Info {}

pub(super) fn bpf<T: Attributes>(command: c_long, attributes: &mut T) -> io::Result<RawFd> {
    let size = size_of::<T>();
    // SAFETY: `attributes` is a prefix of the kernel's union for this command (zeroes stand for the
    // rest), and the memory behind every pointer outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(done).map_err(io::Error::other)
}

fn owned(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the kernel has just given us this descriptor, and no other code knows the number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
