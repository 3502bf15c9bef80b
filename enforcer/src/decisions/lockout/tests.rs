//! Dangers of a change, from small registries on a host with one outside interface.

use super::*;
use crate::{
    decisions::fixtures,
    policy::{PolicyHost, PolicyInterface, Slots, compile},
};

const ETH0: u32 = 2;

fn tables(text: &str) -> PolicyTables {
    let registry = fixtures::loaded(text).registry;
    let interface = |ifindex, name: &str| PolicyInterface {
        ifindex,
        name: name.to_owned(),
        ..PolicyInterface::default()
    };
    let interfaces = [interface(ETH0, "eth0"), interface(3, "wg0")];
    compile(&registry, &PolicyHost::of(&interfaces), &Slots::new()).unwrap()
}

fn user() -> Owner {
    Owner::User("alice".to_owned())
}

fn arrival(port: u16, owner: Owner) -> Arrival {
    Arrival {
        session: Session {
            client: "192.0.2.7".parse().unwrap(),
            server: "192.0.2.1".parse().unwrap(),
            port,
            scope: None,
            owner,
        },
        ifindex: ETH0,
        interface: "eth0".to_owned(),
        loopback: false,
    }
}

/// The dangers of a change; `w` and `s` are the guards that are attached before and after.
fn found(before: Option<(&str, &str)>, after: (&str, &str), arrivals: &[Arrival]) -> Vec<Danger> {
    let wire = BTreeMap::from([(ETH0, Hook::Tcx)]);
    let none = BTreeMap::new();
    let guarded =
        |(text, guards): (&str, &str)| (tables(text), guards.contains('w'), guards.contains('s'));
    let (before, after) = (before.map(guarded), guarded(after));
    fn policy<'a>(
        (tables, has_wire, socket): &'a (PolicyTables, bool, bool),
        wire: &'a BTreeMap<u32, Hook>,
        none: &'a BTreeMap<u32, Hook>,
    ) -> GuardedPolicy<'a> {
        GuardedPolicy {
            tables,
            wire: if *has_wire { wire } else { none },
            socket: *socket,
        }
    }
    let before = before.as_ref().map(|before| policy(before, &wire, &none));
    dangers(
        arrivals,
        false,
        before.as_ref(),
        &policy(&after, &wire, &none),
    )
}

const SSH: &str = "[services.ssh]\nports = [22]\n";
const OTHER: &str = "[services.redis]\nports = [6379]\n";
const PUBLIC_SSH: &str = "[services.ssh]\nports = [22]\npublic = true\n";
const AUDIT_SSH: &str = "[services.ssh]\nports = [22]\nmode = \"audit\"\n";

#[test]
fn a_cut_session_is_of_the_service_at_its_address() {
    let at = |name: &str, address: &str, more: &str| {
        format!("[services.{name}]\nports = [22]\non = [\"{address}\"]\n{more}")
    };
    let text = at("first", "198.51.100.1", "") + &at("second", "192.0.2.1", "");
    let found = found(None, (&text, "ws"), &[arrival(22, Owner::Operator)]);
    let [Danger::CutsSession { service, .. }] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(service.as_deref(), Some("second"));
}

#[test]
fn a_public_port_at_one_address_may_be_the_last() {
    let at = "[services.web]\nports = [80]\non = [\"192.0.2.1\"]\n";
    let public = format!("{at}public = true\n");
    let expected = [Danger::ClosesLastPublicPort(vec!["web 80/tcp".to_owned()])];
    assert_eq!(found(Some((&public, "ws")), (at, "ws"), &[]), expected);
    assert_eq!(found(Some((&public, "ws")), (&public, "ws"), &[]), []);
}

