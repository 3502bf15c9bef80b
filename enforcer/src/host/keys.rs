//! The last answers of WireGuard: of the devices that have peers by key, and the listen ports where
//! rule 6 judges UDP.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::{HostSnapshot, retry::Retry, snapshot, udp_ports::ListenPorts};
use crate::{
    interfaces::Interface,
    wireguard::{self, Answer, ask_all},
};

/// The last answer of each WireGuard device with peers by key, and the listen ports that a policy
/// leaves alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    devices: Vec<(Interface, Heard)>,
    listen_ports: ListenPorts,
    /// Whether any device was looked for.
    were_asked: bool,
}

/// An answer, and the time of the next question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) answer: Answer,
    pub(super) retry: Retry,
}

impl Heard {
    /// The first answer of a device.
    pub(super) fn first(answer: Answer, now: Instant) -> Self {
        Self {
            retry: Retry::default().after(&answer, now),
            answer,
        }
    }

    /// In place of the answer of a device that was not asked yet.
    pub(super) fn late() -> Self {
        Self {
            answer: late(),
            retry: Retry::default(),
        }
    }
}

/// Asks the WireGuard devices of these names at the same time, for a second at most. Devices whose
/// interfaces cannot be listed are not asked.
///
/// For use before a lock: [`super::snapshot_with`] takes the answers.
pub async fn ask(names: BTreeSet<&str>) -> Keys {
    let mut keys = match snapshot().await {
        Ok(mut snapshot) => {
            snapshot.ask_wireguard(names).await;
            Keys::of(&snapshot)
        }
        Err(_) => Keys::default(),
    };
    keys.were_asked = true;
    keys
}

impl Keys {
    pub(crate) fn of(snapshot: &HostSnapshot) -> Self {
        let heard = |interface: &Interface| {
            let heard = snapshot.heard(interface.index)?.clone();
            Some((interface.clone(), heard))
        };
        Self {
            devices: snapshot.iter().filter_map(heard).collect(),
            listen_ports: snapshot.listen_ports().clone(),
            were_asked: true,
        }
    }

    /// The answers of a device that did not answer in time, for tests.
    #[cfg(test)]
    pub(crate) fn late(interface: Interface) -> Self {
        Self {
            devices: vec![(interface, Heard::late())],
            listen_ports: ListenPorts::default(),
            were_asked: true,
        }
    }

    /// The listen port of a device without peers by key, for tests.
    #[cfg(test)]
    pub(crate) fn of_listen_port(ifindex: u32, port: u16) -> Self {
        Self {
            devices: Vec::new(),
            listen_ports: ListenPorts::of(ifindex, Some(port)),
            were_asked: true,
        }
    }

    /// Whether no device is asked: no such interface, or neither a peer by key nor a policy that
    /// leaves listen ports alone.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.listen_ports.is_empty()
    }

    /// Whether devices were looked for, with or without success.
    pub fn were_asked(&self) -> bool {
        self.were_asked
    }

    /// Whether a device has not answered yet.
    pub fn is_incomplete(&self) -> bool {
        let mut answers = self.devices.iter();
        answers.any(|(_, heard)| heard.answer == late())
    }

    /// Asks the devices again, as WireGuard announces no changes, at the same time, and for a second
    /// at most; `None` if nothing is new. After failures, a device is asked less often.
    pub async fn changed(&self) -> Option<Self> {
        let now = Instant::now();
        let due = self.due(now).into_iter();
        let is_news = |ifindex, answer: &Answer| {
            let mut known = self.devices.iter();
            let known = known.find(|(interface, _)| interface.index == ifindex);
            known.is_none_or(|(_, heard)| heard.answer != *answer)
        };
        let answers = ask_all(due, wireguard::LIMIT, is_news).await;
        let mut next = self.after(answers, Instant::now());
        // The kernel answers at once.
        next.listen_ports = self.listen_ports.asked().await;
        (next != *self).then_some(next)
    }

    /// Returns the interfaces of the devices to be asked at a time.
    fn due(&self, now: Instant) -> Vec<&Interface> {
        let due = self
            .devices
            .iter()
            .filter(|(_, heard)| heard.retry.is_due(now));
        due.map(|(interface, _)| interface).collect()
    }

    /// Returns the answers after a round of questions. Without a new answer the old one stays, but
    /// a device that has never answered has failed.
    fn after(&self, mut answers: BTreeMap<u32, Answer>, now: Instant) -> Self {
        let mut next = self.clone();
        for (interface, heard) in &mut next.devices {
            let answer = answers.remove(&interface.index);
            let never = || {
                let is_late = heard.answer == late();
                is_late.then(|| Answer::Unknown("no answer within the time of others".to_owned()))
            };
            if let Some(answer) = answer.or_else(never) {
                heard.retry = heard.retry.after(&answer, now);
                heard.answer = answer;
            }
        }
        next
    }

    /// Returns the last answer of the device behind an interface.
    pub(super) fn heard(&self, interface: &Interface) -> Option<&Heard> {
        let is_same = |asked: &Interface| {
            (asked.index, &asked.name, &asked.kind)
                == (interface.index, &interface.name, &interface.kind)
        };
        let mut devices = self.devices.iter();
        let found = devices.find(|(asked, _)| is_same(asked));
        found.map(|(_, heard)| heard)
    }
}

