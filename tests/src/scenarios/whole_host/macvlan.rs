//! Macvlan children that share the parent's MAC address, or are chosen by the sender's.

use anyhow::Result;

use crate::lab::{Ask, Feature, Lab, Netns, Server, Transport};
use crate::scenarios::attack::{Attempt, Legitimate, attempt};

pub(super) fn traffic() -> Vec<Legitimate> {
    let child = |name, mode: &'static str, policy| {
        Legitimate::new(name, move |lab| served_by_a_child(lab, mode, 9200))
            .needs(Feature::Macvlan)
            .under(policy)
    };
    vec![
        // The kernel shows no child that lives in another namespace, and the parent has the child's
        // MAC: the operator names the side.
        child(
            "macvlan::a_passthru_childs_own_port",
            "passthru",
            "[interfaces.nic1]\nside = \"inside\"\n",
        ),
        child(
            "macvlan::a_source_childs_own_port",
            "source macaddr add 02:00:00:00:77:02",
            "",
        ),
        Legitimate::new("macvlan::a_childs_port_of_nobody", |lab| {
            served_by_a_child(lab, "source macaddr add 02:00:00:00:77:02", 7070)
        })
        .needs(Feature::Macvlan)
        .under("[unregistered]\ntcp = \"drop\"\n"),
    ]
}

/// A container on a second wire to the LAN; the parent on the host has no address.
fn served_by_a_child<'lab>(lab: &'lab Lab, mode: &str, port: u16) -> Result<Attempt<'lab>> {
    let child = Netns::new("macvlan")?;
    lab.host.ip(&format!(
        "link add nic1 type veth peer name nic1 address 02:00:00:00:77:02 netns {}
         link set nic1 up
         link add child0 link nic1 type macvlan mode {mode}
         link set child0 netns {}",
        lab.lan.path(),
        child.path()
    ))?;
    lab.lan
        .ip("addr add 192.168.86.2/24 dev nic1\nlink set nic1 up")?;
    child.ip("addr add 192.168.86.30/24 dev child0\nlink set child0 up")?;
    let server = Server::start(
        &child,
        Transport::Tcp,
        &format!("0.0.0.0:{port}"),
        "the child",
    )?;
    let ask = Ask::new(Transport::Tcp, &format!("192.168.86.30:{port}"));
    Ok(attempt((server, child), move |_, patience| {
        ask.ask(&lab.lan, patience)
    }))
}
