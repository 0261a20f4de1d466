//! Folds what an attempt came to into a message's progress, and says what follows from it.

use std::time::Duration;

use crate::mail::Envelope;
use crate::mail::Outcome;
use crate::mail::Reason;
use crate::mail::Status;
use crate::mail::envelope::Notify;
use crate::queue::Progress;
use crate::queue::Stage;

/// What follows from an attempt.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Follows {
    /// Recipients that were given up now and whose sender wants to hear.
    pub report: Vec<usize>,
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
    /// How long it is tried.
    pub expire: Duration,
}

/// Puts `outcomes` (by place in the envelope) into `progress`. A recipient that would be tried again although the
/// message has expired is given up, unless the setup is at fault.
pub fn fold(
    progress: &mut Progress,
    envelope: &Envelope,
    outcomes: Vec<(usize, Outcome)>,
    life: Life,
) -> Follows {
    let mut follows = Follows::default();
    progress.attempts = progress.attempts.saturating_add(1);
    progress.age = life.age;
    for (at, outcome) in outcomes {
        match outcome {
            Outcome::Done(reason) => progress.set(at, Stage::Delivered, reason),
            Outcome::Later(reason) if life.age >= life.expire => {
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
    follows
}

fn give_up(
    progress: &mut Progress,
    envelope: &Envelope,
    follows: &mut Follows,
    at: usize,
    reason: Reason,
) {
    progress.set(at, Stage::Failed, reason);
    let asked = envelope.recipients.get(at).map(|r| r.notify);
    // RFC 3461 s4.1: NEVER and a list without FAILURE both mean silence. It is kept all the same (promise G2).
    let wanted = matches!(asked, Some(Notify::On { failure: true, .. }));
    if wanted && envelope.sender.is_some() {
        follows.report.push(at);
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
    use crate::mail::{Address, Envelope, Outcome, Reason, Status};
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

    fn after(outcomes: Vec<(usize, Outcome)>, hours: u64) -> (Progress, Follows) {
        let mut progress = Progress::new(3);
        let life = Life {
            age: Duration::from_secs(hours * 3600),
            expire: Duration::from_secs(24 * 3600),
        };
        let follows = fold(&mut progress, &envelope(), outcomes, life);
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
            report: vec![0],
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
        assert_eq!(
            (progress.stage(0), follows.report),
            (Stage::Failed, vec![0])
        );
        let (progress, follows) = after(vec![(0, Outcome::Hold(reason()))], 240);
        assert_eq!(progress.stage(0), Stage::Waiting);
        assert!(follows.held && follows.again && follows.report.is_empty());
    }

    #[test]
    fn it_is_over_when_nobody_waits() {
        let all = (0..3).map(|at| (at, Outcome::Done(reason()))).collect();
        let (_, follows) = after(all, 1);
        assert!(follows.over && !follows.again);
    }
}
