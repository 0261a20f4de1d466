//! The one path by which every message comes in, whatever the door.
//!
//! Adds the trace field and what is missing (Date, Message-ID, From), counts the hops, and hands body and envelope
//! to the journal. Nobody is told yes before [`Intake::finish`] has returned an id (promise G1). A body is passed on
//! as it comes and is never whole in memory.

use std::fmt;
use std::fmt::Write;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use crate::base::MsgId;
use crate::base::limits;
use crate::disk::draft::Draft;
use crate::disk::fault::Refused;
use crate::disk::journal::Joined;
use crate::mail::Envelope;
use crate::mail::Recipient;
use crate::mail::Status;
use crate::mail::date::Date;
use crate::mail::envelope::Body;
use crate::mail::envelope::TlsWish;
use crate::mail::header;
use crate::mail::header::Facts;
use crate::mail::header::Field;
use crate::mail::header::Plan;
use crate::mail::trace;
use crate::mail::trace::Origin;
use crate::mail::trace::Received;
use crate::net::random;
use crate::policy::route::Next;
use crate::queue::Accept;
use crate::queue::Dates;
use crate::queue::Door;
use crate::queue::Priority;
use crate::service::aliases;
use crate::service::event::Event;
use crate::service::log::emit;
use crate::service::memory_first;
use crate::service::shared::Service;
use crate::service::show;

/// Bytes that hold most trace fields.
const TRACE: usize = 256;

/// Why a message was not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// It has been through too many hosts (RFC 5321 s6.3).
    Hops(u32),
    /// Aliases make too many of its recipients.
    TooMany,
    /// Too many domains have mail waiting, for now.
    Ways,
    /// The journal would not, for now.
    Journal(Refused),
    /// Its body could not be stored, for now.
    Disk(io::Error),
}

impl NotTaken {
    /// The status for whoever sent it.
    pub fn status(&self) -> Status {
        match self {
            Self::Hops(_) => Status::new(5, 4, 6),
            Self::TooMany => Status::new(5, 5, 3),
            Self::Ways => Status::new(4, 3, 1),
            Self::Journal(refused) if refused.is_full() => Status::new(4, 3, 1),
            Self::Journal(_) => Status::new(4, 3, 0),
            Self::Disk(_) => Status::new(4, 3, 0),
        }
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hops(most) => write!(f, "over {most} hops: the message is in a loop"),
            Self::TooMany => write!(
                f,
                "aliases make more than {} of its recipients",
                limits::RECIPIENTS
            ),
            Self::Ways => write!(
                f,
                "mail waits for {} domains already; it goes on when some of it has left",
                limits::WAYS
            ),
            Self::Journal(refused) => refused.fmt(f),
            Self::Disk(error) => write!(f, "the body cannot be stored: {error}"),
        }
    }
}

/// The text of a trace field, with room for it from the start: every message has one.
fn written(received: &Received<'_>) -> String {
    let mut text = String::with_capacity(TRACE);
    // A String takes everything.
    let _ = write!(text, "{received}");
    text
}

/// A message that is durable and not yet on its ways.
#[derive(Debug)]
pub struct Taken {
    /// Its name.
    pub id: MsgId,
    /// Where it goes.
    pub ways: Vec<Next>,
    /// Recipients that became several, and whose sender wants to hear of a delivery.
    pub expanded: Vec<Recipient>,
}

/// Ways, bytes, and the journal at work.
type Going<F> = (Vec<Next>, u64, Pin<Box<F>>);

/// A message on its way in.
#[derive(Debug)]
pub struct Intake {
    id: MsgId,
    door: Door,
    origin: String,
    draft: Draft,
    /// The clock was not known when it began.
    undated: bool,
    /// Our trace field, until it is written in front of the message.
    top: Vec<u8>,
}

impl Intake {
    /// Begins a message. Answers also what is to be done to its header: what the door wants (`plan`) and what every
    /// message needs.
    pub fn begin(
        service: &Service,
        id: MsgId,
        door: Door,
        origin: String,
        from: Origin<'_>,
        mut plan: Plan,
    ) -> (Box<Self>, Plan) {
        let live = service.live();
        let hostname = &live.config.hostname;
        // A date that nobody believes is worse than none: it is added when the message leaves, or by the next hop.
        let now = service.clock.believed();
        plan.date = now.map(|now| Date::utc(now).to_string());
        let chance = random::number().unwrap_or(id.number());
        plan.message_id = Some(trace::message_id(id, chance, hostname));
        let received = Received {
            origin: from,
            by: hostname,
            id,
            recipient: None,
            at: service.clock.best(),
        };
        let intake = Self {
            id,
            door,
            origin,
            draft: service.journal.draft(id),
            undated: now.is_none(),
            top: written(&received).into_bytes(),
        };
        // Boxed, it is not copied through the futures that wait with it.
        (Box::new(intake), plan)
    }