/// The answer in place of an answer that is late.
fn late() -> Answer {
    Answer::Unknown("it has not answered yet".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wireguard::AllowedIps;

    fn interface(index: u32, name: &str) -> Interface {
        Interface {
            index,
            name: name.to_owned(),
            kind: Some("tun".to_owned()),
            ..Interface::default()
        }
    }

    fn silent() -> Answer {
        Answer::Unknown("silent".to_owned())
    }

    fn known() -> Keys {
        Keys::of(&HostSnapshot::of(vec![(interface(5, "wg0"), silent())]))
    }

    #[test]
    fn a_host_without_answers_has_no_device_to_ask() {
        let none = Keys::of(&HostSnapshot::of(Vec::new()));
        assert!(Keys::default().is_empty() && none.is_empty());
        assert!(!known().is_empty());
        let were_asked = [Keys::default(), none, known()].map(|keys| keys.were_asked());
        assert_eq!(were_asked, [false, true, true]);
    }

    #[test]
    fn a_late_answer_leaves_the_answers_incomplete() {
        assert!(Keys::late(interface(5, "wg0")).is_incomplete());
        assert!(!known().is_incomplete());
        assert!(!Keys::default().is_incomplete());
    }

    #[test]
    fn an_answer_is_of_one_device() {
        let keys = known();
        let heard = keys.heard(&interface(5, "wg0"));
        assert_eq!(heard.map(|heard| &heard.answer), Some(&silent()));
        // Another device of the same name or ifindex has no answer.
        for other in [interface(6, "wg0"), interface(5, "wg1")] {
            assert_eq!(keys.heard(&other), None, "{}", other.name);
        }
    }

    #[test]
    fn a_failure_postpones_the_next_question_to_the_device_alone() {
        let device = || Answer::Device(AllowedIps::default());
        let found = vec![
            (interface(5, "wg0"), device()),
            (interface(6, "wg1"), device()),
        ];
        let keys = Keys::of(&HostSnapshot::of(found));
        let start = Instant::now();
        let due = |keys: &Keys, seconds| -> Vec<u32> {
            let due = keys.due(start + Duration::from_secs(seconds));
            due.into_iter().map(|interface| interface.index).collect()
        };
        assert_eq!(due(&keys, 0), [5, 6]);
        let round = |keys: &Keys, answer| {
            let answers = BTreeMap::from([(5, answer), (6, device())]);
            keys.after(answers, start)
        };
        let failed = round(&round(&keys, silent()), silent());
        assert_eq!(due(&failed, 1), [6]);
        assert_eq!(due(&failed, 2), [5, 6]);
        assert_eq!(round(&failed, device()), keys);
    }

    #[test]
    fn a_round_without_an_answer_fails_a_device_that_never_answered() {
        let start = Instant::now();
        let late = Keys::late(interface(5, "wg0")).after(BTreeMap::new(), start);
        assert!(!late.is_incomplete(), "else `run` would ask without end");
        assert!(late.due(start).is_empty());
        assert_eq!(known().after(BTreeMap::new(), start), known());
    }

    #[test]
    fn a_listen_port_alone_is_asked_for_and_its_change_is_news() {
        let keys = |port| Keys::of_listen_port(5, port);
        assert!(!keys(51_820).is_empty());
        assert_ne!(keys(51_820), keys(51_821));
        assert!(!keys(51_820).is_incomplete());
    }

    #[test]
    fn answers_cross_threads() {
        const fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Keys>();
        crosses::<HostSnapshot>();
    }
}
