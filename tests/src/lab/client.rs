//! Clients, and the outcome of their attempts to reach a service.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::command::timespec;
use super::netns::Netns;
use super::transport::Transport;

/// Outcome of an attempt to reach a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service itself was heard: the token.
    Answered(String),
    /// A reset or an ICMP error came back.
    Refused,
    /// Nothing came back within the patience.
    Silent,
}

impl Outcome {
    /// Whether the service was reached.
    pub fn reached(&self) -> bool {
        matches!(self, Self::Answered(_))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered(token) => write!(f, "answered by {token}"),
            Self::Refused => f.write_str("refused"),
            Self::Silent => f.write_str("silence"),
        }
    }
}

/// How long to wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Silence is expected: one packet, and a short window. The drop counter tells the rest.
    Brief,
    /// An answer is expected: as long as a loaded machine may need, with repeats.
    Long,
}

impl Patience {
    /// The longest wait.
    pub fn limit(self) -> Duration {
        match self {
            Self::Brief => Duration::from_millis(400),
            Self::Long => Duration::from_secs(6),
        }
    }
}

/// One attempt to reach a service with ordinary sockets.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    transport: Transport,
    to: SocketAddr,
    from: Option<SocketAddr>,
    interface: Option<u32>,
    request: Option<&'static [u8]>,
}

impl Ask {
    /// Asks the service at `to`.
    #[track_caller]
    pub fn new(transport: Transport, to: &str) -> Self {
        Self {
            transport,
            to: address(to),
            from: None,
            interface: None,
            request: None,
        }
    }

    /// Asks a TCP service that speaks only when spoken to.
    #[track_caller]
    pub fn command(to: &str, request: &'static [u8]) -> Self {
        Self {
            request: Some(request),
            ..Self::new(Transport::Tcp, to)
        }
    }

    /// Sets the source address (port 0: any).
    #[track_caller]
    pub fn from(mut self, from: &str) -> Self {
        self.from = Some(address(from));
        self
    }

    /// Sends multicast out of this interface.
    pub fn through(mut self, interface: u32) -> Self {
        self.interface = Some(interface);
        self
    }

    /// Makes the attempt from a namespace.
    pub fn ask(self, namespace: &Netns, patience: Patience) -> Result<Outcome> {
        let deadline = Instant::now() + patience.limit();
        let socket = namespace
            .run(|| self.socket())?
            .with_context(|| format!("failed to make a {:?} socket", self.transport))?;
        if self.transport.is_stream() {
            self.converse(socket, deadline)
        } else {
            self.exchange(&socket.into(), deadline)
        }
        .with_context(|| format!("failed to ask {} over {:?}", self.to, self.transport))
    }

    fn socket(&self) -> io::Result<OwnedFd> {
        let socket = self.transport.socket(self.to)?;
        if let Some(from) = self.from {
            rustix::net::bind(&socket, &from)?;
        }
        match (self.interface, self.to) {
            (Some(interface), SocketAddr::V4(_)) => {
                rustix::net::sockopt::set_ip_multicast_if_with_ifindex(
                    &socket,
                    &std::net::Ipv4Addr::UNSPECIFIED,
                    &std::net::Ipv4Addr::UNSPECIFIED,
                    interface,
                )?;
            }
            (Some(interface), SocketAddr::V6(_)) => {
                rustix::net::sockopt::set_ipv6_multicast_if(&socket, interface)?;
            }
            (None, _) => {}
        }
        Ok(socket)
    }

    fn converse(&self, socket: OwnedFd, deadline: Instant) -> io::Result<Outcome> {
        let stream = match connected(socket, self.to, deadline)? {
            Ok(stream) => stream,
            Err(outcome) => return Ok(outcome),
        };
        if let Some(request) = self.request {
            io::Write::write_all(&mut &stream, request)?;
        }
        heard(&stream, deadline)
    }

