//! Interfaces that come, go or change.

use anyhow::{Context as _, Result};

use crate::interfaces::Socket;

/// linux/rtnetlink.h: the multicast group of RTM_NEWLINK and RTM_DELLINK.
const RTNLGRP_LINK: u32 = 1;
/// linux/netlink.h.
const NETLINK_ROUTE: isize = 0;

/// The notices of rtnetlink, in the network namespace of the thread that opened them.
pub struct Links(Socket);

impl Links {
    /// Listens from now on.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::open(NETLINK_ROUTE).context("failed to open a netlink socket")?;
        socket
            .join(RTNLGRP_LINK)
            .context("failed to listen for changes of interfaces")?;
        Ok(Self(socket))
    }

    /// Waits for a change, and takes all that came with it.
    ///
    /// # Errors
    /// The kernel's refusal. A buffer that overran is a change.
    pub async fn changed(&mut self) -> Result<()> {
        let what = "failed to wait for changes of interfaces";
        self.0.wait().await.context(what)
    }
}
