//! `explain --live`: the wire guard's program runs on the described packet, with copies of the maps,
//! so that counters and events stay true.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use enforcer_ebpf::{Decision, FIRST_PORT_SLOT, Guard, Link, Reason, Verdict, layout::Cell};

use crate::{
    control::{Error, Instance, check_privileges},
    host::HostSnapshot,
    interfaces::{Hook, Interface},
    kernel::{
        links,
        load::{Options, wire_program},
        sandbox::Sandbox,
        test_run::{self, Arrival},
    },
    netlink::address,
    policy::{Frame, PacketSpec, PolicyTables},
    printable::decode_path,
};

/// A copy of the policy in force, in an object of its own with programs for the copy.
pub(super) struct Copies(Sandbox);

/// The result of `--live`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// No program was run, for this reason.
    NotRun(String),
    /// The guard's program judged the packet.
    Ran(Run),
}

/// The run of a guard's program on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The hook of the program.
    pub hook: Hook,
    /// Whether the packet went on.
    pub passes: bool,
    /// The slot and the cell that counted the packet.
    pub counted: Option<(u16, Cell)>,
}

impl Run {
    /// The verdict as counted, before audit mode lets a drop pass.
    pub const fn verdict(&self) -> Verdict {
        match (self.counted, self.passes) {
            (Some((_, cell)), _) => cell.reason.verdict(),
            (None, true) => Verdict::Pass,
            (None, false) => Verdict::Drop,
        }
    }

    /// The reason, if the packet was counted.
    pub fn reason(&self) -> Option<Reason> {
        self.counted.map(|(_, cell)| cell.reason)
    }

    /// Whether a decision on the same packet at a wire guard has this verdict, reason, slot and mode.
    pub fn agrees(&self, decision: &Decision) -> bool {
        let cell = Cell {
            guard: Guard::Wire,
            reason: decision.reason,
            audited: decision.audited,
        };
        let expected = decision.is_counted().then_some((decision.slot, cell));
        self.passes != decision.drops() && self.counted == expected
    }
}

/// Copies the policy in force; `None` where nothing is pinned.
///
/// # Errors
/// A privilege is missing, the pins are another network namespace's, or the kernel's refusal.
pub(super) fn copies(instance: &Instance) -> Result<Option<Copies>, Error> {
    check_privileges()?;
    let Some(maps) = instance.maps()? else {
        return Ok(None);
    };
    // The maps are pinned for a moment, in one folder: one command at a time.
    let _lock = instance.lock()?;
    let scratch = instance.pins().scratch();
    scratch
        .remove(None)
        .context("failed to clean up after an interrupted `explain --live`")?;
    let options = Options {
        netns_cookie: maps.state().netns_cookie,
        log: false,
    };
    let bench = Sandbox::in_folder(options, &scratch)?;
    bench.copy_policy(&maps)?;
    Ok(Some(Copies(bench)))
}

impl Copies {
    /// The copied policy.
    ///
    /// # Errors
    /// The maps contradict each other.
    pub(super) fn tables(&self) -> Result<PolicyTables> {
        self.0.tables()
    }

    /// Runs the program of the interface's wire guard on a described packet.
    ///
    /// # Errors
    /// The kernel refuses the program or the run.
    pub(super) async fn run(
        &mut self,
        instance: &Instance,
        snapshot: &HostSnapshot,
        interface: &Interface,
        description: &PacketSpec,
    ) -> Result<Live> {
        if interface.loopback {
            return Ok(Live::NotRun("lo has no wire guard".to_owned()));
        }
        let xdp = snapshot
            .by_index(interface.index)
            .and_then(|i| i.xdp?.prog_id);
        let Some(guard) = attached(instance, interface.index, xdp)? else {
            return Ok(Live::NotRun(format!(
                "{} has no wire guard, and the socket guard wants a real socket",
                interface.name
            )));
        };
        let Some((name, hook, link, tag)) = guard.program else {
            return Ok(Live::NotRun(format!(
                "the program behind the link of {} is none of the pinned ones: `enforcer up` puts \
                 the guard back",
                interface.name
            )));
        };
        self.0.load(name)?;
        let program = self.0.program(name)?;
        // The kernel's digest of the instructions.
        if program
            .info()
            .context("failed to examine the program")?
            .tag()
            != tag
        {
            return Ok(Live::NotRun(format!(
                "the guard on {} is of another build than this command: `enforcer up` exchanges it",
                interface.name
            )));
        }
        let bytes = frame(interface, description, link).await?.bytes();
        let arrival = Arrival::new(&bytes, interface.index);
        let passes = test_run::passes(&self.0, hook.into(), link, arrival)?;
        Ok(Live::Ran(Run {
            hook,
            passes,
            counted: self.counted()?,
        }))
    }

    /// Returns the only cell with a packet, and the slot of that cell.
    fn counted(&self) -> Result<Option<(u16, Cell)>> {
        let tables = self.0.tables()?;
        let slots = tables.slots().map(|(.., slot)| slot);
        for slot in slots.chain(0..FIRST_PORT_SLOT) {
            let mut cells = self.0.counts(slot)?.into_iter();
            if let Some((cell, _)) = cells.find(|(_, count)| count.packets > 0) {
                return Ok(Some((slot, cell)));
            }
        }
        Ok(None)
    }
}

/// An attached wire guard.
struct Attached {
    /// The program, if pinned: name, hook, link and tag.
    program: Option<(&'static str, Hook, Link, u64)>,
}

/// Returns the wire guard of an interface; `xdp` is the interface's program by rtnetlink.
fn attached(instance: &Instance, ifindex: u32, xdp: Option<u32>) -> Result<Option<Attached>> {
    for (index, hook, pin) in instance.pins().wire_links()? {
        if index != ifindex {
            continue;
        }
        let status = links::status(&pin, ifindex, hook, xdp)
            .with_context(|| format!("failed to examine {}", decode_path(&pin)))?;
        let Some(status) = status else { continue };
        let pinned = [Link::Ethernet, Link::Ip].into_iter().find_map(|link| {
            let name = wire_program(hook, link);
            let info = ProgramInfo::from_pin(instance.pins().program(name)).ok()?;
            (info.id() == status.program).then(|| (name, hook, link, info.tag()))
        });
        return Ok(Some(Attached { program: pinned }));
    }
    Ok(None)
}

/// Returns a described packet as a frame on an interface.
async fn frame(interface: &Interface, packet: &PacketSpec, link: Link) -> Result<Frame> {
    Ok(Frame {
        source: packet.source.into(),
        destination: match packet.destination {
            Some(destination) => destination.into(),
            None => own_address(interface.index, packet.source.into()).await?,
        },
        protocol: packet.protocol,
        port: packet.port,
        link,
        mac: interface.mac.unwrap_or_default(),
    })
}

/// Returns an address of this host in the family of `like`: the interface's own, if any.
///
/// # Errors
/// The kernel cannot be asked.
pub(super) async fn own_address(ifindex: u32, like: IpAddr) -> Result<IpAddr> {
    let mut found = None;
    for address in address::list().await? {
        let fits = address.ip.is_ipv4() == like.is_ipv4() && !address.ip.is_loopback();
        if fits && (found.is_none() || address.ifindex == ifindex) {
            found = Some(address.ip);
        }
    }
    // The group of all hosts, which no router forwards.
    Ok(found.unwrap_or(match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
    }))
}
