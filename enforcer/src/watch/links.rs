//! Interfaces that come, go or change, and a module that changes what bridges do.

use anyhow::{Context as _, Result};

use crate::netlink::{Protocol, Socket};

/// linux/rtnetlink.h: the multicast group of RTM_NEWLINK and RTM_DELLINK, as a mask.
const RTMGRP_LINK: u32 = 1;
/// The kernel's own group of uevents, as a mask; udev's is 2 (systemd, src/libsystemd/sd-device).
const UEVENT_KERNEL: u32 = 1;
/// How a message begins that says that br_netfilter is loaded (lib/kobject_uevent.c).
const BR_NETFILTER: &[u8] = b"add@/module/br_netfilter\0";

/// The notices of rtnetlink, in the network namespace of the thread that opened them.
pub struct Links(Socket);

impl Links {
    /// Listens from now on.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn open() -> Result<Self> {
        let socket = Socket::listen(Protocol::Route, RTMGRP_LINK);
        Ok(Self(
            socket.context("failed to listen for changes of interfaces")?,
        ))
    }

    /// Waits for a change, and takes all that came with it.
    ///
    /// # Errors
    /// The kernel's refusal. A buffer that overran is a change.
    pub async fn changed(&mut self) -> Result<()> {
        let what = "failed to wait for changes of interfaces";
        self.0.wait_for(|_| true).await.context(what)
    }
}

/// The kernel's word that br_netfilter is loaded, with which a bridge's members need guards. Its
/// settings, which say so as well, are not there before, and a loaded module is no change of an
/// interface.
pub struct Modules(Socket);

impl Modules {
    /// Listens from now on.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn open() -> Result<Self> {
        let socket = Socket::listen(Protocol::KobjectUevent, UEVENT_KERNEL);
        Ok(Self(socket.context("failed to listen for modules")?))
    }

    /// Waits until it is loaded.
    ///
    /// # Errors
    /// The kernel's refusal. A buffer that overran may have lost it.
    pub async fn changed(&mut self) -> Result<()> {
        let waited = self.0.wait_for(|text| text.starts_with(BR_NETFILTER)).await;
        waited.context("failed to wait for modules")
    }
}
