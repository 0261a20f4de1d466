//! The way to the directory: asks it about a message's recipients, and sends the message on to those that it names.
//!
//! A message with a recipient in a domain of the directory is accepted like any other, durably, and goes on this way
//! alone, with all its recipients. While the directory cannot be asked the way is down or held, as any way is, with one
//! probe a step; no message expires on it, whatever the reason (promise G3). When it has answered, one stroke of the
//! journal takes in a message of its own with the recipients that were found, and ends the old one (or notes which of
//! its recipients are dealt with): a power cut leaves either the old message, which is looked up again, or the new
//! one, never both and never none. The new one is marked, so that it goes on its ways without another look.
//!
//! All recipients wait for the directory together, as they did in the categorizer of IIS, so that at most one task
//! works on a message while its recipients may still change. Those that the directory does not know are reported
//! (5.1.1) after that stroke; a cut between the two repeats the question, and tells nobody twice. What is lost by it is
//! at most a report that a list was expanded. A recipient for whom the setup has to be mended (two entries with one
//! address, a group over its limits) stays, and waits.
//!
//! The time spent here counts for the notice of a delay, not for the expiry of what comes out.

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use smol::future;

use crate::base::MsgId;
use crate::base::limits;
use crate::disk::fault::Refused;
use crate::disk::journal::Joined;
use crate::ldap::expand::Resolution;
use crate::ldap::expand::Target;
use crate::mail::Envelope;
use crate::mail::Outcome;
use crate::mail::Reason;
use crate::mail::Recipient;
use crate::mail::Status;
use crate::mail::report::Action;
use crate::net::ldap::Connection;
use crate::net::ldap::Failure;
use crate::net::ready::Alarm;
use crate::policy::route::Next;
use crate::queue::Accept;
use crate::queue::Progress;
use crate::queue::Stage;
use crate::service::attempt;
use crate::service::attempt::Attempt;
use crate::service::conclude;
use crate::service::directory::Directory;
use crate::service::event::Event;
use crate::service::live::Live;
use crate::service::log::emit;
use crate::service::shared::Service;

/// How long a connection is kept for the next message.
const LINGER: Duration = Duration::from_secs(2);

/// Looks up what is due, until nothing is.
pub async fn session(service: &Rc<Service>) {
    let live = service.live();
    let mut connection = None;
    while let Some(attempt) = following(service, &live, &mut connection).await {
        let Some(directory) = &live.directory else {
            // A reload has taken it away; rerouting will put the message elsewhere.
            return attempt::give_back(service, Next::Directory, attempt);
        };
        match look_up(service, directory, &mut connection, &attempt).await {
            Ok(found) => {
                attempt::way_well(service, Next::Directory);
                if let Some(open) = &connection {
                    let mut ways = service.ways.borrow_mut();
                    open.server.clone_into(&mut ways.way(Next::Directory).host);
                }
                if !settle(service, &live, attempt, found).await {
                    break;
                }
            }
            Err(failure) => {
                attempt::give_back(service, Next::Directory, attempt);
                // Not a word about the recipients was heard: nobody hears that one of them is no good.
                let status = if failure.setup {
                    Status::new(4, 3, 5)
                } else {
                    Status::new(4, 4, 1)
                };
                let reason = Reason::ours(status, failure.text);
                return conclude::way_failed(service, Next::Directory, failure.setup, &reason)
                    .await;
            }
        }
    }
    if let Some(open) = connection {
        open.close().await;
    }
}

/// The next message; while a connection is open one is waited for a little.
async fn following(
    service: &Rc<Service>,
    live: &Rc<Live>,
    connection: &mut Option<Connection>,
) -> Option<Attempt> {
    loop {
        if !Rc::ptr_eq(&service.live(), live) {
            return None;
        }
        if let Some(attempt) = attempt::take(service, Next::Directory).await {
            return Some(attempt);
        }
        let open = connection.as_mut()?;
        let bell = {
            let mut ways = service.ways.borrow_mut();
            let way = ways.way(Next::Directory);
            way.lingering += 1;
            Rc::clone(&way.linger)
        };
        let rung = async {
            bell.heard().await;
            true
        };
        let over = async {
            future::or(Alarm::after(LINGER), service.ending.begun()).await;
            false
        };
        let hung_up = async {
            open.hung_up().await;
            false
        };
        let more = future::or(rung, future::or(over, hung_up)).await;
        let mut ways = service.ways.borrow_mut();
        let way = ways.way(Next::Directory);
        way.lingering = way.lingering.saturating_sub(1);
        if !more {
            return None;
        }
    }
}

