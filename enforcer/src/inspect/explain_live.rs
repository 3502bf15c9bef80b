//! `explain --live`: a described packet through the program of the wire guard that would meet it,
//! on copies of the maps, so that counters and events stay true.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use enforcer_ebpf::{Decision, Guard, Link, NO_SLOT, Reason, Verdict, layout::Cell};

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
};

/// The policy in force in maps of its own, and programs that read those.
pub struct Copies(Sandbox);

/// What became of the packet there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// Nothing was run; why.
    Nothing(String),
    /// The guard's program judged it.
    Ran(Seen),
}

/// What a guard's program did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The hook that the program is made for.
    pub hook: Hook,
    /// Whether the packet went on.
    pub passes: bool,
    /// How it was counted, and in which slot.
    pub counted: Option<(u16, Cell)>,
}

impl Seen {
    /// The verdict, as it is counted: before audit mode lets a drop pass.
    pub const fn verdict(&self) -> Verdict {
        match (self.counted, self.passes) {
            (Some((_, cell)), _) => cell.reason.verdict(),
            (None, true) => Verdict::Pass,
            (None, false) => Verdict::Drop,
        }
    }

    /// The reason, where it was counted.
    pub fn reason(&self) -> Option<Reason> {
        self.counted.map(|(_, cell)| cell.reason)
    }

    /// Whether this is what a decision says of the same packet at a wire guard.
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
pub fn copies(instance: &Instance) -> Result<Option<Copies>, Error> {
    check_privileges()?;
    let Some(maps) = instance.maps()? else {
        return Ok(None);
    };
    // One at a time: the maps are pinned for a moment, in one folder.
    let _lock = instance.lock()?;
    let scratch = instance.pins().scratch();
    scratch
        .remove()
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
    /// The policy that was copied.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn tables(&self) -> Result<PolicyTables> {
        self.0.tables()
    }

    /// Shows a described packet to the program of its interface's wire guard.
    ///
    /// # Errors
    /// The kernel refuses the program or the run.
    pub async fn run(
        &mut self,
        instance: &Instance,
        snapshot: &HostSnapshot,
        interface: &Interface,
        description: &PacketSpec,
    ) -> Result<Live> {
        if interface.loopback {
            return Ok(Live::Nothing("lo has no wire guard".to_owned()));
        }
        let xdp = snapshot
            .by_index(interface.index)
            .and_then(|i| i.xdp?.prog_id);
        let Some(guard) = attached(instance, interface.index, xdp)? else {
            return Ok(Live::Nothing(format!(
                "{} has no wire guard, and the socket guard wants a real socket",
                interface.name
            )));
        };
        let Some((name, hook, link, tag)) = guard.program else {
            return Ok(Live::Nothing(format!(
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
            return Ok(Live::Nothing(format!(
                "the guard on {} is of another build than this command: `enforcer up` exchanges it",
                interface.name
            )));
        }
        let frame = Frame {
            source: description.source.into(),
            destination: match description.destination {
                Some(destination) => destination.into(),
                None => own_address(interface.index, description.source.into()).await?,
            },
            protocol: description.protocol,
            port: description.port,
            link,
            mac: interface.mac.unwrap_or_default(),
        };
        let bytes = frame.bytes();
        let arrival = Arrival::new(&bytes, interface.index);
        let passes = test_run::passes(&self.0, hook.into(), link, arrival)?;
        Ok(Live::Ran(Seen {
            hook,
            passes,
            counted: self.counted()?,
        }))
    }

    /// The one cell that has counted anything.
    fn counted(&self) -> Result<Option<(u16, Cell)>> {
        let tables = self.0.tables()?;
        let slots = tables.ports.values().map(|binding| binding.slot);
        for slot in slots.chain([NO_SLOT]) {
            let mut cells = self.0.counts(slot)?.into_iter();
            if let Some((cell, _)) = cells.find(|(_, count)| count.packets > 0) {
                return Ok(Some((slot, cell)));
            }
        }
        Ok(None)
    }
}

/// A wire guard that is attached.
struct Attached {
    /// Its program, if it is one of those that are pinned: name, hook, link and tag.
    program: Option<(&'static str, Hook, Link, u64)>,
}

/// The wire guard of an interface; `xdp` is the program that rtnetlink names there.
fn attached(instance: &Instance, ifindex: u32, xdp: Option<u32>) -> Result<Option<Attached>> {
    for (index, hook, pin) in instance.pins().wire_links()? {
        if index != ifindex {
            continue;
        }
        let status = links::status(&pin, ifindex, hook, xdp)
            .with_context(|| format!("failed to examine {}", pin.display()))?;
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

/// An address of this host, of the same family as `like`: the interface's own, where it has one.
async fn own_address(ifindex: u32, like: IpAddr) -> Result<IpAddr> {
    let mut found = None;
    for address in address::list().await? {
        let fits = address.ip.is_ipv4() == like.is_ipv4() && !address.ip.is_loopback();
        if fits && (found.is_none() || address.ifindex == ifindex) {
            found = Some(address.ip);
        }
    }
    // Every host's, and no router passes it on.
    Ok(found.unwrap_or(match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
    }))
}
