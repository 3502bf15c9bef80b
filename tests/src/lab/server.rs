//! Services: real sockets that answer with a token, so a byte proves who was reached.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};

use super::netns::Netns;
use super::transport::Transport;

/// A service until the drop of this value.
///
/// A stream service sends the token on accept and after every read; a datagram service sends the
/// token back to the sender.
#[derive(Debug)]
pub struct Server {
    tally: Arc<Tally>,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Tally {
    accepted: AtomicUsize,
    received: AtomicUsize,
}

impl Server {
    /// Starts a service on `address` in `namespace`.
    #[track_caller]
    pub fn start(
        namespace: &Netns,
        transport: Transport,
        address: &str,
        token: &str,
    ) -> Result<Self> {
        let address: SocketAddr = address.parse().context("the address of a service")?;
        let bound = namespace.run(|| bind(transport, address))?;
        let socket =
            bound.with_context(|| format!("failed to serve {transport:?} on {address}"))?;
        Self::serve(transport, socket, token)
    }

    /// Starts a TCP proxy's listener for connections to other machines, which a TPROXY rule brings.
    pub fn transparent(namespace: &Netns, address: &str, token: &str) -> Result<Self> {
        let address: SocketAddr = address.parse().context("the address of a proxy")?;
        let bound = namespace.run(|| {
            let socket = Transport::Tcp.socket(address)?;
            super::sockopt::set_transparent(&socket)?;
            rustix::net::bind(&socket, &address)?;
            rustix::net::listen(&socket, 512)?;
            io::Result::Ok(socket)
        })?;
        let socket = bound.context("failed to make a transparent listener")?;
        Self::serve(Transport::Tcp, socket, token)
    }

    /// Starts a UDP service in a multicast group of an interface.
    pub fn multicast(
        namespace: &Netns,
        address: &str,
        group: std::net::IpAddr,
        interface: u32,
        token: &str,
    ) -> Result<Self> {
        let address: SocketAddr = address.parse().context("the address of a service")?;
        let bound = namespace.run(|| bind(Transport::Udp, address))?;
        let socket = UdpSocket::from(bound.context("failed to bind the multicast service")?);
        match group {
            std::net::IpAddr::V4(group) => join_v4(&socket, group, interface),
            std::net::IpAddr::V6(group) => join_v6(&socket, group, interface),
        }
        .context("failed to join the multicast group")?;
        Self::serve(Transport::Udp, socket.into(), token)
    }

    /// Starts a UDP service on a socket connected to a client, deaf to all others.
    pub fn connected_udp(
        namespace: &Netns,
        address: &str,
        client: &str,
        token: &str,
    ) -> Result<Self> {
        let address: SocketAddr = address.parse().context("the address of a service")?;
        let client: SocketAddr = client.parse().context("the address of a client")?;
        let bound = namespace.run(|| bind(Transport::Udp, address))?;
        let socket = bound.context("failed to bind the connected service")?;
        rustix::net::connect(&socket, &client).context("failed to connect the service")?;
        Self::serve(Transport::Udp, socket, token)
    }

    /// Starts a UDP service on a socket that others may use as well.
    pub fn on_datagrams(socket: UdpSocket, token: &str) -> Result<Self> {
        Self::serve(Transport::Udp, socket.into(), token)
    }

    fn serve(transport: Transport, socket: OwnedFd, token: &str) -> Result<Self> {
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let tally = Arc::new(Tally::default());
        let (counts, token) = (Arc::clone(&tally), token.to_owned());
        let thread = std::thread::Builder::new()
            .name(format!("serves {token}"))
            .spawn(move || {
                let served = if transport.is_stream() {
                    serve_streams(&socket.into(), &stopped, &token, &counts)
                } else {
                    serve_datagrams(&socket.into(), &stopped, &token, &counts)
                };
                if let Err(error) = served {
                    eprintln!("service `{token}` failed: {error}");
                }
            })?;
        Ok(Self {
            tally,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.tally.accepted.load(Ordering::SeqCst)
    }

    /// Bytes (of streams) or datagrams received so far.
    pub fn received(&self) -> usize {
        self.tally.received.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The service polls for the closing of the write end.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind(transport: Transport, address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = transport.socket(address)?;
    rustix::net::bind(&socket, &address)?;
    if transport.is_stream() {
        rustix::net::listen(&socket, 512)?;
    }
    Ok(socket)
}

fn join_v4(socket: &UdpSocket, group: Ipv4Addr, interface: u32) -> io::Result<()> {
    rustix::net::sockopt::set_ip_add_membership_with_ifindex(
        socket,
        &group,
        &Ipv4Addr::UNSPECIFIED,
        interface,
    )?;
    Ok(())
}

fn join_v6(socket: &UdpSocket, group: Ipv6Addr, interface: u32) -> io::Result<()> {
    socket.join_multicast_v6(&group, interface)
}

fn serve_streams(
    listener: &TcpListener,
    stopped: &OwnedFd,
    token: &str,
    tally: &Tally,
) -> io::Result<()> {
    let mut open: Vec<TcpStream> = Vec::new();
    loop {
        let mut watched = vec![
            PollFd::new(stopped, PollFlags::IN),
            PollFd::new(listener, PollFlags::IN),
        ];
        watched.extend(open.iter().map(|stream| PollFd::new(stream, PollFlags::IN)));
        wait(&mut watched)?;
        if !watched[0].revents().is_empty() {
            return Ok(());
        }
        let new = !watched[1].revents().is_empty();
        let ready: Vec<bool> = watched[2..]
            .iter()
            .map(|w| !w.revents().is_empty())
            .collect();
        let mut ready = ready.into_iter();
        open.retain_mut(|stream| !ready.next().unwrap_or(false) || converse(stream, token, tally));
        if new && let Ok((mut stream, _)) = listener.accept() {
            tally.accepted.fetch_add(1, Ordering::SeqCst);
            if stream.set_nonblocking(true).is_ok() && stream.write_all(token.as_bytes()).is_ok() {
                open.push(stream);
            }
        }
    }
}

/// A round of a conversation; false at the end.
fn converse(stream: &mut TcpStream, token: &str, tally: &Tally) -> bool {
    match stream.read(&mut [0; 4096]) {
        Ok(0) => false,
        Ok(length) => {
            tally.received.fetch_add(length, Ordering::SeqCst);
            stream.write_all(token.as_bytes()).is_ok()
        }
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

fn serve_datagrams(
    socket: &UdpSocket,
    stopped: &OwnedFd,
    token: &str,
    tally: &Tally,
) -> io::Result<()> {
    loop {
        let mut watched = [
            PollFd::new(stopped, PollFlags::IN),
            PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
        ];
        wait(&mut watched)?;
        if !watched[0].revents().is_empty() {
            return Ok(());
        }
        if let Ok((_, from)) = socket.recv_from(&mut [0; 4096]) {
            tally.received.fetch_add(1, Ordering::SeqCst);
            // Where no way leads back (a forged source) the tally is the proof.
            let _ = socket.send_to(token.as_bytes(), from);
        }
    }
}

fn wait(watched: &mut [PollFd<'_>]) -> io::Result<()> {
    match poll(watched, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