/// What became of a recipient; `None` is one that the directory has nothing to say about.
type Found = (usize, Option<Resolution>);

async fn look_up(
    service: &Service,
    directory: &Directory,
    connection: &mut Option<Connection>,
    attempt: &Attempt,
) -> Result<Vec<Found>, Failure> {
    let envelope = &attempt.message.stored.accept.envelope;
    let mut all = Vec::new();
    for &at in &attempt.recipients {
        let Some(to) = envelope.recipients.get(at) else {
            continue;
        };
        let found = if directory.resolves(to.address.domain()) {
            Some(
                directory
                    .resolve(service.reach(), connection, &to.address)
                    .await?,
            )
        } else {
            None
        };
        all.push((at, found));
    }
    Ok(all)
}

/// What follows from an answer.
#[derive(Debug, Default)]
struct Plan {
    /// Who gets the message instead.
    to: Vec<Recipient>,
    /// Whom of its recipients they stand for.
    moved: Vec<usize>,
    /// Lists among those whose sender wants to hear of success.
    lists: Vec<usize>,
    /// What became of the others.
    others: Vec<(usize, Outcome)>,
}

impl Plan {
    fn new(envelope: &Envelope, found: Vec<Found>, keeps: impl Fn(&Recipient) -> bool) -> Self {
        let mut plan = Self::default();
        let (mut had, mut bytes) = (BTreeSet::new(), 0_usize);
        for (at, found) in found {
            let Some(original) = envelope.recipients.get(at) else {
                continue;
            };
            let mut list = false;
            let new: Vec<Recipient> = match found {
                None => vec![original.clone()],
                Some(Resolution::Unknown) if keeps(original) => vec![original.clone()],
                Some(Resolution::Known {
                    targets, list: is, ..
                }) => {
                    list = is;
                    let to = targets.into_iter();
                    to.map(|to| instead(original, to, list)).collect()
                }
                Some(Resolution::Unknown) => {
                    let why = Reason::ours(
                        Status::new(5, 1, 1),
                        "the directory knows nobody with this address",
                    );
                    plan.others.push((at, Outcome::Never(why)));
                    continue;
                }
                Some(Resolution::Empty) => {
                    let why = Reason::ours(Status::new(5, 2, 4), "this group has no members");
                    plan.others.push((at, Outcome::Never(why)));
                    continue;
                }
                Some(Resolution::Held(why)) => {
                    let why = Reason::ours(Status::new(4, 3, 5), format!("directory: {why}"));
                    plan.others.push((at, Outcome::Hold(why)));
                    continue;
                }
            };
            let orcpt = |to: &Recipient| to.orcpt.as_ref().map_or(0, String::len);
            let weight = |to: &Recipient| to.address.to_string().len() + orcpt(to) + 8;
            let more: usize = new.iter().map(weight).sum();
            bytes = bytes.saturating_add(more);
            let count = plan.to.len().saturating_add(new.len());
            if count > limits::RECIPIENTS || bytes > limits::ENVELOPE {
                let why = Reason::ours(
                    Status::new(4, 5, 3),
                    "with this one the message has more recipients than one message can have",
                );
                plan.others.push((at, Outcome::Hold(why)));
                bytes = bytes.saturating_sub(more);
                continue;
            }
            let fresh = |to: &Recipient| had.insert(to.address.to_string().to_lowercase());
            plan.to.extend(new.into_iter().filter(fresh));
            plan.moved.push(at);
            if list && original.notify.success() {
                plan.lists.push(at);
            }
        }
        plan
    }
}