#[test]
fn a_session_is_cut_by_a_guard_that_drops_its_port() {
    let session = [arrival(22, Owner::Operator)];
    let cut = Danger::CutsSession {
        owner: Owner::Operator,
        client: "192.0.2.7".parse().unwrap(),
        port: 22,
        interface: "eth0".to_owned(),
        service: Some("ssh".to_owned()),
        reason: Reason::UntrustedInterface,
    };
    for guards in ["w", "s", "ws"] {
        assert_eq!(
            found(None, (SSH, guards), &session),
            std::slice::from_ref(&cut),
            "{guards}"
        );
    }
    for (text, guards) in [
        (SSH, ""),
        (OTHER, "ws"),
        (PUBLIC_SSH, "ws"),
        (AUDIT_SSH, "ws"),
    ] {
        assert_eq!(found(None, (text, guards), &session), [], "{text} {guards}");
    }
    assert_eq!(found(None, (SSH, "ws"), &[]), []);
    let over_lo = Arrival {
        ifindex: 1,
        loopback: true,
        ..arrival(22, Owner::Operator)
    };
    assert_eq!(found(None, (SSH, "ws"), &[over_lo]), []);
    // Without a wire guard on its interface, only the socket guard judges.
    let over_wg0 = Arrival {
        ifindex: 3,
        ..arrival(22, Owner::Operator)
    };
    assert_eq!(found(None, (SSH, "w"), std::slice::from_ref(&over_wg0)), []);
    assert_eq!(found(None, (SSH, "s"), &[over_wg0]).len(), 1);
}

#[test]
fn a_session_that_the_policy_before_drops_is_not_cut_by_the_change() {
    let session = [arrival(22, user())];
    assert_eq!(found(Some((SSH, "w")), (SSH, "s"), &session), []);
    assert_eq!(found(Some((SSH, "")), (SSH, "s"), &session).len(), 1);
    assert_eq!(found(Some((OTHER, "ws")), (SSH, "ws"), &session).len(), 1);
}

#[test]
fn equal_dangers_are_told_once() {
    let sessions = [arrival(22, user()), arrival(22, user())];
    assert_eq!(found(None, (SSH, "ws"), &sessions).len(), 1);
}

#[test]
fn a_connection_without_a_login_is_nobodys_session() {
    for (owner, words) in [
        (Owner::Nobody, "no login of the address is on record"),
        (
            Owner::Unknown,
            "neither /run/systemd/sessions nor /run/utmp",
        ),
    ] {
        let mut arrivals = vec![arrival(22, owner.clone()), arrival(22, owner)];
        let cut = found(None, (SSH, "ws"), &arrivals);
        assert_eq!(found(None, (OTHER, "ws"), &arrivals), []);
        assert!(!cut[0].needs_consent());
        let text = cut[0].to_string();
        let start = "cuts 2 connections to sshd (192.0.2.7, 192.0.2.7), nobody's session: ";
        assert!(text.starts_with(start) && text.contains(words), "{text}");
        let Verdict::Allowed(notes) = decided(false, false, Ok(cut)) else {
            panic!("a neighbour would keep the port open");
        };
        assert_eq!(notes[0].kind, NoteKind::LockoutUnknown);
        assert_eq!(notes[0].text, format!("this {text}"));
        // The control: a logged-in user among the connections.
        arrivals.push(arrival(22, user()));
        let cut = found(None, (SSH, "ws"), &arrivals);
        assert_eq!(cut.len(), 2);
        let Verdict::Refused(lockout) = decided(false, false, Ok(cut)) else {
            panic!("the user would be cut off");
        };
        let refused = lockout.to_string();
        assert!(
            refused.contains("of alice") && !refused.contains("nobody"),
            "{refused}"
        );
    }
}

#[test]
fn many_sessions_are_told_in_short() {
    let sessions = (0..9).map(|number| arrival(22, Owner::User(number.to_string())));
    let dangers = found(None, (SSH, "ws"), &sessions.collect::<Vec<_>>());
    assert_eq!(dangers.len(), 9);
    let text = LockOut {
        dangers,
        is_pinned: true,
    }
    .to_string();
    assert!(
        text.contains("of 3 (") && !text.contains("of 4 ("),
        "{text}"
    );
    assert!(
        text.contains(", and 5 more like the last: nothing"),
        "{text}"
    );
}

#[test]
fn the_last_public_port_is_not_removed_unnoticed() {
    let public = "[services.traefik]\nports = [8080, 8443]\npublic = true\n";
    let closes = found(Some((public, "ws")), (OTHER, "ws"), &[]);
    let ports = vec!["traefik 8080/tcp".to_owned(), "traefik 8443/tcp".to_owned()];
    assert_eq!(closes, [Danger::ClosesLastPublicPort(ports)]);
    assert_eq!(found(Some((public, "ws")), (PUBLIC_SSH, "ws"), &[]), []);
    assert_eq!(found(Some((OTHER, "ws")), (OTHER, "ws"), &[]), []);
    assert_eq!(found(None, (OTHER, "ws"), &[]), []);
}

