//! Names of interfaces by ifindex, one at a time: SIOCGIFNAME (netdevice(7)).

use std::{
    io,
    mem::zeroed,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::printable;

/// A socket to ask for names, of the network namespace of the thread that opened the socket.
pub(crate) struct InterfaceNames(OwnedFd);

impl InterfaceNames {
    /// Opens a socket. The kernel answers on a socket of any family (`sock_do_ioctl`, net/socket.c).
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
        Ok(Self(socket.context(
            "failed to open a socket to ask for names of interfaces",
        )?))
    }

    /// Returns the present name of an interface, decoded without loss: rustix would refuse bytes
    /// outside UTF-8, which the kernel allows.
    ///
    /// # Errors
    /// No interface has the ifindex.
    pub(crate) fn of(&self, ifindex: u32) -> io::Result<String> {
        // SAFETY: ifreq is plain integers, and zeroes are valid.
        let mut request: libc::ifreq = unsafe { zeroed() };
        request.ifr_ifru.ifru_ifindex = i32::try_from(ifindex).map_err(io::Error::other)?;
        // SAFETY: the kernel reads and writes the request alone, alive until after the call.
        let code = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCGIFNAME, &raw mut request) };
        if code < 0 {
            return Err(io::Error::last_os_error());
        }
        let name = request.ifr_name.map(libc::c_char::to_ne_bytes);
        let name = name.as_flattened();
        let end = name.iter().position(|&byte| byte == 0);
        Ok(printable::decode(&name[..end.unwrap_or(name.len())]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_a_name_and_ifindex_0_has_none() {
        let names = InterfaceNames::open().unwrap();
        assert_eq!(names.of(1).unwrap(), "lo");
        assert!(names.of(0).is_err());
        assert!(names.of(u32::MAX).is_err());
    }
}
