//! One connection: drives the client machine, and sends one message after the other.

use std::cell::Cell;
use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use smol::future;
use smol::io::AsyncReadExt;

use crate::base::Wall;
use crate::config::model::Via;
use crate::mail::Envelope;
use crate::mail::Outcome;
use crate::mail::dkim::signing::Signer;
use crate::mail::report::Action;
use crate::net::Peer;
use crate::net::Stream;
use crate::net::clock;
use crate::net::ready::Alarm;
use crate::net::tls::error::TlsError;
use crate::net::within::Patience;
use crate::policy::route::Next;
use crate::service::attempt;
use crate::service::attempt::Attempt;
use crate::service::conclude;
use crate::service::live::Live;
use crate::service::live::Out;
use crate::service::log;
use crate::service::logs::spoken::Spoken;
use crate::service::outgoing::Outgoing;
use crate::service::secure::Plan;
use crate::service::sending::Sending;
use crate::service::sending::Sent;
use crate::service::sending::write;
use crate::service::shared::Service;
use crate::service::sign;
use crate::service::targets::Target;
use crate::smtp::client::Client;
use crate::smtp::client::order::Order;
use crate::smtp::client::transfer::Message;

/// How long a connection is kept for the next message. Peers bear this much silence, and a burst of mail comes with
/// smaller gaps.
const LINGER: Duration = Duration::from_secs(1);

/// Messages that a session sends before it makes room for a way that has no connection and cannot get one.
const SHARE: u32 = 10;

/// What a session keeps for the bodies of its next messages, in bytes.
const SCRATCH: usize = 8192;

/// Writes the dialogue down, if anybody wants to read it. Boxed: most servers have none.
struct Ear(Option<Box<Spoken>>);

impl Ear {
    fn said(&mut self, bytes: &[u8]) {
        if let Some(spoken) = &mut self.0 {
            spoken.said(bytes, clock::tick(), log::dialogue);
        }
    }

    fn heard(&mut self, bytes: &[u8]) {
        if let Some(spoken) = &mut self.0 {
            spoken.heard(bytes, clock::tick(), log::dialogue);
        }
    }
}

/// What a host did not take.
pub enum Unsent {
    /// It would have no message at all, for this reason; this is the first.
    Refused(Attempt, Outcome),
    /// It has put the first message off, and another host may have it.
    PutOff(Attempt, Vec<Outcome>),
}

/// One conversation.
pub struct Conversation<'a> {
    service: &'a Rc<Service>,
    live: &'a Live,
    out: &'a Out,
    /// The way it sends for.
    next: Cell<Next>,
    target: &'a Target,
    plan: &'a Plan<'a>,
    /// A handshake failed.
    broken: Cell<bool>,
    /// Messages that went over this connection.
    sent: Cell<u32>,
    /// There are other hosts for the first message, should this one put it off.
    others: bool,
    /// Of a connection that was turned around: further ways whose mail goes over it. It is not kept for more.
    rest: Option<RefCell<Vec<Next>>>,
}

impl<'a> Conversation<'a> {
    /// A conversation that sends for a way of this configuration.
    pub fn new(
        service: &'a Rc<Service>,
        (live, out): (&'a Live, &'a Out),
        next: Next,
        target: &'a Target,
        plan: &'a Plan<'a>,
    ) -> Self {
        Self {
            service,
            live,
            out,
            next: Cell::new(next),
            target,
            plan,
            broken: Cell::new(false),
            sent: Cell::default(),
            others: false,
            rest: None,
        }
    }

    /// With other hosts to try when this one puts the first message off.
    pub fn with_others(self, others: bool) -> Self {
        Self { others, ..self }
    }

    /// Sends for these ways too, one after the other, and then no more: the connection was turned around.
    pub fn for_all_of(self, rest: Vec<Next>) -> Self {
        Self {
            rest: Some(RefCell::new(rest)),
            ..self
        }
    }