/// A recipient in the place of another (RFC 3461 s5.2.7): one who was forwarded to hears and is heard of as the other
/// would be; of a list's members nobody hears a success, for the list's own sender was told that it was expanded.
fn instead(original: &Recipient, to: Target, list: bool) -> Recipient {
    let same = to.address == original.address;
    Recipient {
        notify: if list {
            original.notify.of_member()
        } else {
            original.notify
        },
        orcpt: match &original.orcpt {
            None if !same => original.address.orcpt(),
            known => known.clone(),
        },
        host: to.host,
        address: to.address,
    }
}

/// Does what follows. False when the journal took nothing: then the way waits.
async fn settle(
    service: &Rc<Service>,
    live: &Live,
    mut attempt: Attempt,
    found: Vec<Found>,
) -> bool {
    let id = attempt.id;
    let envelope = &attempt.message.stored.accept.envelope;
    let total = envelope.recipients.len();
    let keeps = |to: &Recipient| {
        let keep = live
            .directory
            .as_ref()
            .is_some_and(|one| one.config.keep_unknown);
        keep || to.address.is_postmaster()
            || live.config.rewrite.mailboxes.listed(&to.address).is_some()
    };
    let plan = Plan::new(envelope, found, keeps);
    if !plan.to.is_empty() {
        let stored = attempt.message.stored.progress.clone();
        let mut progress = stored.unwrap_or_else(|| Progress::new(total));
        for &at in &plan.moved {
            let why = Reason::ours(Status::new(2, 1, 5), "looked up in the directory");
            progress.set(at, Stage::Delivered, why);
        }
        let ends = plan.others.is_empty() && plan.lists.is_empty();
        let joined = if ends && progress.waiting().next().is_none() {
            Joined::Done(id)
        } else {
            Joined::Progress(id, progress.clone())
        };
        let over = matches!(joined, Joined::Done(_));
        match reissue(service, &mut attempt, plan.to, joined).await {
            Ok(()) => {}
            Err(Unmade::Damaged(why)) => {
                emit(&Event::Damaged { id, why: &why });
                service.journal.hold(id, why);
                service.leave(id);
                return true;
            }
            Err(why) => {
                attempt::give_back(service, Next::Directory, attempt);
                let reason = Reason::ours(Status::new(4, 3, 1), why.to_string());
                conclude::way_failed(service, Next::Directory, false, &reason).await;
                return false;
            }
        }
        // Nobody else works on it: it waits on this way alone.
        *service
            .active
            .borrow_mut()
            .progress(id, Progress::default()) = progress;
        if over {
            emit(&Event::Completed { id });
            service.leave(id);
            return true;
        }
    }
    let mut outcomes = plan.others;
    for at in plan.lists {
        let why = Reason::ours(Status::new(2, 1, 5), "sent on to the members of this list");
        outcomes.push((at, Outcome::Done(why)));
    }
    attempt.done = Some(Action::Expanded);
    conclude::conclude(service, Next::Directory, attempt, outcomes).await;
    true
}

/// Why no message was made.
enum Unmade {
    /// What is stored cannot be read any more.
    Damaged(String),
    /// Not now.
    Disk(std::io::Error),
    /// Not now.
    Journal(Refused),
}

impl fmt::Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(why) => f.write_str(why),
            Self::Disk(error) => write!(f, "the message cannot be written again: {error}"),
            Self::Journal(refused) => refused.fmt(f),
        }
    }
}

