//! Taps and tuns: the ends of virtual machines and VPN programs at the host's stack.
//!
//! Source: Documentation/networking/tuntap.rst of Linux.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};

use super::command::timespec;
use super::netns::Netns;

/// Packet information before each packet: two bytes of flags, and the EtherType.
const INFORMATION: usize = 4;
/// The room of both addresses of an Ethernet header.
const ADDRESSES: usize = 12;

/// Kinds of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole Ethernet frames.
    Tap,
    /// IP packets behind packet information, whose EtherType the writer chooses.
    TunWithInformation,
    /// Bare IP packets, as VPN programs write them.
    Tun,
}

/// The program's end of a device, which is gone with this value.
#[derive(Debug)]
pub struct Tun {
    file: File,
    kind: Kind,
}

impl Tun {
    /// Makes a device of this name, down and without addresses.
    pub fn new(namespace: &Netns, name: &str, kind: Kind) -> Result<Self> {
        let file = namespace
            .run(|| attached(name, kind))?
            .with_context(|| format!("failed to make the {kind:?} device {name}"))?;
        Ok(Self { file, kind })
    }

    /// Writes a packet as the device takes packets.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        (&self.file)
            .write_all(packet)
            .context("failed to write to a tun or tap")
    }

    /// The first value that `wanted` makes of a packet until `deadline`, seen as an Ethernet frame.
    pub fn expect<T>(
        &self,
        deadline: Instant,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut watched = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut watched, Some(&timespec(left))) {
                Ok(0) => return Ok(None),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("failed to wait for a packet"),
            }
            match (&self.file).read(&mut buffer) {
                Ok(length) => {
                    if let Some(found) = wanted(&self.as_frame(&buffer[..length])) {
                        return Ok(Some(found));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("failed to read a packet"),
            }
        }
    }

    fn as_frame(&self, packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; ADDRESSES];
        match self.kind {
            Kind::Tap => return packet.to_vec(),
            Kind::TunWithInformation => frame.extend(packet.get(INFORMATION - 2..).unwrap_or(&[])),
            Kind::Tun => {
                let is_v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
                let kind = if is_v6 {
                    super::frames::IPV6
                } else {
                    super::frames::IPV4
                };
                frame.extend(kind.to_be_bytes());
                frame.extend(packet);
            }
        }
        frame
    }
}

fn attached(name: &str, kind: Kind) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    // SAFETY: ifreq is plain integers, and zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays NUL, the end of the name.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = match kind {
        Kind::Tap => libc::IFF_TAP | libc::IFF_NO_PI,
        Kind::TunWithInformation => libc::IFF_TUN,
        Kind::Tun => libc::IFF_TUN | libc::IFF_NO_PI,
    };
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    let request = &raw mut request;
    // SAFETY: TUNSETIFF reads and writes the request, alive until after the call.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}
