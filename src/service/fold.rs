//! Folds what an attempt came to into a message's progress, and says what follows from it.

use std::time::Duration;

use crate::mail::Envelope;
use crate::mail::Outcome;
use crate::mail::Reason;
use crate::mail::Status;
use crate::mail::envelope::Notify;
use crate::mail::report::Action;
use crate::queue::Progress;
use crate::queue::Stage;
use crate::queue::progress::TOLD_DELAY;

/// What follows from an attempt.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Follows {
    /// Recipients whose sender is to hear now, and of what.
    pub report: Vec<(usize, Action)>,
    /// Recipients that were given up now and nobody is to hear, or there is nobody: badmail.
    pub unreported: Vec<usize>,
    /// Recipients that are to be tried again on this way.
    pub again: bool,
    /// The setup was at fault for at least one that is tried again, so they must not expire over it.
    pub held: bool,
    /// No recipient waits any more on any way.
    pub over: bool,
}

/// What a message has lived through so far.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Running time in the queue.
    pub age: Duration,
    /// Its time is up.
    pub over: bool,
    /// When its sender is told that it takes long, if at all.
    pub notice: Option<Duration>,
}

impl Follows {
    /// Whether the sender is to hear of a delay.
    pub fn tells_delay(&self) -> bool {
        self.report.iter().any(|(_, of)| *of == Action::Delayed)
    }
}

/// Puts `outcomes` (by place in the envelope) into `progress`. A recipient that would be tried again although the
/// message has expired is given up, unless the setup is at fault.
///
/// `done` is what a recipient that was handed on has come to, when a report about it would be ours to write: the next
/// hop has not promised to.
pub fn fold(
    progress: &mut Progress,
    envelope: &Envelope,
    outcomes: Vec<(usize, Outcome)>,
    done: Option<Action>,
    life: Life,
) -> Follows {
    let mut follows = Follows::default();
    progress.attempts = progress.attempts.saturating_add(1);
    progress.age = life.age;
    for (at, outcome) in outcomes {
        match outcome {
            Outcome::Done(reason) => {
                progress.set(at, Stage::Delivered, reason);
                if let Some(action) = done
                    && wants(envelope, at, Notify::success)
                {
                    follows.report.push((at, action));
                }
            }
            Outcome::Later(reason) if life.over => {
                give_up(progress, envelope, &mut follows, at, expired(&reason));
            }
            Outcome::Later(reason) => {
                follows.again = true;
                progress.set(at, Stage::Waiting, reason);
            }
            Outcome::Hold(reason) => {
                follows.again = true;
                follows.held = true;
                progress.set(at, Stage::Waiting, reason);
            }
            Outcome::Never(reason) => give_up(progress, envelope, &mut follows, at, reason),
        }
    }
    follows.over = progress.waiting().next().is_none();
    let late = life.notice.is_some_and(|notice| life.age >= notice);
    if late && follows.again && !follows.held && progress.told & TOLD_DELAY == 0 {
        // A fault of the setup is the operator's to hear, not the sender's (promise G3).
        let waiting = progress
            .waiting()
            .filter(|&at| wants(envelope, at, Notify::delay));
        follows
            .report
            .extend(waiting.map(|at| (at, Action::Delayed)));
        if follows.tells_delay() {
            progress.told |= TOLD_DELAY;
        }
    }
    follows
}

/// Whether there is a sender who wants to hear of this. Nobody reports on what has the null sender, a report above
/// all (RFC 3461 s6.1).
fn wants(envelope: &Envelope, at: usize, wish: fn(Notify) -> bool) -> bool {
    let recipient = envelope.recipients.get(at);
    envelope.sender.is_some() && recipient.is_some_and(|to| wish(to.notify))
}

fn give_up(
    progress: &mut Progress,
    envelope: &Envelope,
    follows: &mut Follows,
    at: usize,
    reason: Reason,
) {
    progress.set(at, Stage::Failed, reason);
    // RFC 3461 s4.1: NEVER and a list without FAILURE both mean silence. It is kept all the same (promise G2).
    if wants(envelope, at, Notify::failure) {
        follows.report.push((at, Action::Failed));
    } else {
        follows.unreported.push(at);
    }
}