#[test]
fn dangers_end_a_sentence() {
    let session = [arrival(22, Owner::Operator)];
    let own = found(None, (SSH, "ws"), &session)[0].to_string();
    assert_eq!(
        own,
        "would cut the SSH session that it was typed in (192.0.2.7 on eth0 to port 22): ssh \
         (22/tcp) drops it as untrusted-interface"
    );
    let other = found(None, (SSH, "ws"), &[arrival(22, user())])[0].to_string();
    assert!(
        other.starts_with("would cut an SSH session of alice ("),
        "{other}"
    );
    let names = |count| (0..count).map(|number| number.to_string()).collect();
    let four = Danger::ClosesLastPublicPort(names(4)).to_string();
    assert!(four.ends_with("public are now 0, 1, 2, 3"), "{four}");
    let six = Danger::ClosesLastPublicPort(names(6)).to_string();
    assert!(
        six.ends_with("public are now 0, 1, 2, 3 and 2 more"),
        "{six}"
    );
}

fn decided(force: bool, is_pending: bool, dangers: Result<Vec<Danger>>) -> Verdict {
    let consent = Consent {
        author: Author::Command,
        force,
        is_pending,
    };
    decide(dangers, consent, true)
}

fn one() -> Vec<Danger> {
    vec![Danger::ClosesLastPublicPort(vec!["web 80/tcp".to_owned()])]
}

#[test]
fn a_danger_is_refused_without_consent() {
    assert!(
        matches!(decided(false, false, Ok(vec![])), Verdict::Allowed(notes) if notes.is_empty())
    );
    let Verdict::Refused(lockout) = decided(false, false, Ok(one())) else {
        panic!("it must be refused");
    };
    assert_eq!((lockout.dangers, lockout.is_pinned), (one(), true));
    let Verdict::Unknown(error) = decided(false, false, Err(anyhow::anyhow!("no answer"))) else {
        panic!("it must not be allowed");
    };
    assert!(format!("{error:#}").ends_with("no answer"), "{error:#}");
}

#[test]
fn consent_allows_a_danger_and_notes_it() {
    for (force, is_pending, because) in [
        (true, false, "--force was given"),
        (true, true, "--force was given"),
        (false, true, "it is rolled back unless it is confirmed"),
    ] {
        let Verdict::Allowed(notes) = decided(force, is_pending, Ok(one())) else {
            panic!("{because}: it must be allowed");
        };
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0].kind, NoteKind::LockoutAccepted);
        assert!(notes[0].text.ends_with(because), "{}", notes[0].text);
        let failed = Err(anyhow::anyhow!("no answer"));
        let Verdict::Allowed(notes) = decided(force, is_pending, failed) else {
            panic!("{because}: it must be allowed");
        };
        assert_eq!(notes[0].kind, NoteKind::LockoutUnknown);
        assert!(notes[0].text.contains("(no answer)"), "{}", notes[0].text);
        let none = decided(force, is_pending, Ok(vec![]));
        assert!(matches!(none, Verdict::Allowed(notes) if notes.is_empty()));
    }
}

#[test]
fn a_refusal_names_the_ways_out() {
    let lockout = |is_pinned| {
        LockOut {
            dangers: one(),
            is_pinned,
        }
        .to_string()
    };
    assert!(lockout(false).ends_with("`--force` does it all the same"));
    assert!(lockout(true).contains("--force") && lockout(true).contains("--confirm 60s"));
    assert!(lockout(true).starts_with("this would leave no public port; public are now web"));
}

#[test]
fn sshd_without_a_service_is_closed_by_unregistered() {
    let listening = BTreeSet::from([22, 2222]);
    let closed = |text: &str| {
        let ports = closes_sshd(&tables(text), &listening);
        ports.into_iter().collect::<Vec<u16>>()
    };
    let service = "[services.ssh]\nports = [22]\npublic = true\n";
    let drop = "[unregistered]\ntcp = \"drop\"\n";
    assert_eq!(closed(&format!("{service}{drop}")), [2222]);
    assert_eq!(
        closed(&format!("[services.a]\nports = [1]\n{drop}")),
        [22, 2222]
    );
    for open in [
        "",
        "[unregistered]\ntcp = \"audit\"\n",
        "[unregistered]\nsctp = \"drop\"\n",
    ] {
        assert_eq!(closed(&format!("{service}{open}")), [0; 0]);
    }
    let danger = Danger::ClosesSshd(vec![22]).to_string();
    assert!(danger.contains("no service names port 22"), "{danger}");
}
