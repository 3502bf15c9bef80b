//! Questions to many devices at the same time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{Answer, Device};
use crate::interfaces::Interface;

/// The time limit of a round of questions, whatever the number of devices.
pub const LIMIT: Duration = Duration::from_secs(1);
/// The time for the other answers of a round after the first news.
const GRACE: Duration = Duration::from_millis(50);

/// Queries the devices behind these interfaces of this network namespace at the same time. Returns
/// the answers by ifindex. Needs CAP_NET_ADMIN.
///
/// A device without an answer after `limit` is [`Answer::Unknown`]. An answer for which `is_news`
/// returns true shortens the round: the other devices have `GRACE` left, and a device without an
/// answer by then has no entry in the result.
pub async fn ask_all(
    interfaces: impl IntoIterator<Item = &Interface>,
    limit: Duration,
    is_news: impl Fn(u32, &Answer) -> bool,
) -> BTreeMap<u32, Answer> {
    let mut answers = BTreeMap::new();
    let mut asked = BTreeSet::new();
    let mut questions = JoinSet::new();
    for interface in interfaces {
        let ifindex = interface.index;
        match Device::of(interface) {
            Some(device) => {
                asked.insert(ifindex);
                questions.spawn(async move { (ifindex, device.ask().await) });
            }
            None => {
                answers.insert(ifindex, Answer::NotWireGuard);
            }
        }
    }
    answers.extend(round(questions, asked, limit, is_news).await);
    answers
}

/// Collects the answers of a round of questions to the `asked` devices.
async fn round(
    mut questions: JoinSet<(u32, Answer)>,
    asked: BTreeSet<u32>,
    limit: Duration,
    is_news: impl Fn(u32, &Answer) -> bool,
) -> BTreeMap<u32, Answer> {
    let deadline = Instant::now() + limit;
    let mut until = deadline;
    let mut silent = asked;
    let mut answers = BTreeMap::new();
    while let Ok(Some(answered)) = timeout_at(until, questions.join_next()).await {
        // A task without a result leaves the device silent.
        let Ok((ifindex, answer)) = answered else {
            continue;
        };
        if is_news(ifindex, &answer) {
            until = until.min(Instant::now() + GRACE);
        }
        silent.remove(&ifindex);
        answers.insert(ifindex, answer);
    }
    let is_over = until == deadline || questions.is_empty();
    // The sockets of unanswered questions are closed now, not when the runtime runs again.
    questions.shutdown().await;
    if is_over {
        let late = || Answer::Unknown(format!("no answer within {limit:?}"));
        answers.extend(silent.into_iter().map(|ifindex| (ifindex, late())));
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICES: u32 = 256;

    fn device() -> Answer {
        Answer::Device(super::super::AllowedIps::default())
    }

    /// Device 0 answers at once; the other devices never do.
    async fn asked(limit: Duration, is_news: bool) -> (BTreeMap<u32, Answer>, Duration) {
        let start = Instant::now();
        let mut questions = JoinSet::new();
        questions.spawn(async { (0, device()) });
        for ifindex in 1..DEVICES {
            questions.spawn(async move {
                std::future::pending::<()>().await;
                (ifindex, device())
            });
        }
        let answers = round(questions, (0..DEVICES).collect(), limit, |_, _| is_news).await;
        (answers, start.elapsed())
    }

    #[tokio::test]
    async fn one_time_limit_is_for_all_devices() {
        let limit = Duration::from_millis(200);
        let (answers, took) = asked(limit, false).await;
        assert!((limit..limit * 5).contains(&took), "{took:?}");
        assert_eq!(answers.len(), 256);
        assert_eq!(answers[&0], device());
        assert_eq!(
            answers[&255],
            Answer::Unknown("no answer within 200ms".to_owned())
        );
    }

    #[tokio::test]
    async fn news_do_not_wait_for_devices_that_hang() {
        let (answers, took) = asked(Duration::from_secs(60), true).await;
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(answers, BTreeMap::from([(0, device())]));
    }

    #[tokio::test]
    async fn a_question_that_ends_without_an_answer_is_told() {
        let questions = JoinSet::new();
        let answers = round(questions, [7].into(), LIMIT, |_, _| false).await;
        assert_eq!(
            answers[&7],
            Answer::Unknown("no answer within 1s".to_owned())
        );
    }
}