    /// The way it sends for now.
    pub fn next(&self) -> Next {
        self.next.get()
    }

    /// Whether a handshake failed.
    pub fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Talks until nothing is left to send. Answers with the first message, when the host would not have any, or put that
    /// one off and there are others.
    pub async fn run(&self, stream: Stream, client: &mut Client, first: Attempt) -> Option<Unsent> {
        let service = self.service;
        let mut spoken = self.spoken(&stream);
        let mut stream = Some(stream);
        let mut waiting = Some(first);
        let mut current: Option<Attempt> = None;
        let mut outgoing: Option<Outgoing> = None;
        let mut patience = Patience::new();
        let mut block = vec![0; 2048];
        let (mut at, mut end) = (0, 0);
        let mut scratch = Vec::new();
        let mut refused = None;
        let mut put_off = None;
        loop {
            let mut input = block.get(at..end).unwrap_or_default();
            let order = client.next_order(clock::tick(), &mut input);
            let was = mem::replace(&mut at, end.saturating_sub(input.len()));
            spoken.heard(block.get(was..at).unwrap_or_default());
            match order {
                Order::Send(bytes) => {
                    spoken.said(bytes);
                    let wait = self.out.route.timeouts.command;
                    if !write(&mut patience, wait, stream.as_mut(), bytes).await {
                        client.on_write_failed();
                    }
                }
                // Nobody needs the answer to the QUIT of a session that came to nothing.
                Order::Read(_) if refused.is_some() || put_off.is_some() => break,
                Order::Read(deadline) => {
                    let wait = deadline.since(clock::tick());
                    let read = async {
                        match &mut stream {
                            Some(stream) => stream.read(&mut block).await,
                            None => Ok(0),
                        }
                    };
                    let got = patience.wait(wait, read).await;
                    (at, end) = (0, 0);
                    match got {
                        Ok(Ok(count)) if count > 0 => end = count,
                        Ok(_) => client.on_closed(),
                        Err(_) => client.on_deadline(),
                    }
                }
                Order::StartTls => {
                    // What was read and not used came before the encryption.
                    (at, end) = (0, 0);
                    stream = self.encrypt(stream.take(), client).await;
                }
                Order::Ready if put_off.is_some() => client.on_quit(),
                Order::Ready => {
                    attempt::way_well(service, self.next.get());
                    self.target.on_success(service, self.out);
                    let message = match waiting.take() {
                        Some(attempt) => Some(attempt),
                        None => self.following(stream.as_mut()).await,
                    };
                    match message {
                        Some(mut attempt) => {
                            let at = service.clock.believed();
                            let signers = &self.live.signers;
                            outgoing = give(client, &mut attempt, signers, at).await;
                            current = Some(attempt);
                        }
                        None => client.on_quit(),
                    }
                }
                Order::SendBody { opening, stuffer } => {
                    scratch.clear();
                    scratch.extend_from_slice(opening);
                    spoken.said(opening);
                    let sent = match (&mut stream, &mut current, &outgoing) {
                        (Some(stream), Some(attempt), Some(outgoing)) => {
                            let wait = self.out.route.timeouts.data;
                            let sending = Sending {
                                patience: &mut patience,
                                wait,
                                stream,
                                out: &mut scratch,
                            };
                            sending.body(stuffer, &mut attempt.message, outgoing).await
                        }
                        _ => Sent::Lost,
                    };
                    if scratch.capacity() > SCRATCH {
                        // What a large body needed is given back.
                        scratch = Vec::new();
                    }
                    match sent {
                        Sent::Whole => client.on_body_sent(),
                        Sent::Lost => client.on_write_failed(),
                        Sent::Unreadable(why) => client.on_body_failed(&why),
                    }
                }
                Order::Finished(outcomes) => {
                    if let Some(attempt) = current.take() {
                        put_off = self.through(attempt, outcomes, client).await;
                    }
                }
                Order::Refused(outcome) => refused = Some(outcome),
                Order::Close => break,
            }
        }
        if let Some(stream) = stream {
            // The peer may have stopped reading.
            let _ = patience.wait(LINGER, stream.end()).await;
        }
        let next = self.next.get();
        if let Some(attempt) = current {
            attempt::give_back(service, next, attempt);
        }
        match (waiting, refused) {
            (Some(attempt), Some(outcome)) => return Some(Unsent::Refused(attempt, outcome)),
            (Some(attempt), None) => attempt::give_back(service, next, attempt),
            (None, Some(outcome)) => {
                let held = matches!(outcome, Outcome::Hold(_));
                conclude::way_failed(service, next, held, outcome.reason()).await;
            }
            (None, None) => {}
        }
        put_off
    }