/// The last reason, as the end of all tries (RFC 3463 s3.5: X.4.7).
pub fn expired(last: &Reason) -> Reason {
    Reason {
        status: Status::new(4, 4, 7),
        code: last.code,
        text: if last.text.is_empty() {
            String::from("could not be delivered in time")
        } else {
            format!("could not be delivered in time; last: {}", last.text)
        },
        peer: last.peer.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Follows, Life, fold};
    use crate::mail::envelope::{Notify, Recipient};
    use crate::mail::report::Action;
    use crate::mail::{Address, Envelope, Outcome, Reason, Status};
    use crate::queue::progress::TOLD_DELAY;
    use crate::queue::{Progress, Stage};
    use std::time::Duration;

    fn reason() -> Reason {
        Reason::ours(Status::new(4, 2, 0), "because")
    }

    fn envelope() -> Envelope {
        let to = |text: &str, notify| Recipient {
            notify,
            ..Recipient::new(Address::parse(text).unwrap())
        };
        Envelope {
            sender: Some(Address::parse("s@x").unwrap()),
            recipients: vec![
                to("a@x", Notify::default()),
                to("b@x", Notify::Never),
                to("c@x", Notify::default()),
            ],
            ..Envelope::default()
        }
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    fn life(age: u64) -> Life {
        Life {
            age: hours(age),
            over: age >= 24,
            notice: Some(hours(4)),
        }
    }

    fn after(outcomes: Vec<(usize, Outcome)>, hours: u64) -> (Progress, Follows) {
        let mut progress = Progress::new(3);
        let follows = fold(&mut progress, &envelope(), outcomes, None, life(hours));
        (progress, follows)
    }

    #[test]
    fn each_recipient_goes_its_own_way() {
        let (progress, follows) = after(
            vec![
                (0, Outcome::Never(reason())),
                (1, Outcome::Never(reason())),
                (2, Outcome::Later(reason())),
            ],
            1,
        );
        assert_eq!(
            (progress.stage(0), progress.stage(2)),
            (Stage::Failed, Stage::Waiting)
        );
        let want = Follows {
            report: vec![(0, Action::Failed)],
            unreported: vec![1],
            again: true,
            held: false,
            over: false,
        };
        assert_eq!(follows, want);
    }

    #[test]
    fn time_runs_out_for_a_slow_peer_but_not_for_a_wrong_password() {
        let (progress, follows) = after(vec![(0, Outcome::Later(reason()))], 24);
        assert_eq!(progress.stage(0), Stage::Failed);
        assert_eq!(follows.report, [(0, Action::Failed)]);
        let (progress, follows) = after(vec![(0, Outcome::Hold(reason()))], 240);
        assert_eq!(progress.stage(0), Stage::Waiting);
        assert!(follows.held && follows.again && follows.report.is_empty());
    }

    #[test]
    fn a_delay_is_told_once_to_those_who_may_hear_of_it() {
        let later = || vec![(0, Outcome::Later(reason())), (1, Outcome::Later(reason()))];
        let (progress, follows) = after(later(), 3);
        assert_eq!((progress.told, follows.report), (0, vec![]));
        let (mut progress, follows) = after(later(), 4);
        // The third waits too, untried on another way; the second said NEVER.
        assert_eq!(follows.report, [(0, Action::Delayed), (2, Action::Delayed)]);
        assert_eq!(progress.told, TOLD_DELAY);
        let follows = fold(&mut progress, &envelope(), later(), None, life(5));
        assert_eq!(follows.report, []);
        let mut nobody = envelope();
        nobody.sender = None;
        let follows = fold(&mut Progress::new(3), &nobody, later(), None, life(5));
        assert_eq!(follows.report, []);
    }

    #[test]
    fn success_is_reported_where_it_was_asked_for_and_nobody_else_will() {
        let mut envelope = envelope();
        envelope.recipients[1].notify = Notify::On {
            success: true,
            failure: false,
            delay: false,
        };
        for (done, report) in [
            (None, vec![]),
            (Some(Action::Relayed), vec![(1, Action::Relayed)]),
        ] {
            let all = (0..3).map(|at| (at, Outcome::Done(reason()))).collect();
            let follows = fold(&mut Progress::new(3), &envelope, all, done, life(1));
            assert_eq!(follows.report, report);
            assert!(follows.over && !follows.again);
        }
    }
}
