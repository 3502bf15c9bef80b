//! One table for each request.

use super::*;

const SECOND: u64 = 1_000_000_000;

fn record(state: u32, generation: u32) -> PendingConfirm {
    PendingConfirm {
        state,
        generation,
        deadline: 100 * SECOND,
        ..PendingConfirm::default()
    }
}

fn awaiting(seconds: u64) -> PendingState {
    PendingState::Awaiting(PendingPolicy {
        generation: 7,
        left: Duration::from_secs(seconds),
    })
}

#[test]
fn the_state_follows_from_record_generation_and_time() {
    use PendingState::{None, RolledBack, RollingBack};
    const ARMED: u32 = PendingConfirm::ARMED;
    for (state, pending, in_force, now, expected) in [
        (ARMED, 7, 7, 40, awaiting(60)),
        (ARMED, 7, 7, 100, awaiting(0)),
        (ARMED, 7, 7, 200, awaiting(0)),
        // The reload that armed the record ended before its switch.
        (ARMED, 7, 6, 40, None),
        // The rollback ended right after its switch.
        (ARMED, 7, 8, 40, RollingBack),
        (ARMED, 7, 9, 40, None),
        (ARMED, u32::MAX, 1, 40, RollingBack),
        (PendingConfirm::NONE, 7, 7, 40, None),
        (PendingConfirm::default().state, 0, 0, 0, None),
        (PendingConfirm::ROLLED_BACK, 7, 8, 400, RolledBack),
        (PendingConfirm::ROLLED_BACK, 7, 12, 400, RolledBack),
    ] {
        let seen = PendingState::of(record(state, pending), in_force, now * SECOND);
        assert_eq!(seen, expected, "{state} {pending} {in_force} {now}");
    }
}

#[test]
fn a_rollback_is_due_from_the_deadline_on() {
    for (state, due) in [
        (PendingState::None, Rollback::None),
        (PendingState::RolledBack, Rollback::None),
        (PendingState::RollingBack, Rollback::Rest),
        (awaiting(1), Rollback::None),
        (awaiting(0), Rollback::Whole),
    ] {
        assert_eq!(state.due(), due, "{state:?}");
    }
}

#[test]
fn a_change_is_admitted_or_refused_by_state_author_and_registry() {
    let pending = awaiting(9).awaiting().unwrap();
    let refused = Err(Refusal::Awaiting(pending));
    let again = Err(Refusal::AlreadyRolledBack);
    // The author, whether the change ends a pending policy, whether its registry was pending last;
    // then the answers while awaiting, rolled back, rolling back, and without any pending policy.
    for (author, ends_pending, is_last_pending, answers) in [
        (
            Author::Command,
            false,
            false,
            [refused, Ok(()), Ok(()), Ok(())],
        ),
        (
            Author::Command,
            false,
            true,
            [refused, Ok(()), Ok(()), Ok(())],
        ),
        (
            Author::Command,
            true,
            false,
            [Ok(()), Ok(()), Ok(()), Ok(())],
        ),
        (
            Author::Command,
            true,
            true,
            [Ok(()), Ok(()), Ok(()), Ok(())],
        ),
        (Author::Run, false, false, [refused, Ok(()), Ok(()), Ok(())]),
        (Author::Run, false, true, [refused, again, again, Ok(())]),
        (Author::Run, true, false, [refused, Ok(()), Ok(()), Ok(())]),
        (Author::Run, true, true, [refused, again, again, Ok(())]),
    ] {
        let change = Change {
            author,
            ends_pending,
            is_last_pending,
        };
        let states = [
            awaiting(9),
            PendingState::RolledBack,
            PendingState::RollingBack,
            PendingState::None,
        ];
        assert_eq!(
            states.map(|state| state.admit(change)),
            answers,
            "{change:?}"
        );
    }
}

#[test]
fn a_confirmation_accepts_only_a_policy_that_awaits_one() {
    for (state, answer) in [
        (awaiting(1), Confirmation::Accept(7)),
        (PendingState::RolledBack, Confirmation::TooLate),
        (PendingState::None, Confirmation::NothingPending),
        (PendingState::RollingBack, Confirmation::NothingPending),
    ] {
        assert_eq!(state.confirm(), answer, "{state:?}");
    }
}

#[test]
fn seconds_are_rounded_up() {
    let left = |nanoseconds| {
        PendingPolicy {
            generation: 1,
            left: Duration::from_nanos(nanoseconds),
        }
        .seconds_left()
    };
    let seen = [0, 1, SECOND, SECOND + 1].map(left);
    assert_eq!(seen, [0, 1, 1, 2]);
}

#[test]
fn generation_0_is_never_reached_again() {
    assert_eq!([0, 1, u32::MAX].map(next_generation), [1, 2, 1]);
}