    /// A message is through, or for another host, or for another connection.
    async fn through(
        &self,
        attempt: Attempt,
        outcomes: Vec<Outcome>,
        client: &Client,
    ) -> Option<Unsent> {
        if self.is_for_others(&outcomes, client) {
            return Some(Unsent::PutOff(attempt, outcomes));
        }
        if self.is_no_fault_of_its_own(&outcomes, client) {
            attempt::give_back(self.service, self.next.get(), attempt);
        } else {
            let reports = client.offer().dsn;
            self.finished(attempt, outcomes, reports).await;
        }
        None
    }

    /// Whether another host may have the first message: this one has put it off for everybody, and has nothing of it. Where
    /// it may have it, since its last word was not heard, nobody else gets it before the next try.
    fn is_for_others(&self, outcomes: &[Outcome], client: &Client) -> bool {
        let said = |outcome: &Outcome| match outcome {
            Outcome::Later(reason) => reason.code.is_some() || client.is_cut_short(),
            _ => false,
        };
        self.others && self.sent.get() == 0 && outcomes.iter().all(said)
    }

    /// Whether a message after the first was caught by the end of a connection that had lasted long enough for its peer:
    /// on another one it is the first.
    fn is_no_fault_of_its_own(&self, outcomes: &[Outcome], client: &Client) -> bool {
        let later = |outcome: &Outcome| matches!(outcome, Outcome::Later(_));
        let among_commands = client.is_cut_short() && outcomes.iter().all(later);
        among_commands && self.sent.get() > 0 && self.rest.is_none()
    }

    /// Who writes the dialogue down, if anybody wants to read it.
    fn spoken(&self, stream: &Stream) -> Ear {
        if !log::wants_dialogue() {
            return Ear(None);
        }
        let (peer, port) = match stream.peer() {
            Ok(Peer::Ip(peer)) => (Some(peer.ip()), peer.port()),
            Ok(Peer::Local) | Err(_) => (None, 0),
        };
        let local = stream.local_addr().map(|local| local.ip().to_canonical());
        let name = self.target.peer.name.to_string();
        let spoken = Spoken::new(&name, (peer, port), local, clock::tick());
        Ear(Some(Box::new(spoken)))
    }

    /// The handshake behind STARTTLS.
    async fn encrypt(&self, plain: Option<Stream>, client: &mut Client) -> Option<Stream> {
        let Some(plain) = plain else {
            client.on_closed();
            return None;
        };
        let wait = self.out.route.timeouts.greeting;
        let name = &self.target.peer.name;
        match self.plan.client.start(plain, name, wait).await {
            Ok(secure) => {
                client.on_tls();
                if let Some(exporter) = secure.channel_binding() {
                    client.on_exporter(exporter);
                }
                Some(secure)
            }
            Err(error) => {
                self.tls_failed(&error, client);
                None
            }
        }
    }

    fn tls_failed(&self, error: &TlsError, client: &mut Client) {
        self.broken.set(true);
        let text = format!("{error}{}", self.plan.because);
        client.on_tls_failed(&text, error.is_setup());
    }

