//! Requests to this kernel in the network namespace of the test, and the socket's own rules.

use std::{future::Future, os::fd::AsFd};

use rustix::net::{
    AddressFamily, SendFlags, SocketType, bind, getsockname,
    netlink::{self, SocketAddrNetlink},
    sendto, socket,
};

use super::super::{
    Protocol, Request, Socket, address, fdb, generic, link,
    route::{self, Kind, Query},
};

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn every_namespace_has_a_loopback_interface() {
    let (links, macs) = block_on(async {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let links = link::dump(&mut socket).await.unwrap();
        (links, fdb::taken_macs(fdb::Of::All).await)
    });
    let lo = links.unwrap().into_iter().find(|link| link.index == 1);
    let lo = lo.unwrap();
    assert_eq!(
        (lo.name.as_str(), lo.loopback, lo.link_type),
        ("lo", true, 772)
    );
    assert!(macs.unwrap().is_some());
}

#[test]
fn a_refusal_means_no_route() {
    block_on(async {
        // Where lo is up; a refusal where not.
        let here = Query::of_host("127.0.0.1".parse().unwrap(), None);
        let here = route::get(&here).await.unwrap();
        assert!(here.is_none_or(|route| route.kind == Kind::Local));
        let to = "192.0.2.1".parse().unwrap();
        let from = "192.0.2.2".parse().unwrap();
        // No interface has this index: ENODEV.
        let query = Query {
            iif: Some(u32::MAX / 2),
            ..Query::of_host(to, Some(from))
        };
        let none = route::get(&query).await;
        assert_eq!(none.unwrap(), None);
        let mixed = Query::of_host(to, Some("::1".parse().unwrap()));
        let mixed = route::get(&mixed).await;
        assert!(mixed.is_err());
    });
}

#[test]
fn addresses_and_families_are_listed() {
    block_on(async {
        address::list().await.unwrap();
        let mut socket = Socket::open(Protocol::Generic).unwrap();
        let controller = generic::family(&mut socket, "nlctrl").await.unwrap();
        assert_eq!(controller, Some(16));
        let none = generic::family(&mut socket, "no such family").await;
        assert_eq!(none.unwrap(), None);
    });
}

#[test]
fn a_refused_dump_is_an_error() {
    let refused = block_on(async {
        let mut socket = Socket::open(Protocol::Generic).unwrap();
        // No family has this number.
        let request = Request {
            kind: 0xfff0,
            body: &generic::header(0, 0),
            reply: 0xfff0,
        };
        let dump = socket.dump(request, |_| Ok(Some(()))).await;
        dump.unwrap_err()
    });
    assert!(format!("{refused:#}").contains("refused"), "{refused:#}");
}

#[test]
fn only_the_kernel_is_believed() {
    block_on(async {
        let mut ours = Socket::of_number(Some(netlink::USERSOCK)).unwrap();
        bind(ours.fd(), &SocketAddrNetlink::new(0, 0)).unwrap();
        let address = getsockname(ours.fd().as_fd()).unwrap();
        let other = socket(
            AddressFamily::NETLINK,
            SocketType::RAW,
            Some(netlink::USERSOCK),
        );
        let other = other.unwrap();
        let sent = sendto(&other, &[0; 40_000], SendFlags::empty(), &address).unwrap();
        assert_eq!(sent, 40_000);
        assert!(ours.receive_now().is_none());
        let waits = ours.wait_for(|_| true);
        let soon = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, waits).await.is_err());
    });
}

#[test]
fn listening_needs_no_privileges() {
    block_on(async {
        Socket::listen(Protocol::Route, 1).unwrap();
        Socket::listen(Protocol::KobjectUevent, 1).unwrap();
    });
}
