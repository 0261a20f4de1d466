//! The SMTP door: drives the server machine over each connection, and asks policy what the machine asks.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::task::ready;

use smol::Timer;
use smol::future;
use smol::io::AsyncRead;
use smol::io::AsyncWriteExt;

use crate::base::Tick;
use crate::base::limits;
use crate::disk::fault::Refused;
use crate::mail::Envelope;
use crate::mail::Status;
use crate::mail::header::Plan;
use crate::mail::header::Walker;
use crate::mail::trace::Origin;
use crate::mail::trace::Protocol;
use crate::net::Peer;
use crate::net::Stream;
use crate::net::clock;
use crate::net::listen::Listener;
use crate::net::within::Patience;
use crate::service::aliases;
use crate::service::arrival;
use crate::service::clients::Full;
use crate::service::clients::Place;
use crate::service::door;
use crate::service::event::Event;
use crate::service::fetch;
use crate::service::gate;
use crate::service::gate::Client;
use crate::service::intake::Intake;
use crate::service::intake::NotTaken;
use crate::service::live::Live;
use crate::service::log;
use crate::service::log::emit;
use crate::service::logs::overheard::Overheard;
use crate::service::naming::Naming;
use crate::service::notices;
use crate::service::shared::Service;
use crate::smtp::fault::Fault;
use crate::smtp::fault::Told;
use crate::smtp::server::Order;
use crate::smtp::server::Server;
use crate::smtp::server::settings::Session;

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
        // Boxed here, it is not copied through the layers of the executor.
        let task = Box::pin(client(Rc::clone(&service), stream, peer, at));
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
    let most = (
        size(limits.connections),
        size(limits.connections_per_client),
    );
    let now = clock::tick();
    let place = match gate::may_connect(&live, who) {
        Err(why) => Err((Fault::NoAccess, why.to_owned())),
        Ok(()) if service.pause.is_on() => Err((Fault::Paused, PAUSED.to_owned())),
        Ok(()) => match service.clients.enter(ip, who.relays, most, now) {
            Ok(place) => Ok(place),
            Err(full @ Full::Total(_)) => Err((Fault::TooManyConnections, full.to_string())),
            Err(full @ Full::Client(_)) => Err((Fault::TooManyOfPeer, full.to_string())),
        },
    };
    if let Err((_, why)) = &place {
        let client = ip.to_string();
        emit(&Event::ClientRefused {
            client: &client,
            why,
        });
    }
    let settings = Box::pin(gate::offer(&service, &live, door.settings(ip))).await;
    let implicit = door.is_implicit();
    let stream = match (implicit, &place) {
        (false, _) => Some(stream),
        (true, Ok(place)) => Box::pin(secured(&service, &live, stream, who, Some(place))).await,
        // Before the handshake there is no way to say it.
        (true, Err(_)) => None,
    };
    if let Some(stream) = stream {
        let look = door.listen.reverse_dns.filter(|_| place.is_ok());
        let naming = Naming::begin(&service, ip, look);
        let mut server = match &place {
            Err((fault, _)) => Server::refused(settings, Some(ip), fault, now),
            Ok(_) => Server::new(settings, Some(ip), implicit, clock::tick()),
        };
        // One place for it: the session is most of what a connection costs.
        let guest = place.as_ref().ok();
        converse(&service, &live, stream, &mut server, who, naming, guest).await;
    }
    drop(place);
    service.idle.ring();
}

