//! A neighbour that tries ports of the host without a pause: raw SYNs, and whole connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use etherparse::{SlicedPacket, TransportSlice};
use rustix::event::{PollFd, PollFlags, poll};

use super::command::{eventually, timespec};
use super::frames::{self, Ends};
use super::netns::Netns;
use super::topology::{GHOST, HOST_LAN, HOST_MAC, LAN_MAC, Lab};
use super::transport::Transport;
use super::wire::Wire;

/// Pause between two rounds of SYNs.
const PACE: Duration = Duration::from_millis(2);
/// Longest wait for a connection.
const PATIENCE: Duration = Duration::from_millis(40);
/// Source ports of the SYNs alone.
const SOURCES: std::ops::Range<u16> = 40_000..60_000;
/// Longest wait for the first success of each kind.
const CONTROL: Duration = Duration::from_secs(6);

/// The manner of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A raw SYN, answered by a SYN-ACK.
    Syn,
    /// A connection by an ordinary socket.
    Connection,
}

/// An accepted attempt.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The moment at which the neighbour learned of the success.
    pub at: Instant,
    /// The port.
    pub port: u16,
    /// The manner.
    pub way: Way,
}

/// Attempts until the drop of this value.
#[derive(Debug)]
pub struct Hammer {
    ports: Vec<u16>,
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<Accepted>>>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Hammer {
    /// Begins with these ports of the host, from the LAN.
    ///
    /// The host repeats no SYN-ACK from here on: a repetition would tell of an older SYN.
    pub fn start(lab: &Lab, ports: &[u16]) -> Result<Self> {
        lab.host.sysctl("net/ipv4/tcp_synack_retries", "0")?;
        let mut hammer = Self {
            ports: ports.to_vec(),
            stop: Arc::default(),
            accepted: Arc::default(),
            threads: Vec::new(),
        };
        keep_sources_apart(&lab.lan)?;
        let (sender, watcher) = (Wire::open(&lab.lan, "eth0")?, Wire::open(&lab.lan, "eth0")?);
        let lan = lab.lan.share()?;
        hammer.begin(move |one| one.send_syns(&sender));
        hammer.begin(move |one| one.watch(&watcher));
        hammer.begin(move |one| lan.run(|| one.connect())?);
        Ok(hammer)
    }

    /// Waits until each port has accepted each kind of attempt: the control.
    pub fn expect_open(&self) -> Result<()> {
        let since = Instant::now();
        let open = |port: u16, way: Way| {
            let accepted = self.accepted_since(since);
            accepted
                .iter()
                .any(|one| one.port == port && one.way == way)
        };
        for (port, way) in self
            .ports
            .iter()
            .flat_map(|&port| [(port, Way::Syn), (port, Way::Connection)])
        {
            eventually(CONTROL, || open(port, way).then_some(()))
                .with_context(|| format!("the control: port {port} accepts no {way:?}"))?;
        }
        Ok(())
    }

    /// The attempts accepted since a moment.
    pub fn accepted_since(&self, moment: Instant) -> Vec<Accepted> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        let since = accepted.iter().filter(|one| one.at >= moment);
        since.copied().collect()
    }

    /// The moment of the last accepted attempt.
    pub fn last_accepted(&self) -> Option<Instant> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.iter().map(|one| one.at).max()
    }

    /// Ends the attempts; an error if a thread failed, as silence would prove nothing.
    pub fn stop(mut self) -> Result<()> {
        self.join()
    }

    fn begin(&mut self, work: impl FnOnce(&Worker) -> Result<()> + Send + 'static) {
        let worker = Worker {
            ports: self.ports.clone(),
            stop: Arc::clone(&self.stop),
            accepted: Arc::clone(&self.accepted),
        };
        self.threads.push(std::thread::spawn(move || work(&worker)));
    }

    fn join(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread
                .join()
                .map_err(|_| anyhow!("a thread of the hammer panicked"))?
                .context("the hammer failed")?;
        }
        Ok(())
    }
}

impl Drop for Hammer {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

/// The share of a thread.
struct Worker {
    ports: Vec<u16>,
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<Accepted>>>,
}

impl Worker {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    fn note(&self, port: u16, way: Way) {
        let at = Instant::now();
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.push(Accepted { at, port, way });
    }

    fn send_syns(&self, wire: &Wire) -> Result<()> {
        let ends = Ends::V4(GHOST, HOST_LAN);
        let mut sources = SOURCES.cycle();
        while self.goes_on() {
            for &port in &self.ports {
                let source = sources.next().unwrap_or(SOURCES.start);
                let segment = frames::tcp_syn(ends, source, port);
                let packet = ends.packet(frames::number::TCP, &segment);
                let frame = frames::ethernet(HOST_MAC, LAN_MAC, &[], ends.ethertype(), &packet);
                wire.try_send(&frame)?;
            }
            std::thread::sleep(PACE);
        }
        Ok(())
    }

    fn watch(&self, wire: &Wire) -> Result<()> {
        while self.goes_on() {
            let deadline = Instant::now() + Duration::from_millis(50);
            if let Some(port) = wire.expect(deadline, |frame| self.accepting(frame))? {
                self.note(port, Way::Syn);
            }
        }
        Ok(())
    }

    /// The port that accepts a SYN by this frame.
    fn accepting(&self, frame: &[u8]) -> Option<u16> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let TransportSlice::Tcp(tcp) = packet.transport? else {
            return None;
        };
        let ours =
            self.ports.contains(&tcp.source_port()) && SOURCES.contains(&tcp.destination_port());
        (ours && tcp.syn() && tcp.ack()).then(|| tcp.source_port())
    }

    fn connect(&self) -> Result<()> {
        while self.goes_on() {
            for &port in &self.ports {
                if connects(SocketAddr::from((HOST_LAN, port)))? {
                    self.note(port, Way::Connection);
                }
            }
            std::thread::sleep(PACE);
        }
        Ok(())
    }
}

/// Whether a connection comes about; a reset closes the connection.
fn connects(to: SocketAddr) -> Result<bool> {
    let socket = Transport::Tcp.socket(to)?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(_) => return Ok(false),
    }
    let mut watched = [PollFd::new(&socket, PollFlags::OUT)];
    match poll(&mut watched, Some(&timespec(PATIENCE))) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
        Ok(_) => {}
        Err(error) => return Err(error).context("failed to wait for a connection"),
    }
    let connected = rustix::net::sockopt::socket_error(&socket)?.is_ok();
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    Ok(connected)
}

/// Keeps the neighbour's own connections off the source ports of raw SYNs.
fn keep_sources_apart(namespace: &Netns) -> Result<()> {
    namespace.sysctl("net/ipv4/ip_local_port_range", "20000 39999")
}
