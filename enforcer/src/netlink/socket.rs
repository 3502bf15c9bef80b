//! A netlink socket: requests with replies, and multicast notices.

use std::{io, os::fd::OwnedFd};

use anyhow::{Context as _, Result};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
    netlink::{self, SocketAddrNetlink},
    recvfrom, sendto, socket_with,
};
use tokio::io::unix::AsyncFd;

use super::{
    framing::{self, NLM_F_DUMP, NLM_F_REQUEST, Replies, Reply},
    options,
};
use crate::{
    async_fd,
    failpoint::{Call, through},
};

/// How often a dump is repeated while its subject changes.
pub(crate) const ATTEMPTS: usize = 10;

/// The longest datagram of a dump (`netlink_dump` in net/netlink/af_netlink.c), where the reader's
/// buffer holds as much. Single messages may be longer.
const BUFFER: usize = 32 << 10;

/// A netlink protocol (NETLINK_* of linux/netlink.h).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    /// rtnetlink(7).
    Route,
    /// Generic netlink.
    Generic,
    /// Notices of the kernel's objects, such as modules.
    KobjectUevent,
}

/// A request, and the type of the messages that reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The type of the request.
    pub(crate) kind: u16,
    /// The bytes behind `struct nlmsghdr`.
    pub(crate) body: &'a [u8],
    /// The type of the replies.
    pub(crate) reply: u16,
}

/// The entries of one dump.
#[derive(Debug)]
pub(crate) struct Dump<T> {
    /// The parsed replies.
    pub(crate) entries: Vec<T>,
    /// The subject did not change during the dump.
    pub(crate) is_consistent: bool,
}

/// A netlink socket of the network namespace of the thread that opened the socket (`sock_net`).
pub(crate) struct Socket {
    fd: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
    /// The sequence number of the last request.
    sequence: u32,
}

