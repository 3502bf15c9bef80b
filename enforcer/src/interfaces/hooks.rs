//! The choice of hooks.

use super::{
    facts::Interface,
    framing::ARPHRD_ETHER,
    guard::Hook,
    plan::{InterfaceOptions, Planner},
};
use crate::{printable, registry::HookChoice};

impl<'a, R: Fn(&Interface) -> InterfaceOptions> Planner<'a, R> {
    /// Returns the hooks to try, or the reason for having none. `is_parent` says whether VLAN or
    /// macvlan devices are on the interface.
    pub(super) fn hooks(
        &self,
        interface: &Interface,
        choice: HookChoice,
        is_parent: bool,
    ) -> Result<Vec<Hook>, String> {
        let tcx = self.host.tcx;
        match choice {
            HookChoice::Auto => {}
            HookChoice::XdpNative => return Ok(vec![Hook::XdpNative]),
            HookChoice::XdpGeneric => return Ok(vec![Hook::XdpGeneric]),
            HookChoice::Tcx if tcx => return Ok(vec![Hook::Tcx]),
            HookChoice::Tcx => {
                return Err(format!(
                    "`hook = \"tcx\"` needs Linux 6.6: leave `hook` out of [interfaces] for {}, or \
                     update the kernel",
                    interface.name
                ));
            }
        }
        if let Some(why) = self.obstacle_to_xdp(interface) {
            return match tcx {
                true => Ok(vec![Hook::Tcx]),
                false => Err(why),
            };
        }
        let is_nic = interface.kind.is_none() && interface.link_type == ARPHRD_ETHER;
        let native = (is_nic && !is_parent).then_some(Hook::XdpNative);
        Ok(native
            .into_iter()
            .chain(tcx.then_some(Hook::Tcx))
            .chain([Hook::XdpGeneric])
            .collect())
    }

    /// Returns why the kernel would refuse XDP on the interface, or why XDP would be in the way.
    fn obstacle_to_xdp(&self, interface: &Interface) -> Option<String> {
        if let Some(program) = self.foreign_program(interface) {
            // An interface has room for one XDP program (dev_xdp_attach in net/core/dev.c).
            return Some(format!(
                "another XDP program{program} is attached, and tcx, which runs beside it, needs \
                 Linux 6.6: detach that program or update the kernel"
            ));
        }
        let above = self.relations.uppers(interface);
        // A guard that is there stays there.
        if interface.xdp.is_none()
            && let Some(other) = above.iter().find(|upper| upper.xdp.is_some())
        {
            // dev_xdp_attach asks each device right above.
            return Some(format!(
                "{0} has an XDP program, and the kernel refuses XDP below {0}; tcx needs Linux \
                 6.6: run `enforcer up --guards socket` and then `enforcer up` (each with \
                 `--static-peers` if peers have keys), which leaves the host to the socket guard \
                 for a moment, or update the kernel",
                printable::name(&other.name)
            ));
        }
        // bond_xdp_set (drivers/net/bonding/bond_main.c) refuses XDP on a bond in the driver while a
        // member has a program.
        let is_in_the_way = |upper: &&&Interface| {
            let hook = self.options(upper).hook;
            upper.is_kind("bond") && hook == HookChoice::XdpNative
        };
        above.iter().find(is_in_the_way).map(|bond| {
            format!(
                "`hook = \"xdp-native\"` for {} needs members without XDP, and tcx needs Linux \
                 6.6: leave that `hook` out, or update the kernel",
                printable::name(&bond.name)
            )
        })
    }

    /// Returns words for an attached XDP program of another owner.
    fn foreign_program(&self, interface: &Interface) -> Option<String> {
        match interface.xdp?.prog_id {
            Some(id) if self.host.own_programs.contains(&id) => None,
            Some(id) => Some(format!(" (id {id})")),
            None => Some(String::new()),
        }
    }
}
