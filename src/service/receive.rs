//! The SMTP door: drives the server machine over each connection, and asks policy what the machine asks.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::rc::Rc;

use smol::Timer;
use smol::future;
use smol::io::AsyncRead;
use smol::io::AsyncReadExt;
use smol::io::AsyncWrite;
use smol::io::AsyncWriteExt;

use crate::disk::fault::Refused;
use crate::mail::Recipient;
use crate::mail::header::Plan;
use crate::mail::header::Walker;
use crate::mail::trace::Origin;
use crate::mail::trace::Protocol;
use crate::net::Peer;
use crate::net::Stream;
use crate::net::clock;
use crate::net::listen::Listener;
use crate::net::within::Patience;
use crate::queue::Door;
use crate::service::clients::Full;
use crate::service::event::Event;
use crate::service::intake::Intake;
use crate::service::intake::NotTaken;
use crate::service::live::Live;
use crate::service::log::emit;
use crate::service::shared::Service;
use crate::smtp::fault::Fault;
use crate::smtp::server::Order;
use crate::smtp::server::Server;
use crate::smtp::server::settings::Session;

/// What is read at once from a client that sends commands.
const SMALL: usize = 4096;

/// What is read at once from a client that sends a message faster than we take it.
const LARGE: usize = 32 * 1024;

/// Accepts clients until the service ends.
pub async fn listen(service: Rc<Service>, listener: Listener) {
    loop {
        let accepted = async { Some(listener.accept().await) };
        let ended = async {
            service.ending.begun().await;
            None
        };
        let Some((stream, peer)) = future::or(ended, accepted).await else {
            return;
        };
        let task = client(Rc::clone(&service), stream, peer);
        service.tasks.spawn(task).detach();
    }
}

async fn client(service: Rc<Service>, stream: Stream, peer: Peer) {
    let live = service.live();
    let limits = &live.config.limits;
    let (ip, trusted) = match peer {
        Peer::Ip(address) => (address.ip(), false),
        Peer::Local => (IpAddr::V4(Ipv4Addr::LOCALHOST), true),
    };
    let who = Client {
        ip,
        door: Door::Smtp,
        trusted,
    };
    let size = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    let place = service.clients.enter(
        ip,
        size(limits.connections),
        size(limits.connections_per_client),
    );
    let now = clock::tick();
    let refused = |fault: &Fault, why: &str| {
        emit(&Event::ClientRefused {
            client: &ip.to_string(),
            why,
        });
        Server::refused(Rc::clone(&live.smtp), Some(ip), fault, now)
    };
    let server = match &place {
        _ if !trusted && !live.config.access.connect.contain(ip) => refused(
            &Fault::NoAccess,
            "access.connect does not name this address",
        ),
        Ok(_) => Server::new(Rc::clone(&live.smtp), Some(ip), false, now),
        Err(full @ Full::Total(_)) => refused(&Fault::TooManyConnections, &full.to_string()),
        Err(full @ Full::Client(_)) => refused(&Fault::TooManyOfPeer, &full.to_string()),
    };
    converse(&service, &live, stream, server, who).await;
    drop(place);
    service.idle.ring();
}

/// Whom a session is with, as far as policy cares.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Where it calls from.
    pub ip: IpAddr,
    /// By which door.
    pub door: Door,
    /// A process of this box that we know by other means than its address: it may relay.
    pub trusted: bool,
}

/// A message on its way from the wire to the journal.
struct Incoming {
    intake: Intake,
    walker: Walker,
    out: Vec<u8>,
}

impl Incoming {
    async fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.walker.feed(bytes, &mut self.out);
        let result = self.intake.put(&self.out).await;
        self.out.clear();
        result
    }
}

