//! A message in a session's hands: taken off the schedule, loaded, and perhaps given back untried.

use std::rc::Rc;
use std::time::Duration;

use crate::base::MsgId;
use crate::base::Tick;
use crate::config::hooks::On;
use crate::disk::fault::LoadError;
use crate::disk::stored::StoredMessage;
use crate::mail::Domain;
use crate::mail::report::Action;
use crate::policy::route::Next;
use crate::queue::Dates;
use crate::queue::Progress;
use crate::queue::progress::TOLD_DELAY;
use crate::queue::schedule::Waiting;
use crate::service::dates;
use crate::service::event::Event;
use crate::service::hooks;
use crate::service::log::emit;
use crate::service::shared::Service;
use crate::service::shared::waiting;

/// How long a message waits whose record could not be read for a reason that may pass.
const UNREADABLE_WAIT: Duration = Duration::from_secs(60);

/// A message in a session's hands.
#[derive(Debug)]
pub struct Attempt {
    /// Which.
    pub id: MsgId,
    /// The message.
    pub message: StoredMessage,
    /// The recipients to try on this way, by place in the envelope; never empty.
    pub recipients: Vec<usize>,
    /// When it is given up.
    pub expires: Tick,
    /// Running time in the queue at the start of this attempt.
    pub age: Duration,
    /// What the recipients that are done have come to, when nobody but us would report that.
    pub done: Option<Action>,
}

impl Attempt {
    /// The domain it goes to, where that is what its way is about: the first recipient's.
    pub fn domain(&self) -> Option<&Domain> {
        let envelope = &self.message.stored.accept.envelope;
        let first = envelope.recipients.get(*self.recipients.first()?)?;
        Some(first.destination())
    }
}

/// The next message of a way that is due, loaded; `None` when nothing is due now.
pub async fn take(service: &Rc<Service>, next: Next) -> Option<Attempt> {
    loop {
        let waiting = {
            if service.ending.has_begun() {
                return None;
            }
            let (live, now) = (service.live(), service.now());
            let mut ways = service.ways.borrow_mut();
            let pace = next.route().and_then(|route| live.pace(route));
            let waiting = ways.take(next, now, pace)?;
            ways.ring_lingering(next, now);
            waiting
        };
        if let Some(attempt) = load(service, next, waiting).await {
            return Some(attempt);
        }
    }
}

/// Loads a message that was taken off the schedule; `None` when there is nothing to do for it on this way (any more).
pub async fn load(service: &Rc<Service>, next: Next, taken: Waiting) -> Option<Attempt> {
    let id = taken.id;
    service.active.borrow_mut().enter(id);
    let mut message = match service.journal.load(id).await {
        Ok(message) => message,
        Err(error) => {
            let back = service.leave(id);
            match &error {
                LoadError::Gone => {}
                LoadError::Damaged(_) => damaged(service, id, &error),
                LoadError::Io(why) => {
                    emit(&Event::Trouble { what: "queue", why });
                    let due = service.now().after(UNREADABLE_WAIT);
                    if back {
                        let waiting = Waiting { due, ..taken };
                        service.ways.borrow_mut().add(next, waiting);
                    }
                }
            }
            return None;
        }
    };
    let live = service.live();
    let known_age = service.age(&message.stored);
    let stored = &message.stored;
    let envelope = &stored.accept.envelope;
    let pending = live.is_pending(envelope);
    let (recipients, over) = {
        let mut active = service.active.borrow_mut();
        let loaded = stored
            .progress
            .clone()
            .unwrap_or_else(|| Progress::new(envelope.recipients.len()));
        let progress = active.progress(id, loaded);
        let left = waiting(envelope, Some(progress));
        let over = left.is_empty();
        let mine = left.into_iter().filter(|&at| {
            let to = envelope.recipients.get(at);
            to.is_some_and(|to| live.way(pending, to) == next)
        });
        let mine: Vec<usize> = mine.collect();
        let first = mine.first().and_then(|&at| envelope.recipients.get(at));
        if let Some(first) = first.filter(|_| next.is_own()) {
            let domain = first.destination();
            service.ways.borrow_mut().call(next, domain);
        }
        (mine, over)
    };
    if over {
        // Its last Done was lost in a crash after everything else was written.
        service.journal.done(id);
    }
    if recipients.is_empty() {
        service.leave(id);
        return None;
    }
    // Marked only now: reading it back is what every start does as well. The first try of what came in during this run
    // needs no mark: should it end the service, the next run begins to count.
    if stored.progress.is_some() || !service.journal.is_new(id) {
        service.journal.begin(id);
    }
    // What is left of its life is counted in ticks, so that no calendar matters.
    let left = taken.expires.since(service.now());
    let age = live.expire(next).saturating_sub(left).max(known_age);
    if message.stored.accept.dates != Dates::Good
        && let Some(now) = service.clock.believed()
    {
        dates::put_right(&mut message, now, known_age).await;
    }
    Some(Attempt {
        id,
        message,
        recipients,
        expires: taken.expires,
        age,
        done: None,
    })
}

/// Whether nobody is to be told of a delay of this message: it was told, or nobody asked.
pub async fn tells_nobody(service: &Rc<Service>, id: MsgId) -> bool {
    match service.journal.load(id).await {
        Ok(message) => {
            let stored = message.stored;
            let told = stored.progress.map_or(0, |progress| progress.told);
            let mut to = stored.accept.envelope.recipients.iter();
            told & TOLD_DELAY != 0
                || stored.accept.envelope.sender.is_none()
                || !to.any(|to| to.notify.delay())
        }
        // Whoever tries it next finds out and says so.
        Err(_) => true,
    }
}

/// Gives a message back untried: the session ended before its turn came.
pub fn give_back(service: &Rc<Service>, next: Next, attempt: Attempt) {
    let id = attempt.id;
    let waiting = Waiting {
        due: service.now(),
        id,
        expires: attempt.expires,
    };
    let recipients = attempt.message.stored.accept.envelope.recipients.len();
    let mut active = service.active.borrow_mut();
    let progress = active.progress(id, Progress::new(recipients));
    // Ends what was begun: that it was not tried is not the message's fault.
    service.journal.progress(id, progress.clone());
    drop(active);
    if service.leave(id) {
        service.ways.borrow_mut().give_back(next, waiting);
    }
}

/// What a session tells of a way that got as far as a transaction.
pub fn way_well(service: &Service, next: Next) {
    let now = service.now();
    let held = service.ways.borrow_mut().way(next).health.is_held();
    if held {
        service.spare(next);
    }
    let news = service.ways.borrow_mut().way(next).health.on_success(now);
    if news {
        service.health.ring();
        let way = &service.way_name(next);
        emit(&Event::WayWell { way });
        hooks::way(service, On::Well, way, "");
        // One probe found out; the others may follow.
        service.due.ring();
    }
}

/// A queued message cannot be read back: tells the operator, and holds it so that nothing touches what is left.
pub fn damaged(service: &Service, id: MsgId, error: &LoadError) {
    let why = error.to_string();
    emit(&Event::Damaged { id, why: &why });
    service.journal.hold(id, why);
}
