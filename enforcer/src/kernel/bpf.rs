//! The few commands of bpf(2) for links, pins and batches.
//!
//! aya loads programs and maps. The links of aya hide their descriptor, fall back to attachments
//! that cannot be pinned, and cannot update a cgroup's program.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use crate::failpoint::{Call, through};

/// linux/bpf.h: enum bpf_cmd.
#[derive(Clone, Copy, Debug)]
#[repr(i64)]
pub(crate) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    ObjectPin = 6,
    ObjectGet = 7,
    ProgramById = 13,
    MapById = 14,
    ObjectInfo = 15,
    ProgramQuery = 16,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkById = 30,
    NextLinkId = 31,
    LinkDetach = 34,
}

impl From<Command> for Call {
    fn from(command: Command) -> Self {
        match command {
            Command::MapCreate => Self::Bpf("MapCreate"),
            Command::MapLookup => Self::BpfQuery("MapLookup"),
            Command::MapUpdate => Self::Bpf("MapUpdate"),
            Command::ObjectPin => Self::Bpf("ObjectPin"),
            Command::ObjectGet => Self::BpfQuery("ObjectGet"),
            Command::ProgramById => Self::BpfQuery("ProgramById"),
            Command::MapById => Self::BpfQuery("MapById"),
            Command::ObjectInfo => Self::BpfQuery("ObjectInfo"),
            Command::ProgramQuery => Self::BpfQuery("ProgramQuery"),
            Command::MapLookupBatch => Self::BpfQuery("MapLookupBatch"),
            Command::MapUpdateBatch => Self::Bpf("MapUpdateBatch"),
            Command::MapDeleteBatch => Self::Bpf("MapDeleteBatch"),
            Command::LinkCreate => Self::Bpf("LinkCreate"),
            Command::LinkUpdate => Self::Bpf("LinkUpdate"),
            Command::LinkById => Self::BpfQuery("LinkById"),
            Command::NextLinkId => Self::BpfQuery("NextLinkId"),
            Command::LinkDetach => Self::Bpf("LinkDetach"),
        }
    }
}

/// The target of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// XDP in the driver of an interface.
    XdpNative(u32),
    /// XDP in the stack, for an interface.
    XdpGeneric(u32),
    /// tcx, before all other ingress programs of an interface.
    TcxHead(u32),
    /// A hook of a cgroup and all below it.
    Cgroup(BorrowedFd<'a>, CgroupHook),
}

/// The hooks of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum CgroupHook {
    /// A packet reaches a socket (`BPF_CGROUP_INET_INGRESS`).
    Ingress = 0,
    /// An unconnected UDP socket sends to an IPv4 address (`BPF_CGROUP_UDP4_SENDMSG`).
    SendV4 = 14,
    /// An unconnected UDP socket sends to an IPv6 address (`BPF_CGROUP_UDP6_SENDMSG`).
    SendV6 = 15,
}

/// The kernel's facts about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkInfo {
    kind: u32,
    /// The id of the link.
    pub(crate) id: u32,
    /// The id of the program behind the link.
    pub(crate) program: u32,
    /// The ifindex of an XDP or tcx link, 0 once the interface is gone; meaningless for others.
    pub(crate) ifindex: u32,
    /// The id of a cgroup link's cgroup, 0 after the detach; meaningless for others.
    pub(crate) cgroup: u64,
}

impl LinkInfo {
    /// Whether the link attaches to a cgroup.
    pub(crate) const fn is_cgroups(&self) -> bool {
        /// linux/bpf.h: BPF_LINK_TYPE_CGROUP.
        const CGROUP: u32 = 3;
        self.kind == CGROUP
    }

    /// Whether the program is attached: the interface or the cgroup exists, and nobody detached the
    /// link. For links of XDP, tcx and cgroups.
    pub(crate) const fn is_attached(&self) -> bool {
        match self.is_cgroups() {
            true => self.cgroup != 0,
            false => self.ifindex != 0,
        }
    }
}

/// Attaches a program.
///
/// # Errors
/// The kernel's refusal: EBUSY where XDP is taken, EOPNOTSUPP where a driver has none, EINVAL on
/// a kernel without the hook.
pub(crate) fn link_create(program: BorrowedFd<'_>, target: Target<'_>) -> io::Result<OwnedFd> {
    /// linux/bpf.h: enum bpf_attach_type.
    const XDP: u32 = 37;
    const TCX_INGRESS: u32 = 46;
    /// linux/if_link.h.
    const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
    const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
    /// linux/bpf.h: before all programs, if no program is given.
    const BPF_F_BEFORE: u32 = 1 << 3;
    #[repr(C)]
    struct Attributes {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
        tcx: [u64; 2],
    }
    let (target, attach_type, flags) = match target {
        Target::XdpNative(ifindex) => (ifindex, XDP, XDP_FLAGS_DRV_MODE),
        Target::XdpGeneric(ifindex) => (ifindex, XDP, XDP_FLAGS_SKB_MODE),
        Target::TcxHead(ifindex) => (ifindex, TCX_INGRESS, BPF_F_BEFORE),
        Target::Cgroup(cgroup, hook) => (descriptor(cgroup), hook as u32, 0),
    };
    new_descriptor(
        Command::LinkCreate,
        &mut Attributes {
            program: descriptor(program),
            target,
            attach_type,
            flags,
            tcx: [0; 2],
        },
    )
}