/// Makes the message that goes on, in one stroke with the end of the old one.
async fn reissue(
    service: &Rc<Service>,
    attempt: &mut Attempt,
    recipients: Vec<Recipient>,
    joined: Joined,
) -> Result<(), Unmade> {
    let new: MsgId = service.journal.next_id();
    let mut draft = service.journal.draft(new);
    let body = &mut attempt.message.body;
    let (mut block, mut offset) = (Vec::new(), 0_u64);
    let mut seen = crc32fast::Hasher::new();
    while offset < body.len() {
        let read = body.read(offset, &mut block).await;
        read.map_err(|error| Unmade::Damaged(error.to_string()))?;
        seen.update(&block);
        offset = offset.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
        draft.write(&block).await.map_err(Unmade::Disk)?;
    }
    let stored = &attempt.message.stored;
    if stored.body_crc.is_some_and(|crc| crc != seen.finalize()) {
        return Err(Unmade::Damaged("the stored body is damaged".to_owned()));
    }
    let count = recipients.len();
    let accept = Accept {
        envelope: Envelope {
            recipients,
            resolved: true,
            ..stored.accept.envelope.clone()
        },
        running: service.running(),
        ..stored.accept.clone()
    };
    // It was accepted already, so it is not refused for the number of its domains.
    let ways = service.routed(&accept.envelope, true).unwrap_or_default();
    service.active.borrow_mut().enter(new);
    let accepted = service
        .journal
        .accept(accept, draft, Some(joined), None)
        .await;
    accepted.map_err(|refused| {
        service.leave(new);
        Unmade::Journal(refused)
    })?;
    emit(&Event::Resolved {
        id: attempt.id,
        new,
        recipients: count,
    });
    service.schedule(new, &ways);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Plan;
    use crate::ldap::expand::{Resolution, Target};
    use crate::mail::envelope::{Notify, Recipient};
    use crate::mail::{Address, Envelope, Outcome};

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn known(list: bool, all: &[&str]) -> Option<Resolution> {
        let target = |text: &&str| Target {
            address: address(text),
            host: None,
        };
        Some(Resolution::Known {
            targets: all.iter().map(target).collect(),
            list,
            missing: Vec::new(),
        })
    }

    fn on(success: bool, failure: bool) -> Notify {
        Notify::On {
            success,
            failure,
            delay: false,
        }
    }

    fn plan(to: &[(&str, Notify)], found: Vec<Option<Resolution>>) -> Plan {
        let recipients = to.iter().map(|(text, notify)| Recipient {
            notify: *notify,
            ..Recipient::new(address(text))
        });
        let envelope = Envelope {
            recipients: recipients.collect(),
            ..Envelope::default()
        };
        Plan::new(&envelope, found.into_iter().enumerate().collect(), |to| {
            to.address.is_postmaster()
        })
    }

    #[test]
    fn nobody_gets_it_twice_and_wishes_go_along() {
        let plan = plan(
            &[
                ("info@x.test", on(true, true)),
                ("all@x.test", on(true, false)),
                ("far@else.test", Notify::Unsaid),
                ("b@x.test", Notify::Never),
            ],
            vec![
                known(false, &["ann@x.test"]),
                known(true, &["Ann@x.test", "bob@x.test", "far@else.test"]),
                None,
                known(false, &["b@x.test"]),
            ],
        );
        let got: Vec<_> = plan
            .to
            .iter()
            .map(|to| (to.address.to_string(), to.notify, to.orcpt.clone()))
            .collect();
        let of = |text: &str| Some(format!("rfc822;{text}"));
        assert_eq!(
            got,
            [
                ("ann@x.test".to_owned(), on(true, true), of("info@x.test")),
                ("bob@x.test".to_owned(), Notify::Never, of("all@x.test")),
                ("far@else.test".to_owned(), Notify::Never, of("all@x.test")),
                ("b@x.test".to_owned(), Notify::Never, None),
            ]
        );
        assert_eq!((plan.moved, plan.lists), (vec![0, 1, 2, 3], vec![1]));
    }

    #[test]
    fn who_is_unknown_is_told_and_what_has_to_be_mended_waits() {
        let plan = plan(
            &[
                ("nobody@x.test", Notify::Unsaid),
                ("none@x.test", Notify::Unsaid),
                ("twin@x.test", Notify::Unsaid),
                ("Postmaster@x.test", Notify::Unsaid),
            ],
            vec![
                Some(Resolution::Unknown),
                Some(Resolution::Empty),
                Some(Resolution::Held("twice".to_owned())),
                Some(Resolution::Unknown),
            ],
        );
        let words = plan.others.iter().map(|(at, outcome)| match outcome {
            Outcome::Never(why) => format!("{at} never {}", why.status),
            Outcome::Hold(why) => format!("{at} hold {}", why.status),
            other => format!("{at} {other:?}"),
        });
        let words: Vec<_> = words.collect();
        assert_eq!(words, ["0 never 5.1.1", "1 never 5.2.4", "2 hold 4.3.5"]);
        assert_eq!((plan.moved, plan.to.len()), (vec![3], 1));
    }
}
