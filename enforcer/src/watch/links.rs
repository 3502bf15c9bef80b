//! Changes of interfaces and of what the host takes for its own, and the load of br_netfilter, which
//! changes the path through bridges.

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep_until};

use super::{Watch, pace::Pace};
use crate::netlink::{Protocol, Socket, local, may_be_up};

/// linux/rtnetlink.h: the multicast group of RTM_NEWLINK and RTM_DELLINK, as a mask.
const RTMGRP_LINK: u32 = 1;
/// The kernel's own group of uevents, as a mask; udev's is 2 (systemd, src/libsystemd/sd-device).
const UEVENT_KERNEL: u32 = 1;
/// The start of the message about the load of br_netfilter (lib/kobject_uevent.c).
const BR_NETFILTER: &[u8] = b"add@/module/br_netfilter\0";

/// Notifications of rtnetlink, for the network namespace of the opening thread.
pub struct Links {
    socket: Socket,
    /// Notices of local routes, and of MACs that bridges take.
    own: Socket,
    pace: Pace,
    /// A change without a look so far: whether an interface may have come up.
    pending: Option<bool>,
}

impl Links {
    /// Starts to listen.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn open() -> Result<Self> {
        let socket = Socket::listen(Protocol::Route, RTMGRP_LINK);
        Ok(Self {
            socket: socket.context("failed to listen for changes of interfaces")?,
            own: local::listen().context("failed to listen for changes of own addresses")?,
            pace: Pace::new(Instant::now()),
            pending: None,
        })
    }

    /// Waits for a change, and then for the time of a look.
    async fn next_look(&mut self) -> std::io::Result<()> {
        loop {
            let now = Instant::now();
            let due = self.pending.map(|up| self.pace.next_look(now, up));
            if due.is_some_and(|due| due <= now) {
                return Ok(());
            }
            let may_be_up = tokio::select! {
                found = self.socket.notices(may_be_up) => found?,
                // The guards take a new address for another host's until they know the address.
                found = self.own.notices(|_| true) => found?,
                () = until(due) => false,
            };
            self.pending = Some(may_be_up || self.pending == Some(true));
        }
    }
}

/// Waits until a time; for ever without a time.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Watch for Links {
    /// Waits for a change, and drains all queued notifications. An overrun buffer counts as a
    /// change. Many changes in a short time are told together, see `Pace`.
    async fn changed(&mut self) -> Result<()> {
        let what = "failed to wait for changes of interfaces";
        self.next_look().await.context(what)?;
        self.pending = None;
        self.pace.look(Instant::now());
        Ok(())
    }
}

/// Notifications of the load of br_netfilter, after which a bridge's members need guards. The
/// module's sysctls do not exist before, so no watch can be set on them, and the load changes no
/// interface.
pub struct Modules(Socket);

impl Modules {
    /// Starts to listen.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn open() -> Result<Self> {
        let socket = Socket::listen(Protocol::KobjectUevent, UEVENT_KERNEL);
        Ok(Self(socket.context("failed to listen for modules")?))
    }
}

impl Watch for Modules {
    /// Waits for the load of the module. An overrun buffer counts as the event, which may be lost.
    async fn changed(&mut self) -> Result<()> {
        let waited = self.0.wait_for(|text| text.starts_with(BR_NETFILTER)).await;
        waited.context("failed to wait for modules")
    }
}
