//! Options of a netlink socket that rustix lacks.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Has the kernel check requests strictly, and obey the filters of a dump, such as one table of
/// routes (NETLINK_GET_STRICT_CHK in netlink(7), Linux 4.20).
///
/// # Errors
/// The kernel's refusal.
pub(super) fn check_strictly(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `length` bytes, an int.
    let code = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_GET_STRICT_CHK,
            (&raw const on).cast(),
            length,
        )
    };
    result(code)
}

/// Attaches a program of classic BPF, which keeps or drops each datagram before the datagram takes
/// room in the socket's buffer or wakes the reader (SO_ATTACH_FILTER in socket(7);
/// `do_one_broadcast` in net/netlink/af_netlink.c).
///
/// # Errors
/// The program is invalid, or the kernel's refusal.
pub(super) fn attach_filter(socket: impl AsFd, program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    let length = libc::socklen_t::try_from(size_of_val(&program)).map_err(io::Error::other)?;
    // SAFETY: the kernel copies `length` bytes, and `len` instructions behind `filter`, which live
    // beyond the call; it writes none of them.
    let code = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    };
    result(code)
}

fn result(code: libc::c_int) -> io::Result<()> {
    match code {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
