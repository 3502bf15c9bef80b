//! Asking the kernel, in the network namespace of the calling thread.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use rtnetlink::packet_route::neighbour::NeighbourMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};

use super::facts::{Host, Interface};
use super::link::ARPHRD_ETHER;
use super::message::{self, Answers};
use crate::failpoint::{Call, through};

/// How often the kernel may say that its list changed under the question.
const ATTEMPTS: usize = 10;

/// linux/rtnetlink.h.
const RTM_NEWLINK: u16 = 16;
const RTM_NEWNEIGH: u16 = 28;

/// Every interface of the network namespace that the calling thread is in, by ifindex.
///
/// A socket belongs to the namespace of the thread that makes it (`sock_net`): call this from a
/// current_thread runtime, on the thread that entered the namespace. It needs no privileges.
///
/// # Errors
/// Where the kernel does not answer, its answer cannot be read, or the interfaces change so fast
/// that no list is whole: a list with holes would leave interfaces without a guard.
pub async fn list() -> anyhow::Result<Vec<Interface>> {
    let mut socket = Socket::open(NETLINK_ROUTE)
        .context("failed to list the network interfaces: failed to open a netlink socket")?;
    for _ in 0..ATTEMPTS {
        let mut found = BTreeMap::new();
        let whole = socket
            .dump(all_links(), RTM_NEWLINK, |payload| {
                let interface = message::link(payload)?;
                found.insert(interface.index, interface);
                Ok(())
            })
            .await
            .context("failed to list the network interfaces")?;
        if !whole {
            continue;
        }
        if found.values().any(has_own_address_list) {
            let macs = socket.own_macs().await;
            for (index, mac) in macs.context("failed to list the MAC addresses of interfaces")? {
                if let Some(interface) = found.get_mut(&index).filter(|it| has_own_address_list(it))
                {
                    interface.other_macs |= interface.mac != Some(mac);
                }
            }
        }
        return Ok(found.into_values().collect());
    }
    bail!(
        "failed to list the network interfaces: they changed each of the {ATTEMPTS} times that \
         the kernel was asked; try again when fewer of them come and go"
    );
}

/// Whether `other_macs` is a question for this interface.
///
/// Bridges and VXLANs answer with their forwarding table instead. One that is down listens for
/// nothing.
fn has_own_address_list(interface: &Interface) -> bool {
    interface.up
        && !interface.loopback
        && interface.link_type == ARPHRD_ETHER
        && !interface.is_kind("bridge")
        && !interface.is_kind("vxlan")
}

/// What else a plan has to know, read in the network namespace of the calling thread. `tcx` says
/// whether the kernel has it; programs of our own are for the caller to add.
///
/// # Errors
/// Where a setting is there and cannot be read.
pub fn host(tcx: bool) -> anyhow::Result<Host> {
    // The kernel looks these names up in the namespace of the task that opens them
    // (net_ctl_root in net/sysctl_net.c), wherever /proc was mounted.
    let [v4, v6] = settings();
    Ok(Host {
        bridge_nf_call: is_on(&v4)? || is_on(&v6)?,
        tcx,
        ..Host::default()
    })
}

/// The settings that [`host`] reads.
pub fn settings() -> [PathBuf; 2] {
    ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"]
        .map(|name| Path::new("/proc/sys/net/bridge").join(name))
}

/// Whether a setting is not 0; the files are absent while br_netfilter is not loaded.
fn is_on(path: &Path) -> anyhow::Result<bool> {
    match std::fs::read_to_string(path) {
        Ok(value) => Ok(value.trim() != "0"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| {
            format!(
                "failed to read {}, which says whether members of bridges need guards; is /proc \
                 mounted and readable here?",
                path.display()
            )
        }),
    }
}

fn all_links() -> RouteNetlinkMessage {
    let mut question = LinkMessage::default();
    // Counters make up most of an answer.
    question
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    RouteNetlinkMessage::GetLink(question)
}

/// A netlink socket, and what was asked over it.
pub(crate) struct Socket {
    inner: TokioSocket,
    /// The sequence number of the last question.
    sequence: u32,
}

impl Socket {
    /// Opens one of a protocol (NETLINK_* of linux/netlink.h).
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let inner = TokioSocket::new(protocol)?;
        Ok(Self { inner, sequence: 0 })
    }

    /// Joins a multicast group of the protocol.
    pub(crate) fn join(&mut self, group: u32) -> io::Result<()> {
        let socket = self.inner.socket_mut();
        // A socket without an address has the kernel's, 0, to which no notice of the kernel's goes
        // (do_one_broadcast in net/netlink/af_netlink.c).
        socket.bind_auto()?;
        socket.add_membership(group)
    }

    /// Waits until something comes that `counts`, and throws away all that is there by then.
    ///
    /// What overran the socket's buffer came as well, and may have counted: ENOBUFS, netlink(7).
    pub(crate) async fn wait_for(&mut self, counts: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        use futures_util::FutureExt as _;
        let counted = |received: io::Result<(Vec<u8>, SocketAddr)>| match received {
            Ok((datagram, _)) => Ok(counts(&datagram)),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            Err(error) => Err(error),
        };
        loop {
            let mut any = counted(self.inner.recv_from_full().await)?;
            while let Some(received) = self.inner.recv_from_full().now_or_never() {
                any |= counted(received)?;
            }
            if any {
                return Ok(());
            }
        }
    }

    /// Asks for the unicast addresses in `dev->uc` of every interface (`ndo_dflt_fdb_dump` in
    /// net/core/rtnetlink.c). For those of one alone the kernel would have to be told to check
    /// strictly: it answers with all.
    async fn own_macs(&mut self) -> anyhow::Result<Vec<(u32, [u8; 6])>> {
        let mut question = NeighbourMessage::default();
        question.header.family = AddressFamily::Bridge;
        let mut macs = Vec::new();
        self.dump(
            RouteNetlinkMessage::GetNeighbour(question),
            RTM_NEWNEIGH,
            |payload| {
                macs.extend(message::listens_for(payload)?);
                Ok(())
            },
        )
        .await?;
        Ok(macs)
    }

    /// Asks a question and visits the payload of every answer of the type `wanted`. Says whether
    /// the answers fit together: not, if what was asked for changed in between.
    async fn dump(
        &mut self,
        question: RouteNetlinkMessage,
        wanted: u16,
        visit: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        self.sequence += 1;
        let mut request = NetlinkMessage::from(question);
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.ask(&bytes, wanted, visit).await
    }

    /// As [`Self::dump`], of a message that is not rtnetlink's: its type, and what comes after the
    /// `struct nlmsghdr`.
    pub(crate) async fn dump_other(
        &mut self,
        kind: u16,
        body: &[u8],
        wanted: u16,
        visit: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        self.sequence += 1;
        let length = u32::try_from(16 + body.len()).context("a question is too long")?;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        self.ask(&bytes, wanted, visit).await
    }

    async fn ask(
        &mut self,
        question: &[u8],
        wanted: u16,
        mut visit: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let unasked = "the kernel took no question over netlink";
        through(Call::Netlink, || io::Result::Ok(())).context(unasked)?;
        self.inner
            .send_to(question, &SocketAddr::new(0, 0))
            .await
            .context(unasked)?;
        let mut answers = Answers::to(self.sequence);
        while !answers.done {
            let (datagram, from) = self
                .inner
                .recv_from_full()
                .await
                .context("the kernel gave no answer over netlink")?;
            // Any process may write to a netlink socket; the kernel is port 0.
            if from.port_number() == 0 {
                answers.read(&datagram, wanted, &mut visit)?;
            }
        }
        Ok(answers.whole)
    }
}
