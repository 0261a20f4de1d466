//! The SMTP door: drives the server machine over each connection, and asks policy what the machine asks.

use std::pin::pin;
use std::rc::Rc;

use smol::Timer;
use smol::future;
use smol::io::AsyncReadExt;
use smol::io::AsyncWriteExt;

use crate::disk::fault::Refused;
use crate::mail::header::Plan;
use crate::mail::header::Walker;
use crate::mail::trace::Origin;
use crate::mail::trace::Protocol;
use crate::net::Peer;
use crate::net::Stream;
use crate::net::clock;
use crate::net::listen::Listener;
use crate::net::within::Patience;
use crate::service::clients::Full;
use crate::service::door;
use crate::service::event::Event;
use crate::service::fetch;
use crate::service::gate;
use crate::service::gate::Client;
use crate::service::intake::Intake;
use crate::service::intake::NotTaken;
use crate::service::live::Live;
use crate::service::log::emit;
use crate::service::naming::Naming;
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
pub async fn listen(service: Rc<Service>, listener: Listener, at: usize) {
    loop {
        let accepted = async { Some(listener.accept().await) };
        let ended = async {
            service.ending.begun().await;
            None
        };
        let Some((stream, peer)) = future::or(ended, accepted).await else {
            return;
        };
        let task = client(Rc::clone(&service), stream, peer, at);
        service.tasks.spawn(task).detach();
        // It is looked at before the next one is taken: a flood would else fill the memory before it meets its cap.
        future::yield_now().await;
    }
}

async fn client(service: Rc<Service>, mut stream: Stream, peer: Peer, at: usize) {
    let live = service.live();
    let limits = &live.config.limits;
    // A reload keeps the number of listeners.
    let Some(door) = live.doors.get(at) else {
        return;
    };
    let peer = match Box::pin(door.peer(&mut stream, peer)).await {
        Ok(peer) => peer,
        Err(why) => {
            return emit(&Event::ClientRefused {
                client: &peer.to_string(),
                why: &why,
            });
        }
    };
    let who = Client::of(peer, &door.relay);

    let ip = who.ip;
    let size = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    let place = service.clients.enter(
        ip,
        size(limits.connections),
        size(limits.connections_per_client),
    );
    let now = clock::tick();
    let refusal = match (gate::may_connect(&live, who), &place) {
        (Err(why), _) => Some((Fault::NoAccess, why.to_owned())),
        (_, Err(full @ Full::Total(_))) => Some((Fault::TooManyConnections, full.to_string())),
        (_, Err(full @ Full::Client(_))) => Some((Fault::TooManyOfPeer, full.to_string())),
        (Ok(()), Ok(_)) => None,
    };
    let settings = door.settings(ip);
    let implicit = door.is_implicit();
    if let Some((_, why)) = &refusal {
        let client = ip.to_string();
        emit(&Event::ClientRefused {
            client: &client,
            why,
        });
    }
    let stream = match (implicit, &refusal) {
        (false, _) => Some(stream),
        (true, None) => Box::pin(secured(&service, &live, stream, who)).await,
        // Before the handshake there is no way to say it.
        (true, Some(_)) => None,
    };
    if let Some(stream) = stream {
        let look = door.listen.reverse_dns.filter(|_| refusal.is_none());
        let naming = Naming::begin(&service, ip, look);
        let server = match refusal {
            Some((fault, _)) => Server::refused(settings, Some(ip), &fault, now),
            None => Server::new(settings, Some(ip), implicit, clock::tick()),
        };
        // One place for it: the session is most of what a connection costs.
        converse(&service, &live, stream, server, who, naming).await;
    }
    drop(place);
    service.idle.ring();
}

