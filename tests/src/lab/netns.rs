//! Network namespaces that exist only as descriptors of this process.
//!
//! No name under `/run/netns` is made: when the process dies, by whatever signal, the kernel
//! removes the namespaces with their interfaces, routes and rules.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// A network namespace, alive as long as this value.
#[derive(Debug)]
pub struct Netns {
    name: &'static str,
    fd: OwnedFd,
}

impl Netns {
    /// Makes a namespace with nothing but a loopback interface, which is down.
    pub fn new(name: &'static str) -> Result<Self> {
        // unshare moves a single thread, so a short-lived thread suffices.
        let fd = thread::scope(|scope| scope.spawn(unshared).join())
            .map_err(|_| anyhow::anyhow!("the thread that makes namespaces panicked"))?
            .with_context(|| format!("failed to make network namespace `{name}`"))?;
        Ok(Self { name, fd })
    }

    /// The namespace in which this process was started: the machine's own.
    pub fn own() -> Result<Self> {
        let file = File::open("/proc/self/ns/net").context("failed to open our own namespace")?;
        Ok(Self {
            name: "own",
            fd: file.into(),
        })
    }

    /// The lab's name for the namespace; the kernel knows none.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Another handle to the same namespace, for a thread that outlives the caller.
    pub fn share(&self) -> Result<Self> {
        Ok(Self {
            name: self.name,
            fd: self.fd.try_clone().context("failed to share a namespace")?,
        })
    }

    /// The inode, different for each namespace.
    pub fn inode(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(&self.fd).context("failed to stat a namespace")?;
        Ok(stat.st_ino)
    }

    /// A path by which other programs can name the namespace (`ip link set eth0 netns PATH`).
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// Runs `work` in the namespace, on a separate thread; sockets made there stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let outcome = thread::scope(|scope| {
            scope
                .spawn(|| enter(self.fd.as_fd()).map(|()| work()))
                .join()
        });
        match outcome {
            Ok(done) => done.with_context(|| format!("failed to enter namespace `{}`", self.name)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Writes a setting, named as by sysctl with slashes (`net/ipv4/ip_forward`).
    pub fn sysctl(&self, setting: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(setting);
        self.run(|| std::fs::write(&path, value))?
            .with_context(|| format!("failed to set {setting} to `{value}` in `{}`", self.name))
    }

    /// Reads a setting in a single read into a large buffer.
    ///
    /// Lists such as `ip_local_reserved_ports` come back cut short when they are read piece by
    /// piece.
    pub fn read_sysctl(&self, setting: &str) -> Result<String> {
        let path = Path::new("/proc/sys").join(setting);
        self.run(|| -> io::Result<String> {
            let mut buffer = vec![0; 1 << 16];
            let length = io::Read::read(&mut File::open(&path)?, &mut buffer)?;
            buffer.truncate(length);
            Ok(String::from_utf8_lossy(&buffer).trim().to_owned())
        })?
        .with_context(|| format!("failed to read {setting} in `{}`", self.name))
    }

    /// The index of an interface in the namespace.
    pub fn ifindex(&self, interface: &str) -> Result<u32> {
        self.run(|| if_nametoindex(interface))?
            .with_context(|| format!("no interface `{interface}` in `{}`", self.name))
    }

    /// Brings an interface up, and returns the moment before.
    ///
    /// The call itself does so, as the start of a program would count.
    pub fn bring_up(&self, interface: &str) -> Result<Instant> {
        self.run(|| bring_up(interface))?
            .with_context(|| format!("failed to bring `{interface}` up in `{}`", self.name))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Moves the calling thread; async-signal-safe, so that the call may stand between fork and exec.
pub(super) fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network)).map_err(Into::into)
}

fn unshared() -> io::Result<OwnedFd> {
    // SAFETY: only the network namespace is left behind; no descriptor table or memory of other
    // threads is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

fn bring_up(interface: &str) -> io::Result<Instant> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: ifreq is plain integers, and zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays NUL, the end of the name.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(interface.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP).map_err(io::Error::other)?;
    let before = Instant::now();
    let request = &raw const request;
    // SAFETY: SIOCSIFFLAGS reads the request, alive until after the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(before)
}

fn if_nametoindex(interface: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    Ok(rustix::net::netdevice::name_to_index(socket, interface)?)
}
