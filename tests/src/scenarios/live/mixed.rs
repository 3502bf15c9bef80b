//! One generation at a time: no stream of packets shows half of one policy and half of another.
//!
//! Two services are open in turns: under the first policy the first, under the second the second.
//! So the fate of every packet to either service tells the policy in force. A stream of packets
//! that a processor handles in order must show a change for each switch, and no more: were the two
//! services ever open together, or closed together, packets to them in turns would tell of a change
//! each.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::lab::command::eventually;
use crate::lab::enforcer::SETTLE;
use crate::lab::frames::{self, Ends, number};
use crate::lab::topology::{GHOST, HOST_LAN, HOST_MAC, LAN_MAC, Lab};
use crate::lab::wire::Wire;
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};

use super::timing::{figure, within};

/// The two services.
const PORTS: [u16; 2] = [7001, 7002];
/// Upper bound of a stream's packets.
const MOST: u64 = 4_000_000;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("live::mixed_generations", |rig| mixed(rig, 200)).host_only(LOADER)]
}

/// A policy in which a single service is open, or none.
fn policy(open: Option<usize>) -> String {
    let service = |index: usize, name: &str| {
        let public = if open == Some(index) {
            "public = true\n"
        } else {
            ""
        };
        format!(
            "[services.{name}]\nports = [{}]\nprotocol = \"udp\"\n{public}",
            PORTS[index]
        )
    };
    // A service that stays public: removing the last public port takes `--force`.
    let third = "[services.third]\nports = [7003]\npublic = true\n";
    service(0, "first") + &service(1, "second") + third
}

fn mixed(rig: &Rig<'_>, switches: usize) -> Result<()> {
    half_a_policy_shows(rig)?;
    rig.enforcer.registry(&policy(Some(0)))?;
    let _run = rig.enforcer.run(&[])?;
    let start = Instant::now();
    let streams = Streams::during(rig.lab, |streams| {
        for number in 1..=switches {
            let open = number % 2;
            rig.enforcer.registry(&policy(Some(open)))?;
            if number % 10 == 0 {
                within(SETTLE, "an edit in force", || is_open(rig, open))?;
            } else {
                rig.enforcer.reload()?;
            }
            streams.go_on_for(20)?;
        }
        Ok(())
    })?;
    let took = start.elapsed();
    for (number, stream) in streams.iter().enumerate() {
        figure(
            "mixed_generations",
            &format!(
                "stream {number}: {} packets, {switches} switches in {took:.1?}, {} changes seen",
                stream.passed.len(),
                stream.changes()
            ),
        );
    }
    let counters = rig.enforcer.counters()?;
    let judged: u64 = counters
        .0
        .iter()
        .filter(|row| row.guard == "wire" && row.port.is_some_and(|port| PORTS.contains(&port)))
        .map(|row| row.packets)
        .sum();
    let sent: usize = streams.iter().map(|stream| stream.passed.len()).sum();
    ensure!(
        judged == u64::try_from(sent)?,
        "{sent} packets were sent and {judged} judged: the lab has lost some"
    );
    for stream in &streams {
        ensure!(
            stream.changes() == switches,
            "{switches} switches, but {} changes: {}",
            stream.changes(),
            stream.around_changes()
        );
    }
    Ok(())
}

/// The control: a step with neither service open is how half a policy would look.
fn half_a_policy_shows(rig: &Rig<'_>) -> Result<()> {
    rig.enforcer.registry(&policy(Some(0)))?;
    let run = rig.enforcer.run(&[])?;
    let halved = Streams::during(rig.lab, |streams| {
        for open in [None, Some(1)] {
            rig.enforcer.registry(&policy(open))?;
            rig.enforcer.reload()?;
            streams.go_on_for(200)?;
        }
        Ok(())
    })?;
    let seen: Vec<usize> = halved.iter().map(Stream::changes).collect();
    ensure!(
        seen.iter().all(|&seen| seen > 100),
        "half a policy goes unnoticed: {seen:?} changes"
    );
    drop(run);
    rig.enforcer.down()
}

fn is_open(rig: &Rig<'_>, index: usize) -> Result<bool> {
    let port = PORTS[index].to_string();
    let packet = [
        "--interface",
        "eth0",
        "--source",
        "192.168.77.50",
        "--protocol",
        "udp",
        "--port",
        &port,
    ];
    Ok(rig.enforcer.explain(&packet)?.verdict == "pass")
}

/// Fate of the packets of a stream: even ones went to the first service, odd ones to the second.
#[derive(Debug)]
struct Stream {
    passed: Vec<bool>,
}

impl Stream {
    /// The policy that each packet tells of.
    fn policies(&self) -> impl Iterator<Item = usize> {
        let packets = self.passed.iter().enumerate();
        packets.map(|(number, &passed)| if passed { number % 2 } else { 1 - number % 2 })
    }

    /// Number of policy changes along the stream.
    fn changes(&self) -> usize {
        let next = self.policies().skip(1);
        self.policies().zip(next).filter(|(a, b)| a != b).count()
    }

    /// The packets around the first changes that follow each other too closely, for a message.
    fn around_changes(&self) -> String {
        let policies: Vec<usize> = self.policies().collect();
        let changes: Vec<usize> = (1..policies.len())
            .filter(|&at| policies[at] != policies[at - 1])
            .collect();
        let near = changes.windows(2).find(|pair| pair[1] - pair[0] < 10);
        match near {
            Some(pair) => {
                let range = pair[0].saturating_sub(5)..(pair[1] + 5).min(policies.len());
                format!(
                    "from packet {}: {:?}",
                    range.start,
                    &policies[range.clone()]
                )
            }
            None => format!("at {changes:?}"),
        }
    }
}

