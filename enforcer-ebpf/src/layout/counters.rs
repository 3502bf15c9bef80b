//! The cells of a slot, each a counter for a guard and a reason.

use crate::{
    decision::{NETWORK_SLOT, NO_SLOT},
    words::{Guard, Reason, Verdict},
};

/// A counter: per CPU, never reset while the slot is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Count {
    /// Packets as the hook sees them; after receive offload a packet may be many segments.
    pub packets: u64,
    /// Bytes as the hook sees them: with the link-layer header on the wire, without at a socket.
    pub bytes: u64,
}

/// Cells of a slot for the wire guard.
const WIRE_CELLS: usize = 9;
/// Cells of a slot for the socket guard, which drops no loopback addresses.
const SOCKET_CELLS: usize = 7;
/// Cells of a slot.
pub const CELLS: usize = WIRE_CELLS + SOCKET_CELLS;

/// `COUNTERS[slot]`, per CPU: a count for each guard and reason, audited drops apart.
pub type Cells = [Count; CELLS];

/// The key of a cell within a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The guard.
    pub guard: Guard,
    /// The reason.
    pub reason: Reason,
    /// Whether the drop was audited.
    pub audited: bool,
}

impl Cell {
    /// The index of the cell in its slot, `None` for a reason that is never counted.
    ///
    /// The fixed slots use the same indices for the reasons without a registered port.
    #[inline(always)]
    pub const fn index(self) -> Option<usize> {
        let audited = self.audited as usize;
        let cell = match self.reason {
            Reason::Loopback => 0,
            Reason::Public => 1,
            Reason::Peer => 2,
            Reason::UnknownPeer => 3 + audited,
            Reason::UntrustedInterface
            | Reason::ContainerNetwork
            | Reason::UnregisteredPort
            | Reason::Malformed => 5 + audited,
            Reason::LoopbackAddress => 7 + audited,
            Reason::HeaderChain => audited,
            Reason::Unregistered
            | Reason::Forwarded
            | Reason::Fragment
            | Reason::Tagged
            | Reason::OtherProtocol => return None,
        };
        match self.guard {
            Guard::Wire => Some(cell),
            Guard::Socket if cell < SOCKET_CELLS => Some(cell + WIRE_CELLS),
            Guard::Socket => None,
        }
    }

    /// The cells of a slot.
    pub fn of_slot(slot: u16) -> impl Iterator<Item = Self> {
        let reasons: &[Reason] = match slot {
            NO_SLOT => &[
                Reason::LoopbackAddress,
                Reason::UnknownPeer,
                Reason::HeaderChain,
                Reason::Malformed,
            ],
            NETWORK_SLOT => &[Reason::ContainerNetwork, Reason::Peer],
            1..NETWORK_SLOT => &[Reason::UnregisteredPort, Reason::Peer],
            _ => &[
                Reason::Loopback,
                Reason::LoopbackAddress,
                Reason::Public,
                Reason::Peer,
                Reason::UnknownPeer,
                Reason::UntrustedInterface,
            ],
        };
        Guard::ALL.into_iter().flat_map(move |guard| {
            reasons.iter().flat_map(move |&reason| {
                let both = matches!(reason.verdict(), Verdict::Drop);
                [false, true]
                    .into_iter()
                    .take(1 + usize::from(both))
                    .map(move |audited| Self {
                        guard,
                        reason,
                        audited,
                    })
                    .filter(|cell| cell.index().is_some())
            })
        })
    }
}