    fn exchange(&self, socket: &UdpSocket, deadline: Instant) -> io::Result<Outcome> {
        // Unconnected, so that an answer from another address (broadcast, multicast) is heard too.
        let again = Duration::from_millis(500);
        loop {
            match socket.send_to(b"hello", self.to) {
                Ok(_) => {}
                Err(error) if is_refusal(&error) => return Ok(Outcome::Refused),
                Err(error) => return Err(error),
            }
            if readable(socket, deadline.min(Instant::now() + again), PollFlags::IN)? {
                let mut buffer = [0; 256];
                return match socket.recv_from(&mut buffer) {
                    Ok((length, _)) => Ok(Outcome::Answered(text(&buffer[..length]))),
                    Err(error) if is_refusal(&error) => Ok(Outcome::Refused),
                    Err(error) => Err(error),
                };
            }
            if Instant::now() >= deadline {
                return Ok(Outcome::Silent);
            }
        }
    }
}

/// A connection that stays open between two questions.
#[derive(Debug)]
pub struct Conversation(TcpStream);

impl Conversation {
    /// Connects and hears the service's token.
    #[track_caller]
    pub fn open(namespace: &Netns, to: &str) -> Result<Self> {
        let to = address(to);
        let deadline = Instant::now() + Patience::Long.limit();
        let socket = namespace.run(|| Transport::Tcp.socket(to))??;
        let stream = connected(socket, to, deadline)?
            .map_err(|outcome| anyhow::anyhow!("no connection to {to}: {outcome}"))?;
        let conversation = Self(stream);
        match heard(&conversation.0, deadline)? {
            Outcome::Answered(_) => Ok(conversation),
            other => anyhow::bail!("connected to {to}, but heard {other}"),
        }
    }

    /// Sends more data and returns the number of bytes; [`super::Server::received`] tells how many
    /// arrived.
    ///
    /// Answers would not tell the sendings apart: TCP repeats dropped data, and the service answers
    /// late, once the guard is gone.
    pub fn say_more(&mut self) -> Result<usize> {
        const MORE: &[u8] = b"more";
        io::Write::write_all(&mut self.0, MORE).context("failed to send more data")?;
        Ok(MORE.len())
    }

    /// Listens without sending.
    pub fn listen(&mut self, patience: Patience) -> Result<Outcome> {
        heard(&self.0, Instant::now() + patience.limit()).context("failed to listen")
    }

    /// The local port that the kernel chose.
    pub fn local_port(&self) -> Result<u16> {
        Ok(self.0.local_addr()?.port())
    }

    /// Closes with a reset, so that no TIME_WAIT keeps the port.
    pub fn reset(self) -> Result<()> {
        rustix::net::sockopt::set_socket_linger(&self.0, Some(Duration::ZERO))?;
        Ok(())
    }
}

fn connected(
    socket: OwnedFd,
    to: SocketAddr,
    deadline: Instant,
) -> io::Result<Result<TcpStream, Outcome>> {
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) if is_refusal(&error.into()) => return Ok(Err(Outcome::Refused)),
        Err(error) => return Err(error.into()),
    }
    if !readable(&socket, deadline, PollFlags::OUT)? {
        return Ok(Err(Outcome::Silent));
    }
    let stream = TcpStream::from(socket);
    match stream.take_error()? {
        None => Ok(Ok(stream)),
        Some(error) if is_refusal(&error) => Ok(Err(Outcome::Refused)),
        Some(error) if error.kind() == io::ErrorKind::TimedOut => Ok(Err(Outcome::Silent)),
        Some(error) => Err(error),
    }
}

fn heard(mut stream: &TcpStream, deadline: Instant) -> io::Result<Outcome> {
    if !readable(stream, deadline, PollFlags::IN)? {
        return Ok(Outcome::Silent);
    }
    let mut buffer = [0; 256];
    match stream.read(&mut buffer) {
        Ok(0) => Ok(Outcome::Refused),
        Ok(length) => Ok(Outcome::Answered(text(&buffer[..length]))),
        Err(error) if is_refusal(&error) => Ok(Outcome::Refused),
        Err(error) => Err(error),
    }
}

fn readable(fd: impl AsFd, deadline: Instant, flags: PollFlags) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut watched = [PollFd::from_borrowed_fd(fd.as_fd(), flags)];
        match poll(&mut watched, Some(&timespec(left))) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A reset, or an ICMP error of any kind.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable
    ) || matches!(
        Errno::from_io_error(error),
        Some(Errno::NOPROTOOPT | Errno::ACCESS)
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn address(text: &str) -> SocketAddr {
    match text.parse() {
        Ok(address) => address,
        Err(error) => panic!("`{text}` is no socket address: {error}"),
    }
}