/// The stream inside TLS; `None` when the handshake failed, which the log tells.
async fn secured(service: &Service, live: &Live, stream: Stream, who: Client) -> Option<Stream> {
    // It is asked for only where there is a certificate.
    let server = live.certificate.as_ref()?.server();
    let wait = live.config.limits.command_timeout;
    match door::secure(&service.ending, server, stream, wait).await {
        Ok(stream) => Some(stream),
        Err(why) => {
            emit(&Event::SessionFailed {
                client: &who.ip.to_string(),
                why: &why,
            });
            None
        }
    }
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
#[allow(clippy::too_many_lines, reason = "one arm an order")]
pub async fn converse(
    service: &Rc<Service>,
    live: &Live,
    mut stream: Stream,
    mut server: Server,
    who: Client,
    mut naming: Naming,
) {
    let mut block = vec![0; SMALL];
    let (mut at, mut end) = (0, 0);
    let mut patience = Patience::new();
    let mut ended = pin!(service.ending.begun());
    let mut stopping = false;
    let mut incoming: Option<Incoming> = None;
    // Who is proving a password, and how many had failed before.
    let mut proving: Option<(String, usize)> = None;
    let mut told = gate::Limits::new();
    let mut fetched = None;
    bind(&mut server, &stream);
    let mut now = clock::tick();
    loop {
        if let Some((name, before)) = &proving {
            let good = server.session().login.is_some();
            if good || server.failed_logins() > *before {
                gate::proved(service, who, name, good);
                proving = None;
            }
        }
        if let Some(fault) = server.take_limit() {
            gate::limit_reached(who, &fault, &mut told);
        }
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
            Order::AskMail { announced, .. } => {
                let verdict = match service.journal.refusal(announced) {
                    None => gate::may_begin(service, live, who),
                    Some(refused) => {
                        gate::queue_refuses(who, &refused, &mut told);
                        Err(fault(&refused))
                    }
                };
                server.on_verdict(verdict);
            }
            Order::AskRcpt {
                session, recipient, ..
            } => {
                let verdict = gate::may_send(live, who, session, &recipient.address);
                server.on_verdict(verdict);
            }
            Order::Begin { session, envelope } => {
                let name = naming.name().await;
                let begun = begin(service, who, session, envelope.utf8, &stream, name);
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
            Order::StartTls => {
                // What came before the encryption is not to be believed (RFC 3207 s4.2).
                (at, end) = (0, 0);
                match Box::pin(secured(service, live, stream, who)).await {
                    Some(secured) => stream = secured,
                    None => return,
                }
                server.on_tls();
                bind(&mut server, &stream);
                now = clock::tick();
            }
            Order::CheckPassword { name, password } => {
                let (name, password) = (name.to_owned(), password.to_owned());
                let checked = gate::check_password(service, live, who, name, password);
                server.on_verdict(Box::pin(checked).await);
                now = clock::tick();
            }
            Order::MakeChallenge => match gate::nonce() {
                Ok(nonce) => server.on_challenge(&nonce),
                Err(fault) => server.on_verdict(Err(fault)),
            },
            Order::CheckProof {
                name,
                challenge,
                digest,
            } => {
                let [name, challenge, digest] = [name, challenge, digest].map(str::to_owned);
                let checked = gate::check_proof(service, live, who, name, challenge, digest);
                server.on_verdict(Box::pin(checked).await);
                now = clock::tick();
            }
            Order::FindVerifier { name } => {
                let name = name.to_owned();
                let found = gate::find_verifier(service, live, who, name.clone());
                match Box::pin(found).await {
                    Ok((verifier, nonce)) => {
                        server.on_verifier(verifier, &nonce);
                        proving = Some((name, server.failed_logins()));
                    }
                    Err(fault) => server.on_verdict(Err(fault)),
                }
                now = clock::tick();
            }
            Order::TurnAround => {
                let Some(fetch) = fetched.take() else {
                    server.on_closed();
                    continue;
                };
                let user = server.session().login.clone().unwrap_or_default();
                return Box::pin(fetch::deliver(stream, who, &user, fetch)).await;
            }
            Order::Etrn {
                session,
                domain,
                below,
            } => match fetch::etrn(service, who, session, domain, below) {
                Ok(started) => server.on_etrn(started),
                Err(fault) => server.on_verdict(Err(fault)),
            },
            Order::Atrn { session, domains } => {
                let got = fetch::atrn(service, who, session, domains);
                let verdict = match got {
                    // What was written behind it was written before it could know our answer.
                    Ok(_) if at < end => Err(Fault::TurnRefused),
                    Ok(got) => {
                        fetched = Some(got);
                        Ok(())
                    }
                    Err(fault) => Err(fault),
                };
                server.on_verdict(verdict);
            }
        }
    }
    stream.end().await;
}

/// Lets logins be bound to the connection, where that is safe.
fn bind(server: &mut Server, stream: &Stream) {
    if let Some(exporter) = stream.channel_binding() {
        server.on_exporter(exporter);
    }
}

fn begin(
    service: &Service,
    who: Client,
    session: &Session,
    utf8: bool,
    stream: &Stream,
    name: Option<&str>,
) -> Incoming {
    let cipher = stream.session().map(|agreed| agreed.to_string());
    let protocol = Protocol {
        extended: session.esmtp,
        tls: session.tls,
        auth: session.login.is_some(),
        utf8,
    };
    let from = Origin::Network {
        helo: &session.hello,
        rdns: name,
        ip: who.ip,
        protocol,
        cipher: cipher.as_deref(),
    };
    let mut origin = if session.hello.is_empty() {
        who.ip.to_string()
    } else {
        format!("{} ({})", who.ip, session.hello)
    };
    if let Some(user) = &session.login {
        origin.push_str(&format!(" as {user}"));
    }
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
        Err(NotTaken::Ways) => Err(Fault::Full),
        Err(NotTaken::Journal(refused)) => Err(fault(&refused)),
        Err(NotTaken::Disk(error)) => Err(fault(&Refused::from_io(&error))),
    }
}

/// What a client hears when the journal would not.
fn fault(refused: &Refused) -> Fault {
    match refused {
        Refused::QueueBytes | Refused::QueueMessages => Fault::QueueFull,
        _ if refused.is_full() => Fault::Full,
        _ => Fault::Ours,
    }
}