/// The stream inside TLS; `None` when the handshake failed, which the log tells.
async fn secured(
    service: &Service,
    live: &Live,
    stream: Stream,
    who: Client,
    place: Option<&Place>,
) -> Option<Stream> {
    // It is asked for only where there is a certificate.
    let server = live.certificate.as_ref()?.server();
    let wait = live.config.limits.command_timeout;
    let shaken = door::secure(&service.ending, server, stream, wait);
    let lost = async {
        lost(place, clock::tick()).await;
        Err(CROWDED.to_owned())
    };
    match future::or(shaken, lost).await {
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

/// Why nobody gets in for now.
const PAUSED: &str = "the server is paused; `mailroot resume` ends that";

/// The largest buffer that a session keeps from one message to the next.
const KEPT: usize = 8 * 1024;
/// The largest buffer that it keeps while it waits for a command; most commands fit.
const COMMAND: usize = 128;
/// Why a session ends to which nothing else happened.
const CROWDED: &str = "its place went to another client, because all limits.connections were taken";

/// Ends when others need the place.
async fn lost(place: Option<&Place>, since: Tick) {
    match place {
        Some(place) => place.lost(since).await,
        None => future::pending().await,
    }
}

/// What a conversation waits for.
enum Heard {
    /// The client sent so many bytes.
    Read(io::Result<usize>),
    /// The service stops.
    Stop,
    /// Others need the place.
    Lost,
}

/// A message on its way from the wire to the journal.
struct Incoming {
    intake: Box<Intake>,
    walker: Walker,
}

impl Incoming {
    /// Stores what the walker makes of more bytes. `out` is a buffer of the session, so that not every message needs
    /// one of its own.
    async fn put(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        self.walker.feed(bytes, out);
        self.intake.put(out).await
    }
}

/// Holds the whole conversation; returns when it is over, whoever ended it.
#[allow(clippy::too_many_lines, reason = "one arm an order")]
pub async fn converse(
    service: &Rc<Service>,
    live: &Live,
    mut stream: Stream,
    server: &mut Server,
    who: Client,
    mut naming: Naming,
    place: Option<&Place>,
) {
    // What was read, and how much of it the machine has taken.
    let (mut block, mut at) = (Vec::new(), 0);
    let mut out = Vec::new();
    let mut patience = Patience::new();
    let mut ended = pin!(service.ending.begun());
    let mut stopping = false;
    let mut incoming: Option<Box<Incoming>> = None;
    // Who is proving a password, and how many had failed before.
    let mut proving: Option<(String, usize)> = None;
    let mut told = gate::Limits::new();
    let mut fetched = None;
    let mut share = service.envelopes.share();
    bind(server, &stream);
    let mut now = clock::tick();
    let mut overheard = overheard(who, &stream);
    // Since when the client has said nothing of use, and whether it just has.
    let (mut since, mut useful) = (now, false);
    // What was done for it since others had their turn, in bytes read.
    let mut turn = 0_usize;
    loop {
        if turn >= limits::CLIENT_BLOCK {
            // Who sends faster than we read would never wait, and nobody else would be heard.
            turn = 0;
            future::yield_now().await;
        }
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
        let mut input = block.get(at..).unwrap_or_default();
        let order = server.next_order(now, &mut input);
        let was = mem::replace(&mut at, block.len().saturating_sub(input.len()));
        if let Some(overheard) = &mut overheard {
            overheard.heard(block.get(was..at).unwrap_or_default(), clock::tick());
        }
        match order {
            Order::Send(bytes) => {
                if let Some(overheard) = &mut overheard {
                    overheard.told(bytes, clock::tick(), log::dialogue);
                }
                let wait = live.config.limits.command_timeout;
                let sent = async {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                };
                let lost = async {
                    lost(place, now).await;
                    Err(io::ErrorKind::TimedOut.into())
                };
                let sent = patience.wait(wait, future::or(sent, lost));
                if !matches!(sent.await, Ok(Ok(()))) {
                    server.on_closed();
                }
                useful = true;
                // A full reply answers a hundred commands.
                turn = turn.saturating_add(limits::CLIENT_BLOCK / 2);
            }
            Order::Read(deadline) => {
                now = clock::tick();
                if mem::take(&mut useful) {
                    since = now;
                }
                if let Some(place) = place
                    && server.session().login.is_some()
                {
                    place.befriend();
                }
                at = 0;
                block.clear();
                if incoming.is_none() {
                    // Most connections that are open wait for a command, maybe for long.
                    block.shrink_to(COMMAND);
                }
                let room = match incoming {
                    Some(_) => limits::CLIENT_BLOCK,
                    None => limits::COMMAND_BLOCK,
                };
                let read = async {
                    let got = take(service, &mut stream, &mut block, room);
                    Heard::Read(got.await)
                };
                let stop = async {
                    if stopping {
                        future::pending::<()>().await;
                    }
                    ended.as_mut().await;
                    Heard::Stop
                };
                let lost = async {
                    lost(place, since).await;
                    Heard::Lost
                };
                let heard = future::or(read, future::or(lost, stop));
                let heard = patience.wait(deadline.since(now), heard).await;
                now = clock::tick();
                match heard {
                    Ok(Heard::Read(Ok(count))) if count > 0 => turn = turn.saturating_add(count),
                    Ok(Heard::Read(_)) => server.on_closed(),
                    Ok(Heard::Stop) => {
                        stopping = true;
                        server.on_shutdown();
                    }
                    Ok(Heard::Lost) => {
                        emit(&Event::ClientRefused {
                            client: &who.ip.to_string(),
                            why: CROWDED,
                        });
                        server.on_crowded();
                    }
                    Err(_) => server.on_deadline(),
                }
            }
            Order::Pause(until) => {
                Timer::after(until.since(now)).await;
                now = clock::tick();
            }
            Order::AskMail { announced, .. } => {
                share.clear();
                if live.aliases.is_some() {
                    Box::pin(aliases::refresh(service, live)).await;
                }
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
                session,
                envelope,
                recipient,
            } => {
                let names = live.aliases();
                let verdict = gate::may_send(live, &names, who, session, &recipient.address)
                    .and_then(|()| share.take(envelope.recipients.len(), recipient));
                server.on_verdict(verdict);
            }
            Order::Begin { session, envelope } => {
                let name = naming.name().await;
                let begun = begin(service, who, session, envelope.utf8, &stream, name);
                incoming = Some(begun);
                server.on_verdict(Ok(()));
            }
            Order::Body(bytes) => {
                useful |= bytes.len() >= limits::DRIP;
                let stored = match &mut incoming {
                    Some(incoming) => incoming.put(bytes, &mut out).await,
                    None => Ok(()),
                };
                if let Err(error) = stored {
                    incoming = None;
                    server.on_trouble(fault(&Refused::from_io(&error)));
                }
            }
            Order::Commit { envelope, .. } => {
                if let (Some(overheard), Some(incoming)) = (&mut overheard, &incoming) {
                    overheard.message_over(&incoming.walker.facts().message_id);
                }
                let stored = match incoming.take() {
                    Some(incoming) => {
                        let envelope = Box::new(envelope.clone());
                        commit(service, incoming, envelope, &mut out).await
                    }
                    None => Err(Fault::Ours),
                };
                if out.capacity() > KEPT {
                    // What a large message needed is given back.
                    out = Vec::new();
                }
                share.clear();
                server.on_stored(stored);
                now = clock::tick();
            }
            Order::Abort => incoming = None,
            Order::Close => break,
            Order::StartTls => {
                // What came before the encryption is not to be believed (RFC 3207 s4.2).
                (block, at) = (Vec::new(), 0);
                match Box::pin(secured(service, live, stream, who, place)).await {
                    Some(secured) => stream = secured,
                    None => return,
                }
                server.on_tls();
                bind(server, &stream);
                now = clock::tick();
            }
            Order::CheckPassword { name, password } => {
                let (name, password) = (name.to_owned(), password.to_owned());
                let checked = gate::check_password(service, live, who, name, password);
                server.on_verdict(Box::pin(checked).await);
                now = clock::tick();
            }
            Order::MakeChallenge => match gate::nonce() {
                Ok(nonce) => server.on_challenge(&nonce, clock::wall()),
                Err(fault) => server.on_verdict(Err(fault)),
            },
            Order::CheckProof { name, proof } => {
                let (name, proof) = (name.to_owned(), proof.clone());
                let checked = gate::check_proof(service, live, who, name, proof);
                server.on_verdict(Box::pin(checked).await);
                now = clock::tick();
            }
            #[cfg(feature = "sso")]
            Order::CheckTicket { token } => {
                let token = token.to_owned();
                match Box::pin(gate::check_ticket(service, live, who, token)).await {
                    Ok(accepted) => {
                        proving = Some((accepted.principal.clone(), server.failed_logins()));
                        server.on_ticket(accepted);
                    }
                    Err(fault) => server.on_verdict(Err(fault)),
                }
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
                    Ok(_) if at < block.len() => Err(Fault::TurnRefused),
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
    // A peer that does not read is not waited for.
    let _ = patience.wait(limits::GOODBYE, stream.end()).await;
}

/// Adds what the client has sent to `block`, at most `room`; answers how much that is, 0 when it has hung up. While it
/// sends nothing, no memory is held for what it might send.
async fn take(
    service: &Service,
    stream: &mut Stream,
    block: &mut Vec<u8>,
    room: usize,
) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut desk = service.desk.borrow_mut();
        let place = desk.get_mut(..room).unwrap_or_default();
        let count = ready!(Pin::new(&mut *stream).poll_read(cx, place))?;
        block.extend_from_slice(desk.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    })
    .await
}

/// Who writes the dialogue down, if anybody wants to read it. Boxed: most servers have none.
fn overheard(who: Client, stream: &Stream) -> Option<Box<Overheard>> {
    if !log::wants_dialogue() {
        return None;
    }
    let local = stream.local_addr();
    let port = local.map_or(0, |local| local.port());
    let (peer, local) = match local {
        Some(local) => (Some(who.ip.to_canonical()), Some(local.ip().to_canonical())),
        None => (None, None),
    };
    Some(Box::new(Overheard::new(peer, local, port)))
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
) -> Box<Incoming> {
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
    Box::new(Incoming {
        intake,
        walker: Walker::new(plan),
    })
}

async fn commit(
    service: &Rc<Service>,
    mut incoming: Box<Incoming>,
    envelope: Box<Envelope>,
    out: &mut Vec<u8>,
) -> Result<crate::base::MsgId, Fault> {
    out.clear();
    incoming.walker.finish(out);
    let last = incoming.intake.put(out).await;
    if let Err(error) = last {
        return Err(fault(&Refused::from_io(&error)));
    }
    let facts = incoming.walker.facts();
    match incoming
        .intake
        .finish(service, *envelope, facts, None)
        .await
    {
        Ok(taken) => {
            let id = taken.id;
            notices::expanded(service, &taken).await;
            arrival::arrived(service, taken);
            Ok(id)
        }
        Err(NotTaken::Hops(_)) => Err(Fault::Loop),
        Err(NotTaken::TooMany) => Err(fault(&Refused::TooLarge)),
        Err(NotTaken::Ways) => Err(Fault::Full),
        Err(NotTaken::Journal(refused)) => Err(fault(&refused)),
        Err(NotTaken::Disk(error)) => Err(fault(&Refused::from_io(&error))),
    }
}

/// What a client hears when the journal would not. It is told which kind of room is missing, and never the setting.
fn fault(refused: &Refused) -> Fault {
    match refused {
        Refused::QueueBytes | Refused::QueueMessages => Fault::QueueFull,
        Refused::TooLarge => {
            let text = "Too many recipients to store; send to fewer at a time";
            Fault::Told(Box::new(Told::new(452, Status::new(4, 5, 3), text)))
        }
        _ if refused.is_full() => Fault::Full,
        _ => Fault::Ours,
    }
}

#[cfg(test)]
mod tests {
    use super::{Incoming, Patience, Server, Stream, client};

    /// What a task of this kind takes while it lives.
    fn size<A, B, C, D, F: Future>(_: fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// The rest of a connection that waits is the name that it gave itself, the watch on its socket and what the
    /// allocator adds; `tests/bench/hostile` measures all of it.
    #[test]
    fn a_connection_that_waits_takes_little_memory() {
        let parts = [
            size_of::<Server>(),
            size_of::<Option<Incoming>>(),
            size_of::<Stream>(),
            size_of::<Patience>(),
        ];
        let whole = size(client);
        assert!(whole <= 4096, "{whole} bytes, of these {parts:?}");
    }
}
