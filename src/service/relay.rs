//! A session with a host: connects, drives the client machine, and sends one message after the other.

use std::cell::Cell;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use smol::future;
use smol::io::AsyncReadExt;

use crate::base::Wall;
use crate::config::model::Peer;
use crate::config::model::Route;
use crate::mail::Domain;
use crate::mail::Envelope;
use crate::mail::Outcome;
use crate::mail::Reason;
use crate::mail::Status;
use crate::mail::dkim::signing::Signer;
use crate::mail::report::Action;
use crate::net::Stream;
use crate::net::clock;
use crate::net::dial::Dial;
use crate::net::random;
use crate::net::ready::Alarm;
use crate::net::tls::error::TlsError;
use crate::net::within::Patience;
use crate::policy::route::Next;
use crate::service::attempt;
use crate::service::attempt::Attempt;
use crate::service::conclude;
use crate::service::event::Event;
use crate::service::live;
use crate::service::live::Live;
use crate::service::live::Out;
use crate::service::log::emit;
use crate::service::outgoing::Outgoing;
use crate::service::secure;
use crate::service::secure::Plan;
use crate::service::sending::Sending;
use crate::service::sending::Sent;
use crate::service::sending::write;
use crate::service::shared::Service;
use crate::service::sign;
use crate::service::targets::End;
use crate::service::targets::Failed;
use crate::service::targets::Target;
use crate::service::targets::Targets;
use crate::smtp::client::Client;
use crate::smtp::client::order::Order;
use crate::smtp::client::settings;
use crate::smtp::client::settings::StartTls;
use crate::smtp::client::transfer::Message;
use crate::smtp::outcome::Role;

/// How long a connection is kept for the next message. Peers bear this much silence, and a burst of mail comes with
/// smaller gaps.
const LINGER: Duration = Duration::from_secs(1);

/// Messages that a session sends before it makes room for a way that has no connection and cannot get one.
const SHARE: u32 = 10;

/// What a session keeps for the bodies of its next messages, in bytes.
const SCRATCH: usize = 8192;

/// Sends what is due on a way, until nothing is. One host after the other is tried until one takes the session.
pub async fn session(service: &Rc<Service>, next: Next) {
    // A session without a message is a connection for nothing.
    let Some(attempt) = attempt::take(service, next).await else {
        return;
    };
    let live = service.live();
    let (Some(out), Some(domain)) = (live.out(next), attempt.domain().cloned()) else {
        // A reload has taken the route away; rerouting will put the message elsewhere.
        attempt::give_back(service, next, attempt);
        return;
    };
    let mut targets = Targets::new(service, out, &domain);
    let mut first = attempt;
    loop {
        let target = match targets.next().await {
            Ok(target) => target,
            Err(End::Never(reason)) => return never(service, next, first, reason).await,
            Err(End::Failed(failed)) => {
                attempt::give_back(service, next, first);
                return conclude::way_failed(service, next, failed.held, &failed.reason).await;
            }
        };
        match host(service, &live, out, next, (&target, &domain), first).await {
            None => return,
            Some(Unsent {
                attempt,
                failed,
                last,
            }) => {
                if last {
                    attempt::give_back(service, next, attempt);
                    return conclude::way_failed(service, next, failed.held, &failed.reason).await;
                }
                passed_over(service, next, &target, &failed);
                targets.on_failure(failed);
                first = attempt;
            }
        }
    }
}

/// Says why another host is tried; what the last one of a way came to is told of the way as a whole.
fn passed_over(service: &Service, next: Next, target: &Target, failed: &Failed) {
    emit(&Event::HostFailed {
        way: &service.way_name(next),
        host: &format!("{}:{}", target.peer.name, target.peer.port),
        why: &failed.reason.to_string(),
    });
}

/// A host took nothing.
struct Unsent {
    attempt: Attempt,
    failed: Failed,
    /// Another host would do no better.
    last: bool,
}

/// Sends what is due to one host; once more without TLS when that is allowed and TLS does not work.
async fn host(
    service: &Rc<Service>,
    live: &Live,
    out: &Out,
    next: Next,
    (target, domain): (&Target, &Domain),
    mut attempt: Attempt,
) -> Option<Unsent> {
    let wish = attempt.message.stored.accept.envelope.tls;
    let unsent = |attempt, failed| {
        Some(Unsent {
            attempt,
            failed,
            last: false,
        })
    };
    let mut plan = match secure::plan(service, live, out, (target, domain), wish).await {
        Ok(plan) => plan,
        Err(failed) => return unsent(attempt, failed),
    };
    loop {
        let (stream, client, name) = match connect(service, out, target, &plan).await {
            Ok(open) => open,
            Err(failed) => return unsent(attempt, failed),
        };
        service.ways.borrow_mut().way(next).host = name;
        let talk = Talk {
            service,
            live,
            out,
            next: Cell::new(next),
            target,
            plan: &plan,
            broken: Cell::new(false),
            sent: Cell::default(),
            rest: None,
        };
        let outcome;
        (attempt, outcome) = talk.run(stream, client, attempt).await?;
        if talk.broken.get() && plan.or_without {
            plan = plan.without(out);
            continue;
        }
        // Another host would get the same password: one login for each step of the waits (promise G3).
        let held = matches!(outcome, Outcome::Hold(_));
        let reason = outcome.reason().clone();
        return Some(Unsent {
            attempt,
            failed: Failed { held, reason },
            last: held,
        });
    }
}