/// Holds the whole conversation; returns when it is over, whoever ended it.
pub async fn converse(
    service: &Rc<Service>,
    live: &Live,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut server: Server,
    who: Client,
) {
    let mut block = vec![0; SMALL];
    let (mut at, mut end) = (0, 0);
    let mut patience = Patience::new();
    let mut ended = pin!(service.ending.begun());
    let mut stopping = false;
    let mut incoming: Option<Incoming> = None;
    let mut now = clock::tick();
    loop {
        let mut input = block.get(at..end).unwrap_or_default();
        let order = server.next_order(now, &mut input);
        at = end.saturating_sub(input.len());
        match order {
            Order::Send(bytes) => {
                let wait = live.config.limits.command_timeout;
                let sent = patience.wait(wait, async {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                });
                if !matches!(sent.await, Ok(Ok(()))) {
                    server.on_closed();
                }
            }
            Order::Read(deadline) => {
                now = clock::tick();
                let full = end == block.len() && incoming.is_some();
                let room = if full { LARGE } else { SMALL };
                if incoming.is_none() && block.len() > SMALL {
                    block = vec![0; SMALL];
                } else if block.len() < room {
                    block.resize(room, 0);
                }
                let read = async {
                    if stopping {
                        return Some(stream.read(&mut block).await);
                    }
                    let stop = async {
                        ended.as_mut().await;
                        None
                    };
                    let read = async { Some(stream.read(&mut block).await) };
                    future::or(read, stop).await
                };
                let got = patience.wait(deadline.since(now), read).await;
                now = clock::tick();
                (at, end) = (0, 0);
                match got {
                    Ok(Some(Ok(count))) if count > 0 => end = count,
                    Ok(Some(_)) => server.on_closed(),
                    Ok(None) => {
                        stopping = true;
                        server.on_shutdown();
                    }
                    Err(_) => server.on_deadline(),
                }
            }
            Order::Pause(until) => {
                Timer::after(until.since(now)).await;
                now = clock::tick();
            }
            Order::AskMail { .. } => {
                let verdict = match service.journal.refusal(0) {
                    None => Ok(()),
                    Some(refused) => Err(fault(&refused)),
                };
                server.on_verdict(verdict);
            }
            Order::AskRcpt {
                session, recipient, ..
            } => {
                let verdict = may_send(live, who, session, recipient);
                server.on_verdict(verdict);
            }
            Order::Begin { session, envelope } => {
                let begun = begin(service, who, session, envelope.utf8);
                incoming = Some(begun);
                server.on_verdict(Ok(()));
            }
            Order::Body(bytes) => {
                let stored = match &mut incoming {
                    Some(incoming) => incoming.put(bytes).await,
                    None => Ok(()),
                };
                if let Err(error) = stored {
                    incoming = None;
                    server.on_trouble(fault(&Refused::from_io(&error)));
                }
            }
            Order::Commit { envelope, .. } => {
                let envelope = envelope.clone();
                let stored = match incoming.take() {
                    Some(incoming) => commit(service, incoming, envelope).await,
                    None => Err(Fault::Ours),
                };
                server.on_stored(stored);
                now = clock::tick();
            }
            Order::Abort => incoming = None,
            Order::Close => break,
            // Not offered, so not asked.
            Order::StartTls | Order::TurnAround(_) => server.on_closed(),
            Order::CheckPassword { .. } | Order::FindVerifier { .. } => {
                server.on_verdict(Err(Fault::AuthFailed));
            }
            Order::Etrn { .. } | Order::Atrn { .. } => server.on_verdict(Err(Fault::NotHeld)),
        }
    }
    // The peer may be gone already.
    let _ = stream.close().await;
}

fn begin(service: &Service, who: Client, session: &Session, utf8: bool) -> Incoming {
    let protocol = Protocol {
        extended: session.esmtp,
        tls: session.tls,
        auth: session.login.is_some(),
        utf8,
    };
    let from = Origin::Network {
        helo: &session.hello,
        rdns: None,
        ip: who.ip,
        protocol,
        cipher: None,
    };
    let origin = if session.hello.is_empty() {
        who.ip.to_string()
    } else {
        format!("{} ({})", who.ip, session.hello)
    };
    let id = service.journal.next_id();
    let (intake, plan) = Intake::begin(service, id, who.door, origin, from, Plan::default());
    Incoming {
        intake,
        walker: Walker::new(plan),
        out: Vec::new(),
    }
}

async fn commit(
    service: &Rc<Service>,
    mut incoming: Incoming,
    envelope: crate::mail::Envelope,
) -> Result<crate::base::MsgId, Fault> {
    incoming.walker.finish(&mut incoming.out);
    let last = incoming.intake.put(&incoming.out).await;
    if let Err(error) = last {
        return Err(fault(&Refused::from_io(&error)));
    }
    let facts = incoming.walker.facts();
    match incoming.intake.finish(service, envelope, facts, None).await {
        Ok(taken) => {
            service.schedule(taken.id, &taken.ways);
            Ok(taken.id)
        }
        Err(NotTaken::Hops(_)) => Err(Fault::Loop),
        Err(NotTaken::Journal(refused)) => Err(fault(&refused)),
        Err(NotTaken::Disk(error)) => Err(fault(&Refused::from_io(&error))),
    }
}

/// What a client hears when the journal would not.
fn fault(refused: &Refused) -> Fault {
    if refused.is_full() {
        Fault::Full
    } else {
        Fault::Ours
    }
}

/// Local domains are open to whoever may connect; everything else is relaying (promise G5).
fn may_send(
    live: &Live,
    who: Client,
    session: &Session,
    recipient: &Recipient,
) -> Result<(), Fault> {
    let domain = recipient.address.domain();
    let may = who.trusted
        || session.login.is_some()
        || live.config.routing.is_local(domain)
        || live.config.access.relay.contain(who.ip);
    if may {
        return Ok(());
    }
    emit(&Event::RecipientRefused {
        client: &who.ip.to_string(),
        to: &recipient.address.to_string(),
        why: "access.relay does not name this client",
    });
    Err(Fault::NoRelay)
}