/// Puts another program behind a link, in one step.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        link: u32,
        program: u32,
        flags: u32,
        old_program: u32,
    }
    call(
        Command::LinkUpdate,
        &mut Attributes {
            link: descriptor(link),
            program: descriptor(program),
            flags: 0,
            old_program: 0,
        },
    )
    .map(drop)
}

/// Asks for the beginning of an object's `struct bpf_*_info` (linux/bpf.h).
///
/// # Errors
/// The kernel's refusal.
pub(super) fn object_info<I>(object: BorrowedFd<'_>, info: &mut I) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        object: u32,
        length: u32,
        info: u64,
    }
    let length = u32::try_from(size_of::<I>()).map_err(io::Error::other)?;
    let mut attributes = Attributes {
        object: descriptor(object),
        length,
        info: (&raw mut *info) as u64,
    };
    call(Command::ObjectInfo, &mut attributes).map(drop)
}

/// Returns the kernel's facts about a link.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    /// linux/bpf.h: struct bpf_link_info; `xdp` and `tcx` both begin with the ifindex.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        program: u32,
        hole: u32,
        ifindex: u32,
        rest: [u32; 11],
    }
    let mut info = Info::default();
    object_info(link, &mut info)?;
    Ok(LinkInfo {
        kind: info.kind,
        id: info.id,
        program: info.program,
        ifindex: info.ifindex,
        cgroup: u64::from(info.ifindex) | u64::from(info.rest[0]) << 32,
    })
}

/// Returns the ids of the programs at the tcx ingress of an interface of this network namespace, in
/// the order in which they run.
///
/// # Errors
/// The kernel's refusal, by every kernel before 6.6.
pub(crate) fn tcx_programs(ifindex: u32) -> io::Result<Vec<u32>> {
    /// linux/bpf.h: enum bpf_attach_type.
    const TCX_INGRESS: u32 = 46;
    /// include/linux/bpf_mprog.h: BPF_MPROG_MAX.
    const MOST: u32 = 64;
    /// linux/bpf.h: union bpf_attr, member `query`.
    #[repr(C)]
    struct Attributes {
        ifindex: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        programs: u64,
        count: u32,
        zero: u32,
        more: [u64; 4],
    }
    let mut programs = [0u32; MOST as usize];
    let mut attributes = Attributes {
        ifindex,
        attach_type: TCX_INGRESS,
        query_flags: 0,
        attach_flags: 0,
        programs: programs.as_mut_ptr() as u64,
        count: MOST,
        zero: 0,
        more: [0; 4],
    };
    call(Command::ProgramQuery, &mut attributes)?;
    Ok(programs.into_iter().take_while(|id| *id != 0).collect())
}

/// Opens a pinned object.
///
/// # Errors
/// The path has no pin, or the kernel's refusal.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    new_descriptor(Command::ObjectGet, &mut PathAttributes::new(&path, 0))
}

/// Pins an object, which may be pinned elsewhere too.
///
/// # Errors
/// The path exists, or the kernel's refusal.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = PathAttributes::new(&path, descriptor(object));
    call(Command::ObjectPin, &mut attributes).map(drop)
}

/// Removes a pinned link; the guard is detached on return, although other pins and descriptors of
/// the link may exist: `run` holds one.
///
/// # Errors
/// The pin cannot be opened or removed, and the guard stays attached; or the kernel's refusal.
pub(crate) fn detach(pin: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        link: u32,
    }
    let link = open_pin(pin)?;
    unpin(pin)?;
    let link = descriptor(link.as_fd());
    call(Command::LinkDetach, &mut Attributes { link }).map(drop)
}

/// Removes a pin. The object lives on by other pins and descriptors.
///
/// # Errors
/// The pin cannot be removed.
pub(crate) fn unpin(pin: &Path) -> io::Result<()> {
    through(Call::Unpin, || fs::remove_file(pin))
}

#[repr(C)]
struct PathAttributes {
    path: u64,
    object: u32,
    flags: u32,
}

impl PathAttributes {
    fn new(path: &CString, object: u32) -> Self {
        Self {
            path: path.as_ptr() as u64,
            object,
            flags: 0,
        }
    }
}

fn descriptor(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Makes a call that returns a new file descriptor, which the kernel makes close-on-exec.
pub(super) fn new_descriptor<A>(command: Command, attributes: &mut A) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and no other value owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes one call; the kernel may write to the attributes as well.
pub(super) fn call<A>(command: Command, attributes: &mut A) -> io::Result<i64> {
    through(command.into(), || {
        // SAFETY: the attributes are the beginning of union bpf_attr for this command, the kernel
        // takes the rest as zeros, and all memory that they point to outlives the call.
        let code = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command as libc::c_long,
                &raw mut *attributes,
                size_of::<A>(),
            )
        };
        match code {
            ..0 => Err(io::Error::last_os_error()),
            code => Ok(code),
        }
    })
}