/// Two streams, each from a separate processor.
struct Streams {
    stop: AtomicBool,
    sent: [AtomicU64; 2],
}

impl Streams {
    /// Sends while `during` runs, and returns the fate of every packet.
    fn during(lab: &Lab, during: impl FnOnce(&Self) -> Result<()>) -> Result<[Stream; 2]> {
        let streams = Self {
            stop: AtomicBool::new(false),
            sent: [AtomicU64::new(0), AtomicU64::new(0)],
        };
        let receivers = [
            Receiver::open(lab, PORTS[0])?,
            Receiver::open(lab, PORTS[1])?,
        ];
        let sender = |number: usize| {
            let wire = Wire::open(&lab.lan, "eth0");
            let streams = &streams;
            move || streams.send(number, &wire?)
        };
        let outcome = thread::scope(|scope| -> Result<()> {
            let senders = [scope.spawn(sender(0)), scope.spawn(sender(1))];
            let outcome = during(&streams);
            streams.stop.store(true, Ordering::SeqCst);
            for sender in senders {
                sender.join().map_err(|_| anyhow!("a stream panicked"))??;
            }
            outcome
        });
        // Passed packets are in the sockets' buffers by now.
        let heard: Vec<Vec<(usize, u64)>> = receivers
            .into_iter()
            .map(Receiver::close)
            .collect::<Result<_>>()?;
        outcome?;
        let mut made = streams.sent.map(|sent| {
            let sent = usize::try_from(sent.into_inner()).unwrap_or(0);
            Stream {
                passed: vec![false; sent],
            }
        });
        for (stream, packet) in heard.into_iter().flatten() {
            let place = usize::try_from(packet)?;
            let passed = made[stream].passed.get_mut(place);
            *passed.context("a packet that nobody sent")? = true;
        }
        Ok(made)
    }

    fn send(&self, stream: usize, wire: &Wire) -> Result<()> {
        on_processor(stream)?;
        let source = 41_000 + u16::try_from(stream)?;
        let ends = Ends::V4(GHOST, HOST_LAN);
        let mut packet = 0u64;
        while !self.stop.load(Ordering::SeqCst) && packet < MOST {
            for _ in 0..50 {
                let port = PORTS[usize::from(packet % 2 == 1)];
                let datagram = frames::udp(ends, source, port, &packet.to_be_bytes());
                let ip = ends.packet(number::UDP, &datagram);
                wire.send(&frames::ethernet(
                    HOST_MAC,
                    LAN_MAC,
                    &[],
                    ends.ethertype(),
                    &ip,
                ))?;
                packet += 1;
            }
            self.sent[stream].store(packet, Ordering::SeqCst);
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Waits until each stream is this many packets further on.
    fn go_on_for(&self, more: u64) -> Result<()> {
        for sent in &self.sent {
            let goal = sent.load(Ordering::SeqCst) + more;
            let reached = || (sent.load(Ordering::SeqCst) >= goal).then_some(());
            eventually(SETTLE * 2, reached).context("a stream dried up")?;
        }
        Ok(())
    }
}

/// Pins the calling thread to a processor, which handles a stream in order.
fn on_processor(number: usize) -> Result<()> {
    let count = thread::available_parallelism().map_or(1, usize::from);
    let mut set = rustix::thread::CpuSet::new();
    set.set(number % count);
    rustix::thread::sched_setaffinity(None, &set).context("failed to stay on a processor")
}

/// A service that records its packets.
struct Receiver {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<Vec<(usize, u64)>>>,
}

impl Receiver {
    fn open(lab: &Lab, port: u16) -> Result<Self> {
        let socket = lab.host.run(|| UdpSocket::bind(("0.0.0.0", port)))??;
        // Room for all packets that may come while this thread waits for its turn.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut heard = Vec::new();
            let mut payload = [0; 8];
            loop {
                match socket.recv_from(&mut payload) {
                    Ok((8, from)) => {
                        let stream = usize::from(from.port() - 41_000);
                        heard.push((stream, u64::from_be_bytes(payload)));
                    }
                    Ok(_) => {}
                    Err(_) if stopped.load(Ordering::SeqCst) => return Ok(heard),
                    Err(_) => {}
                }
            }
        });
        Ok(Self { stop, thread })
    }

    /// The stream and the number of each packet.
    fn close(self) -> Result<Vec<(usize, u64)>> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("an ear panicked"))?
    }
}

#[cfg(test)]
mod tests {
    use super::Stream;

    fn changes(passed: &[u8]) -> usize {
        let passed = passed.iter().map(|&bit| bit == 1).collect();
        Stream { passed }.changes()
    }

    #[test]
    fn a_switch_is_one_change() {
        assert_eq!(changes(&[1, 0, 1, 0, 0, 1, 0, 1]), 1);
        assert_eq!(changes(&[1, 0, 1, 1, 0, 1, 0, 1]), 1);
    }

    #[test]
    fn half_a_policy_is_more() {
        assert!(changes(&[1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1]) > 1);
        assert!(changes(&[1, 0, 1, 0, 1, 1, 1, 1, 0, 1]) > 1);
    }
}
