//! Socket options that rustix has no name for.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// A plain value of the kernel's interface, without padding that matters.
///
/// # Safety
/// Every byte of a value is initialised.
pub unsafe trait Plain: Sized {}

// SAFETY: an integer has no padding.
unsafe impl Plain for libc::c_int {}
// SAFETY: an array of bytes has no padding.
unsafe impl<const N: usize> Plain for [u8; N] {}

/// Sets an option; the kernel's error if the socket refuses.
pub fn set<T: Plain>(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let socket = socket.as_fd().as_raw_fd();
    let value: *const T = value;
    // SAFETY: the kernel reads `length` initialised bytes of the value, alive until after the call.
    if unsafe { libc::setsockopt(socket, level, name, value.cast(), length) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets a socket take, and answer under, addresses of other machines (ip(7), IP_TRANSPARENT).
pub fn set_transparent(socket: impl AsFd) -> io::Result<()> {
    set(socket, libc::SOL_IP, libc::IP_TRANSPARENT, &1)
}

/// Binds a socket to a device, as `ip vrf exec` does for a whole program (socket(7),
/// SO_BINDTODEVICE). Names of 15 bytes at most.
pub fn bind_to_device(socket: impl AsFd, device: &str) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    let room = libc::IFNAMSIZ - 1;
    for (to, from) in name[..room].iter_mut().zip(device.bytes()) {
        *to = from;
    }
    set(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, &name)
}