/// Sends what is held for these domains over a connection that their host opened and turned around (RFC 2645 s4): it
/// is the server from now on, and greets. `peer` is that host, as `name [address]`. What it does not take is held on.
///
/// Whether it may have that mail, and whether there is any ([`Service::held`]), is for the caller to know.
pub async fn turned(service: &Rc<Service>, domains: &[Domain], stream: Stream, peer: &str) {
    let live = service.live();
    let mut ways: Vec<Next> = domains.iter().map(|domain| live.next(domain)).collect();
    ways.retain(|next| next.is_held());
    ways.sort_unstable();
    ways.dedup();
    let fetch = Fetch::begin(service, ways);
    let mut rest = fetch.ways.clone();
    let first = loop {
        let Some(next) = rest.pop() else { return };
        if let Some(attempt) = attempt::take(service, next).await {
            break (next, attempt);
        }
    };
    let (next, attempt) = first;
    let (Some(out), Some(domain)) = (live.out(next), attempt.domain().cloned()) else {
        return attempt::give_back(service, next, attempt);
    };
    let target = Target {
        peer: Peer {
            name: domain,
            port: 0,
            implicit_tls: false,
        },
        role: Role::Exchanger,
        addresses: Vec::new(),
        place: None,
    };
    let settings = settings::Settings {
        starttls: StartTls::Never,
        proved: false,
        ..talker(&out.route, Role::Exchanger, peer.to_owned())
    };
    peer.clone_into(&mut service.ways.borrow_mut().way(next).host);
    let client = Client::new(settings, stream.is_tls(), nonce());
    let talk = Talk {
        service,
        live: &live,
        out,
        next: Cell::new(next),
        target: &target,
        plan: &Plan::never(out),
        broken: Cell::new(false),
        sent: Cell::default(),
        rest: Some(RefCell::new(rest)),
    };
    if let Some((attempt, outcome)) = talk.run(stream, client, attempt).await {
        let next = talk.next.get();
        attempt::give_back(service, next, attempt);
        conclude::way_failed(service, next, false, outcome.reason()).await;
    }
}

/// Ways whose mail is being fetched, until this goes.
struct Fetch {
    service: Rc<Service>,
    ways: Vec<Next>,
}

