//! The last answers of the WireGuard devices that have peers by key.

use std::time::Duration;

use tokio::time::timeout;

use super::HostSnapshot;
use crate::{
    interfaces::Interface,
    wireguard::{self, Answer},
};

/// What WireGuard last said of the interfaces on which there are peers by key.
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

    /// The answers of a device that did not answer in time, as a test has them.
    #[cfg(test)]
    pub(crate) fn late(interface: Interface) -> Self {
        Self(vec![(interface, late())])
    }

    /// Whether there is nobody to ask: no such interface, or no peer by key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is a device whose answer was not waited for.
    pub fn is_incomplete(&self) -> bool {
        self.0.iter().any(|(_, answer)| *answer == late())
    }

    /// Asks again, as WireGuard tells nobody of a change; `None` where nothing is different.
    pub async fn changed(&self) -> Option<Self> {
        let mut now = Vec::new();
        for (interface, _) in &self.0 {
            now.push((interface.clone(), wireguard::ask(interface).await));
        }
        let now = Self(now);
        (now.0 != self.0).then_some(now)
    }

    /// What the device behind an interface answered, if it is one that was asked. One that was not
    /// is waited for a moment: only one that hangs must not hold everything up, and its peers wait
    /// until it has answered.
    pub(crate) async fn answer(&self, interface: &Interface) -> Answer {
        let is_it = |asked: &Interface| {
            (asked.index, &asked.name, &asked.kind)
                == (interface.index, &interface.name, &interface.kind)
        };
        if let Some((_, answer)) = self.0.iter().find(|(asked, _)| is_it(asked)) {
            return answer.clone();
        }
        timeout(MOMENT, wireguard::ask(interface))
            .await
            .unwrap_or_else(|_| late())
    }
}

/// How long a device is waited for that was never asked.
const MOMENT: Duration = Duration::from_secs(1);

/// The answer of a device that was not waited for.
fn late() -> Answer {
    Answer::Unknown("it has not answered yet".to_owned())
}