    /// A message is through. A peer that `reports` tells of its deliveries itself (RFC 3461 s5.2.1).
    async fn finished(&self, mut attempt: Attempt, outcomes: Vec<Outcome>, reports: bool) {
        // A mail store is where it ends.
        let done = match self.out.route.via {
            Via::Lmtp => Action::Delivered,
            _ => Action::Relayed,
        };
        attempt.done = (!reports).then_some(done);
        let places = attempt.recipients.clone();
        let outcomes = places.into_iter().zip(outcomes).collect();
        conclude::conclude(self.service, self.next.get(), attempt, outcomes).await;
    }

    /// The next message, waited for a little while; `None` when none comes, the peer hangs up, or the configuration
    /// has changed and this connection is the old one's.
    async fn following(&self, stream: Option<&mut Stream>) -> Option<Attempt> {
        let service = self.service;
        let sent = self.sent.get().saturating_add(1);
        self.sent.set(sent);
        if sent >= SHARE && service.ways.borrow().is_crowded() {
            // Another way waits for this connection's place.
            return None;
        }
        if let Some(rest) = &self.rest {
            loop {
                if let Some(attempt) = attempt::take(service, self.next.get()).await {
                    return Some(attempt);
                }
                let next = rest.borrow_mut().pop()?;
                self.next.set(next);
            }
        }
        let (next, stream) = (self.next.get(), stream?);
        loop {
            if !std::ptr::eq(Rc::as_ptr(&service.live()), self.live) {
                return None;
            }
            if let Some(attempt) = attempt::take(service, next).await {
                return Some(attempt);
            }
            if service.ways.borrow().is_crowded() {
                return None;
            }
            let bell = {
                let mut ways = service.ways.borrow_mut();
                let way = ways.way(next);
                way.lingering += 1;
                Rc::clone(&way.linger)
            };
            let rung = async {
                bell.heard().await;
                true
            };
            let alarm = async {
                Alarm::after(LINGER).await;
                false
            };
            // Whatever the peer says unasked is a goodbye.
            let mut byte = [0];
            let hung_up = async {
                let _ = stream.read(&mut byte).await;
                false
            };
            let ended = async {
                service.ending.begun().await;
                false
            };
            let more = future::or(rung, future::or(alarm, future::or(hung_up, ended))).await;
            let mut ways = service.ways.borrow_mut();
            let way = ways.way(next);
            way.lingering = way.lingering.saturating_sub(1);
            if !more {
                return None;
            }
        }
    }
}

/// Gives a message to the machine, in a form that the peer takes; if there is none it is over.
async fn give(
    client: &mut Client,
    attempt: &mut Attempt,
    signers: &[Signer],
    at: Option<Wall>,
) -> Option<Outgoing> {
    let message = &mut attempt.message;
    let envelope = &message.stored.accept.envelope;
    match Outgoing::prepare(envelope, &mut message.body, client.offer()).await {
        Ok(mut outgoing) => {
            // The last change there is: whatever alters the message comes before.
            let signature = sign::sign(signers, outgoing.blocks(&mut message.body), at).await;
            outgoing.put_in_front(signature);
            client.on_message(message_of(attempt, &outgoing));
            Some(outgoing)
        }
        Err((status, text)) => {
            client.on_unfit(attempt.recipients.len(), status, text);
            None
        }
    }
}

/// The message with those recipients that go this way.
fn message_of(attempt: &Attempt, outgoing: &Outgoing) -> Message {
    let whole = &attempt.message.stored.accept.envelope;
    let recipients = attempt.recipients.iter();
    let recipients = recipients.filter_map(|&at| whole.recipients.get(at).cloned());
    Message {
        envelope: Envelope {
            sender: whole.sender.clone(),
            recipients: recipients.collect(),
            body: outgoing.form,
            utf8: whole.utf8,
            ret: whole.ret,
            envid: whole.envid.clone(),
            tls: whole.tls,
            resolved: whole.resolved,
        },
        size: outgoing.size(),
    }
}