impl Fetch {
    fn begin(service: &Rc<Service>, ways: Vec<Next>) -> Self {
        for next in &ways {
            service.ways.borrow_mut().fetch(*next, service.now());
        }
        Self {
            service: Rc::clone(service),
            ways,
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        for next in &self.ways {
            let now = self.service.now();
            self.service.ways.borrow_mut().end_fetch(*next, now);
        }
        self.service.due.ring();
    }
}

/// What waits on the way cannot be delivered: its domain takes no mail.
async fn never(service: &Rc<Service>, next: Next, first: Attempt, reason: Reason) {
    let mut more = Some(first);
    while let Some(attempt) = more {
        let all = attempt.recipients.iter();
        let outcomes = all.map(|&at| (at, Outcome::Never(reason.clone())));
        let outcomes = outcomes.collect();
        conclude::conclude(service, next, attempt, outcomes).await;
        more = attempt::take(service, next).await;
    }
}

/// Connects to a host; answers the client that talks to it, and what the host is called.
async fn connect(
    service: &Rc<Service>,
    out: &Out,
    target: &Target,
    plan: &Plan<'_>,
) -> Result<(Stream, Client, String), Failed> {
    let login = match &out.route.login {
        // What was found in DNS gets no password.
        _ if target.role == Role::Exchanger => None,
        None => None,
        Some(login) => {
            let wanted = login.clone();
            let read = service.worker.run(move || live::secret(&wanted)).await;
            let secret = read.map_err(|why| Failed::hold(7, 8, why))?;
            Some(settings::Login {
                name: login.user.clone(),
                secret,
                only: login.only,
            })
        }
    };
    let (stream, address) = open(service, out, target, plan).await?;
    let settings = dialog(&out.route, target, plan, address, login);
    let host = settings.peer.clone();
    let mut client = Client::new(settings, stream.is_tls(), nonce());
    if let Some(exporter) = stream.channel_binding() {
        client.on_exporter(exporter);
    }
    Ok((stream, client, host))
}

/// Fresh printable text for SCRAM.
fn nonce() -> String {
    let number = || random::number().unwrap_or(0);
    format!("{:016x}{:016x}", number(), number())
}

async fn open(
    service: &Rc<Service>,
    out: &Out,
    target: &Target,
    plan: &Plan<'_>,
) -> Result<(Stream, SocketAddr), Failed> {
    let timeouts = &out.route.timeouts;
    let host = &target.peer;
    let found = if target.addresses.is_empty() {
        // A smart host whose name is gone is a slip of the pen, or a name server that lies: nothing to bounce mail for.
        let found = service.resolver.addresses(&host.name).await;
        found.map_err(|error| Failed {
            held: error.is_permanent(),
            reason: Reason::ours(Status::new(4, 4, 3), error.to_string()),
        })?
    } else {
        target.addresses.clone()
    };
    let targets: Vec<SocketAddr> = found
        .into_iter()
        .map(|ip| SocketAddr::new(ip, host.port))
        .collect();
    let dial = Dial {
        timeout: timeouts.connect,
        source: out.route.source.clone(),
    };
    let (stream, address) = dial
        .connect(&targets)
        .await
        .map_err(|error| Failed::later(1, format!("{}: {error}", host.name)))?;
    if !host.implicit_tls || plan.starttls == StartTls::Never {
        return Ok((stream, address));
    }
    let shaken = plan.client.start(stream, &host.name, timeouts.greeting);
    shaken
        .await
        .map(|stream| (stream, address))
        .map_err(|error| {
            let text = format!("{}: {error}{}", host.name, plan.because);
            if error.is_setup() {
                Failed::hold(7, 5, text)
            } else {
                Failed::later(2, text)
            }
        })
}

fn dialog(
    route: &Route,
    target: &Target,
    plan: &Plan<'_>,
    address: SocketAddr,
    login: Option<settings::Login>,
) -> settings::Settings {
    let host = &target.peer;
    let peer = match host.name.ip() {
        Some(_) => host.name.to_string(),
        None => format!("{} [{}]", host.name, address.ip()),
    };
    let usual = talker(route, target.role, peer);
    settings::Settings {
        starttls: plan.starttls,
        proved: plan.proved,
        login_without_tls: route.login.as_ref().is_some_and(|login| login.insecure),
        login,
        messages: if plan.once { 1 } else { usual.messages },
        ..usual
    }
}

/// What every conversation of a route has.
fn talker(route: &Route, role: Role, peer: String) -> settings::Settings {
    settings::Settings {
        role,
        messages: usize::try_from(route.messages_per_connection).unwrap_or(usize::MAX),
        timeouts: settings::Timeouts {
            greeting: route.timeouts.greeting,
            command: route.timeouts.command,
            data: route.timeouts.data,
            dot: route.timeouts.end,
            ..settings::Timeouts::default()
        },
        ..settings::Settings::new(route.helo.clone(), peer)
    }
}

/// One conversation.
struct Talk<'a> {
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
    /// Of a connection that was turned around: further ways whose mail goes over it. It is not kept for more.
    rest: Option<RefCell<Vec<Next>>>,
}

impl Talk<'_> {
    /// Talks until nothing is left to send. Answers with the first message and why, when the host would not have any.
    async fn run(
        &self,
        stream: Stream,
        mut client: Client,
        first: Attempt,
    ) -> Option<(Attempt, Outcome)> {
        let service = self.service;
        let mut stream = Some(stream);
        let mut waiting = Some(first);
        let mut current: Option<Attempt> = None;
        let mut outgoing: Option<Outgoing> = None;
        let mut patience = Patience::new();
        let mut block = vec![0; 2048];
        let (mut at, mut end) = (0, 0);
        let mut scratch = Vec::new();
        let mut refused = None;
        loop {
            let mut input = block.get(at..end).unwrap_or_default();
            let order = client.next_order(clock::tick(), &mut input);
            at = end.saturating_sub(input.len());
            match order {
                Order::Send(bytes) => {
                    let wait = self.out.route.timeouts.command;
                    if !write(&mut patience, wait, stream.as_mut(), bytes).await {
                        client.on_write_failed();
                    }
                }
                // Nobody needs the answer to the QUIT of a session that was refused.
                Order::Read(_) if refused.is_some() => break,
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
                    stream = self.encrypt(stream.take(), &mut client).await;
                }
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
                            outgoing = give(&mut client, &mut attempt, signers, at).await;
                            current = Some(attempt);
                        }
                        None => client.on_quit(),
                    }
                }
                Order::SendBody { opening, stuffer } => {
                    scratch.clear();
                    scratch.extend_from_slice(opening);
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
                        let reports = client.offer().dsn;
                        self.finished(attempt, outcomes, reports).await;
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
            (Some(attempt), Some(outcome)) => return Some((attempt, outcome)),
            (Some(attempt), None) => attempt::give_back(service, next, attempt),
            (None, Some(outcome)) => {
                let held = matches!(outcome, Outcome::Hold(_));
                conclude::way_failed(service, next, held, outcome.reason()).await;
            }
            (None, None) => {}
        }
        None
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
        attempt.done = (!reports).then_some(Action::Relayed);
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
        },
        size: outgoing.size(),
    }
}