impl Socket {
    /// Opens a socket for requests.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn open(protocol: Protocol) -> Result<Self> {
        let number = match protocol {
            Protocol::Route => None,
            Protocol::Generic => Some(netlink::GENERIC),
            Protocol::KobjectUevent => Some(netlink::KOBJECT_UEVENT),
        };
        Self::of_number(number).context("failed to open a netlink socket")
    }

    /// Opens a socket for the notices of multicast groups, a mask (`nl_groups` in netlink(7)).
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn listen(protocol: Protocol, groups: u32) -> Result<Self> {
        let socket = Self::open(protocol)?;
        socket.join(groups)?;
        Ok(socket)
    }

    /// As [`Self::open`], for dumps with filters.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn open_strict(protocol: Protocol) -> Result<Self> {
        let socket = Self::open(protocol)?;
        options::check_strictly(socket.fd.get_ref())
            .context("the kernel takes no filters for dumps over netlink")?;
        Ok(socket)
    }

    /// As [`Self::listen`], for the notices that a program of classic BPF keeps.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn listen_filtered(
        protocol: Protocol,
        groups: u32,
        program: &[libc::sock_filter],
    ) -> Result<Self> {
        let socket = Self::open(protocol)?;
        // Before the groups: no notice comes unfiltered.
        options::attach_filter(socket.fd.get_ref(), program)
            .context("failed to filter notices of netlink")?;
        socket.join(groups)?;
        Ok(socket)
    }

    fn join(&self, groups: u32) -> Result<()> {
        // Port id 0: the kernel assigns one. A socket without a port id of its own counts as the
        // kernel's, and gets no notices (do_one_broadcast in net/netlink/af_netlink.c).
        bind(self.fd.get_ref(), &SocketAddrNetlink::new(0, groups))
            .context("failed to join a multicast group of netlink")
    }

    /// Opens a socket of a protocol number; `None` stands for 0, NETLINK_ROUTE.
    pub(super) fn of_number(number: Option<rustix::net::Protocol>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, number)?;
        Ok(Self {
            fd: async_fd::readable(fd)?,
            buffer: vec![0; BUFFER],
            sequence: 0,
        })
    }

    /// Waits for a notice that `counts`, and discards all notices that arrived by then.
    ///
    /// # Errors
    /// As for [`Self::notices`].
    pub(crate) async fn wait_for(&mut self, counts: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        while !self.notices(&counts).await? {}
        Ok(())
    }

    /// Waits for notices, and discards all that arrived by then. Returns whether any of them
    /// `counts`. A cancelled call discards none.
    ///
    /// ENOBUFS counts: the socket's buffer overran, and a lost notice may have counted
    /// (netlink(7)).
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) async fn notices(&mut self, counts: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
        let counted = |received: io::Result<&[u8]>| match received {
            Ok(datagram) => Ok(counts(datagram)),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            Err(error) => Err(error),
        };
        let mut any = counted(self.receive().await)?;
        while let Some(received) = self.receive_now() {
            any |= counted(received)?;
        }
        Ok(any)
    }

    /// Repeats a dump until the subject does not change in between; `None` after [`ATTEMPTS`].
    ///
    /// # Errors
    /// The kernel's refusal, the parser's error, or replies that cannot be read.
    pub(crate) async fn consistent_dump<T>(
        &mut self,
        request: Request<'_>,
        mut parse: impl FnMut(&[u8]) -> Result<Option<T>>,
    ) -> Result<Option<Vec<T>>> {
        for _ in 0..ATTEMPTS {
            let dump = self.dump(request, &mut parse).await?;
            if dump.is_consistent {
                return Ok(Some(dump.entries));
            }
        }
        Ok(None)
    }

    /// Requests all objects of a kind, and returns the replies that `parse` keeps.
    ///
    /// # Errors
    /// As [`Self::consistent_dump`].
    pub(crate) async fn dump<T>(
        &mut self,
        request: Request<'_>,
        mut parse: impl FnMut(&[u8]) -> Result<Option<T>>,
    ) -> Result<Dump<T>> {
        self.send(request, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut entries = Vec::new();
        let mut replies = Replies::to(self.sequence);
        while !replies.is_done {
            let datagram = self.receive().await.context(NO_ANSWER)?;
            replies.read(datagram, request.reply, |payload| {
                entries.extend(parse(payload)?);
                Ok(())
            })?;
        }
        Ok(Dump {
            entries,
            is_consistent: replies.is_consistent,
        })
    }

    /// As [`Self::dump`]; `None` if more than `most` objects come. The socket is of no use then.
    ///
    /// # Errors
    /// As [`Self::consistent_dump`].
    pub(super) async fn dump_up_to<T>(
        &mut self,
        most: usize,
        request: Request<'_>,
        mut parse: impl FnMut(&[u8]) -> Result<Option<T>>,
    ) -> Result<Option<Vec<T>>> {
        self.send(request, NLM_F_REQUEST | NLM_F_DUMP)?;
        let (mut entries, mut number) = (Vec::new(), 0);
        let mut replies = Replies::to(self.sequence);
        while !replies.is_done {
            let datagram = self.receive().await.context(NO_ANSWER)?;
            replies.read(datagram, request.reply, |payload| {
                number += 1;
                entries.extend(parse(payload)?);
                Ok(())
            })?;
            if number > most {
                return Ok(None);
            }
        }
        Ok(Some(entries))
    }

    /// Requests one object, and returns the payload of the reply; `None` where the kernel refuses.
    ///
    /// # Errors
    /// The request cannot be sent, or the reply cannot be read.
    pub(crate) async fn get(&mut self, request: Request<'_>) -> Result<Option<Vec<u8>>> {
        self.send(request, NLM_F_REQUEST)?;
        let sequence = self.sequence;
        loop {
            let datagram = self.receive().await.context(NO_ANSWER)?;
            match framing::first_reply(datagram, sequence, request.reply)? {
                Some(Reply::Payload(payload)) => return Ok(Some(payload.to_vec())),
                Some(Reply::Refused) => return Ok(None),
                None => {}
            }
        }
    }

    fn send(&mut self, request: Request<'_>, flags: u16) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = framing::message(request.kind, flags, self.sequence, request.body)?;
        let kernel = SocketAddrNetlink::new(0, 0);
        // The kernel takes a request within the call: there is nothing to wait for.
        through(Call::Netlink, || -> io::Result<usize> {
            Ok(sendto(&self.fd, &bytes, SendFlags::empty(), &kernel)?)
        })
        .context("the kernel took no question over netlink")?;
        Ok(())
    }

    /// Waits for a datagram of the kernel.
    async fn receive(&mut self) -> io::Result<&[u8]> {
        let length = loop {
            let mut ready = self.fd.readable().await?;
            match ready.try_io(|fd| receive(fd.get_ref(), &mut self.buffer)) {
                Ok(Ok(None)) | Err(_) => {}
                Ok(Ok(Some(length))) => break length,
                Ok(Err(error)) => return Err(error),
            }
        };
        Ok(&self.buffer[..length])
    }

    /// Returns a datagram of the kernel that is there already.
    pub(super) fn receive_now(&mut self) -> Option<io::Result<&[u8]>> {
        loop {
            match receive(self.fd.get_ref(), &mut self.buffer) {
                Ok(None) => {}
                Ok(Some(length)) => return Some(Ok(&self.buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The descriptor.
    #[cfg(test)]
    pub(super) fn fd(&self) -> &OwnedFd {
        self.fd.get_ref()
    }
}

const NO_ANSWER: &str = "the kernel gave no answer over netlink";

/// Takes one datagram, and returns the length; `None` where the sender is not the kernel.
///
/// Any process may write to a netlink socket; the kernel alone has port id 0.
fn receive(fd: &OwnedFd, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    // With MSG_TRUNC the kernel returns the whole length, whatever fits the buffer.
    let (_, length, _) = recvfrom(fd, &mut buffer[..], RecvFlags::PEEK | RecvFlags::TRUNC)?;
    if length > buffer.len() {
        buffer.resize(length, 0);
    }
    let (_, length, sender) = recvfrom(fd, &mut buffer[..], RecvFlags::TRUNC)?;
    if length > buffer.len() {
        return Err(io::Error::other("a datagram of netlink does not fit"));
    }
    let sender = sender.and_then(|address| SocketAddrNetlink::try_from(address).ok());
    Ok(sender
        .is_some_and(|address| address.pid() == 0)
        .then_some(length))
}
