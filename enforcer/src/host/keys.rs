//! The last answers of the WireGuard devices that have peers by key.

use std::time::Duration;

use tokio::time::timeout;

use super::HostSnapshot;
use crate::{
    interfaces::Interface,
    wireguard::{self, Answer},
};

/// The last answer of each WireGuard device with peers by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<(Interface, Answer)>);

impl Keys {
    pub(crate) fn of(snapshot: &HostSnapshot) -> Self {
        let answer = |interface: &Interface| {
            let answer = snapshot.wireguard(interface.index)?.clone();
            Some((interface.clone(), answer))
        };
        Self(snapshot.iter().filter_map(answer).collect())
    }

    /// The answers of a device that did not answer in time, for tests.
    #[cfg(test)]
    pub(crate) fn late(interface: Interface) -> Self {
        Self(vec![(interface, late())])
    }

    /// Whether no device is asked: no such interface, or no peer by key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a device has not answered yet.
    pub fn is_incomplete(&self) -> bool {
        self.0.iter().any(|(_, answer)| *answer == late())
    }

    /// Asks every device again, as WireGuard announces no changes; `None` if every answer is the
    /// same.
    pub async fn changed(&self) -> Option<Self> {
        let mut now = Vec::new();
        for (interface, _) in &self.0 {
            now.push((interface.clone(), wireguard::ask(interface).await));
        }
        let now = Self(now);
        (now.0 != self.0).then_some(now)
    }

    /// Returns the last answer of the device behind an interface. A device without one is asked, and
    /// gets a moment: a device that hangs must not hold everything up, and the peers of that device
    /// wait for the answer.
    pub(crate) async fn answer(&self, interface: &Interface) -> Answer {
        let is_same = |asked: &Interface| {
            (asked.index, &asked.name, &asked.kind)
                == (interface.index, &interface.name, &interface.kind)
        };
        if let Some((_, answer)) = self.0.iter().find(|(asked, _)| is_same(asked)) {
            return answer.clone();
        }
        timeout(MOMENT, wireguard::ask(interface))
            .await
            .unwrap_or_else(|_| late())
    }
}

/// The time limit for the first answer of a device.
const MOMENT: Duration = Duration::from_secs(1);

/// The answer in place of an answer that is late.
fn late() -> Answer {
    Answer::Unknown("it has not answered yet".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str) -> Interface {
        Interface {
            index,
            name: name.to_owned(),
            kind: Some("tun".to_owned()),
            ..Interface::default()
        }
    }

    fn known() -> Keys {
        let found = vec![(interface(5, "wg0"), Answer::Unknown("silent".to_owned()))];
        Keys::of(&HostSnapshot::of(found))
    }

    #[test]
    fn a_host_without_answers_has_no_device_to_ask() {
        assert!(Keys::default().is_empty());
        assert!(Keys::of(&HostSnapshot::of(Vec::new())).is_empty());
        assert!(!known().is_empty());
    }

    #[test]
    fn a_late_answer_leaves_the_answers_incomplete() {
        assert!(Keys::late(interface(5, "wg0")).is_incomplete());
        assert!(!known().is_incomplete());
        assert!(!Keys::default().is_incomplete());
    }

    #[tokio::test]
    async fn a_device_that_answered_is_not_asked_again() {
        let answer = known().answer(&interface(5, "wg0")).await;
        assert_eq!(answer, Answer::Unknown("silent".to_owned()));
        // Another device of the same name or ifindex is asked anew.
        for other in [interface(6, "wg0"), interface(5, "wg1")] {
            let answer = known().answer(&other).await;
            assert_ne!(
                answer,
                Answer::Unknown("silent".to_owned()),
                "{}",
                other.name
            );
        }
    }
}