    /// The id it will have.
    pub const fn id(&self) -> MsgId {
        self.id
    }

    /// Stores more of the message, as it came out of its walker.
    pub async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.top.is_empty() {
            self.draft.write(&std::mem::take(&mut self.top)).await?;
        }
        self.draft.write(bytes).await
    }

    /// Ends the message and makes it durable; the caller then puts it on its ways with [`Service::schedule`].
    /// `joined` is written in the same stroke: the progress of the message
    /// that this one reports on.
    pub fn finish(
        mut self: Box<Self>,
        service: &Rc<Service>,
        mut envelope: Envelope,
        facts: &Facts,
        joined: Option<Joined>,
    ) -> impl Future<Output = Result<Taken, NotTaken>> {
        let first_hop = facts.hops == 0;
        // A block, since an async function holds all that it is given twice, and every session has room for this.
        async move {
            // Whatever else changes recipients comes behind this, and before they are routed.
            let rewritten = aliases::rewrite(service, &mut envelope, first_hop).await;
            let from = show::path(envelope.sender.as_ref());
            let (id, recipients) = (self.id, envelope.recipients.len());
            let (door, origin) = (show::door(self.door), self.origin.clone());
            let put = self.put(b"").await;
            // From before its ways are chosen it is in our hands, so that a change of the routes does not pass it by.
            service.active.borrow_mut().enter(id);
            let going = match (rewritten, put) {
                (Err(_), _) => Err(NotTaken::TooMany),
                (_, Err(error)) => Err(NotTaken::Disk(error)),
                (Ok(expanded), Ok(())) => self
                    .store(service, envelope, facts, joined)
                    .map(|(ways, bytes, stored)| (Taken { id, ways, expanded }, bytes, stored)),
            };
            let result = match going {
                Ok((taken, bytes, stored)) => {
                    let stored = stored.await.map_err(NotTaken::Journal);
                    stored.map(|()| (taken, bytes))
                }
                Err(why) => Err(why),
            };
            let mut counts = service.counts.get();
            match &result {
                Ok((_, bytes)) => {
                    counts.accepted = counts.accepted.wrapping_add(1);
                    emit(&Event::Accepted {
                        id,
                        door,
                        origin: &origin,
                        from: &from,
                        recipients,
                        bytes: *bytes,
                    });
                }
                Err(why) => {
                    service.leave(id);
                    counts.refused = counts.refused.wrapping_add(1);
                    emit(&Event::Refused {
                        door,
                        origin: &origin,
                        why: &why.to_string(),
                    });
                }
            }
            service.counts.set(counts);
            result.map(|(taken, _)| taken)
        }
    }

    /// Hands it to the journal. Answers its ways, its size in bytes, and what to wait for before anybody is told yes.
    fn store(
        self,
        service: &Service,
        mut envelope: Envelope,
        facts: &Facts,
        joined: Option<Joined>,
    ) -> Result<Going<impl Future<Output = Result<(), Refused>>>, NotTaken> {
        let most = service.live().config.limits.hops;
        if facts.hops > most {
            return Err(NotTaken::Hops(most));
        }
        if envelope.body == Body::Seven && facts.body_8bit {
            // Said or not, it is; the next hop must be told.
            envelope.body = Body::Eight;
        }
        if envelope.tls == TlsWish::Usual && facts.tls_optional {
            envelope.tls = TlsWish::Optional;
        }
        // The envelope moves into the journal's record; where it goes is decided before.
        // What we say ourselves is about mail that was accepted, so it is not refused.
        let must = self.door == Door::Notice;
        let ways = service.routed(&envelope, must).ok_or(NotTaken::Ways)?;
        let accept = Accept {
            arrived: service.clock.raw(),
            door: self.door,
            origin: self.origin,
            priority: match facts.priority {
                header::Priority::Low => Priority::Low,
                header::Priority::Normal => Priority::Normal,
                header::Priority::High => Priority::High,
            },
            header: None,
            envelope,
            running: service.running(),
            dates: match (self.undated, facts.has(Field::Date)) {
                (false, _) => Dates::Good,
                (true, true) => Dates::Guessed,
                (true, false) => Dates::Missing,
            },
        };
        let until = match joined {
            None => memory_first::until(service, &accept, &ways),
            Some(_) => None,
        };
        let bytes = self.draft.len();
        let accepted = service.journal.accept(accept, self.draft, joined, until);
        let stored = async move {
            let accepted = accepted.await;
            if until.is_some() {
                service.memory.ring();
            }
            accepted
        };
        // Boxed, since whoever waits for it would have room for it three times.
        Ok((ways, bytes, Box::pin(stored)))
    }
}
