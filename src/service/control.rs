//! The control socket: one request a connection, one line in, text out.
//!
//! Who asks is known from the kernel; what that one may do stands in [`crate::service::operators`]. A change is in the log with the
//! number of the user who ordered it.

use std::cmp::Reverse;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;

use async_net::unix::UnixStream;
use smol::lock::Semaphore;

use crate::base::MsgId;
use crate::base::Tick;
use crate::base::limits;
use crate::disk::body::Stored;
use crate::mail::Domain;
use crate::queue::schedule::NEVER;
use crate::service::asked::Asked;
use crate::service::badmails;
use crate::service::event::Event;
use crate::service::event::Json;
use crate::service::line::Ordered;
use crate::service::line::Reply;
use crate::service::log::emit;
use crate::service::memory_first;
use crate::service::notices;
use crate::service::operators::Caller;
use crate::service::operators::Standing;
use crate::service::shared::Service;
use crate::service::shared::waiting;
use crate::service::show::HEADING;
use crate::service::show::Shown;
use crate::service::show::WayShown;
use crate::service::show::span;
use crate::service::socket::Socket;
use crate::service::state::State;
use crate::service::talk::OK;
use crate::service::talk::Talk;

/// What a pause is.
const PAUSED: &str = "new connections are refused, files wait in pickup, the queue goes on";

/// Ways that `status` shows to people.
const WAYS_SHOWN: usize = 30;

/// Messages whose times are looked up together for a list.
const LISTED: u64 = 4096;

/// Answers requests until the service ends.
pub async fn serve(service: Rc<Service>, socket: Rc<Socket>) {
    let places = Arc::new(Semaphore::new(limits::OPERATORS));
    loop {
        let place = places.acquire_arc().await;
        let talk = socket.accept().await;
        let task = {
            let service = Rc::clone(&service);
            async move {
                // A client that hangs up has what it wanted.
                let _ = answer(&service, talk).await;
                drop(place);
            }
        };
        service.tasks.spawn(task).detach();
    }
}

/// Who is at the other end, and what that one may do.
async fn caller(service: &Service, stream: &UnixStream) -> std::io::Result<(Caller, Standing)> {
    let caller = Caller::of(stream)?;
    if caller.is_ours() {
        return Ok((caller, Standing::Operator));
    }
    let operators = service.live().config.operators.clone();
    let standing = service.worker.run(move || caller.standing(&operators));
    Ok((caller, standing.await))
}

async fn answer(service: &Rc<Service>, talk: Talk) -> std::io::Result<()> {
    let (caller, standing) = caller(service, &talk.0).await?;
    let Some(asked) = Asked::admit(talk, caller, standing).await? else {
        return Ok(());
    };
    let order = asked.order();
    let Asked {
        mut talk,
        json,
        words,
    } = asked;
    if let Some(order) = order {
        let reply = Reply::Client(talk);
        // Its answer comes when it is done, from whoever does it.
        let _ = service.own.try_send(Ordered { order, reply });
        return Ok(());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["status"] => Ok(status(service, json)),
        ["pause"] => {
            service.pause.begin();
            Ok(format!("paused: {PAUSED}\n"))
        }
        ["resume"] => {
            service.pause.end();
            Ok(String::from("everything comes in again\n"))
        }
        ["queue", "list"] => return list(service, talk, json).await,
        ["queue", "show", id] => show(service, id, json).await,
        ["queue", "retry"] => {
            service.retry_all();
            Ok(String::from("trying everything now\n"))
        }
        ["queue", "retry", id] => retry(service, id).await,
        ["queue", "remove", id] => remove(service, id),
        ["queue", "hold", id] => hold(service, id),
        ["queue", "release", id] => match Domain::parse(id) {
            // An id has no dot in it, and neither has what anybody holds mail for.
            Ok(domain) if id.contains('.') => release_domain(service, &domain),
            _ => release(service, id).await,
        },
        ["badmail", "list"] => return bad_list(service, talk, json).await,
        ["badmail", what, stem] => bad(service, what, stem, json).await,
        ["sync"] => sync(service).await,
        _ => Err(format!(
            "the service does not know the request '{}'",
            words.join(" ").escape_debug()
        )),
    };
    talk.tell(result).await
}

async fn sync(service: &Service) -> Result<String, String> {
    let written = memory_first::power_fails(service).await;
    let count = written.map_err(|refused| refused.to_string())?;
    Ok(format!(
        "all mail is on the disk; written from memory: {count}\n"
    ))
}

fn find(service: &Service, id: &str) -> Result<MsgId, String> {
    let id: MsgId = id.parse().map_err(|_| {
        format!(
            "'{}' is not a message id; `mailroot queue list` shows them",
            id.escape_debug()
        )
    })?;
    if service.journal.contains(id) {
        Ok(id)
    } else {
        Err(format!(
            "there is no message {id} in the queue; it may have been delivered meanwhile"
        ))
    }
}

fn status(service: &Service, json: bool) -> String {
    let live = service.live();
    let usage = service.journal.usage();
    let counts = service.counts.get();
    let now = service.now();
    let up = now.since(service.started);
    let ways = ways(service, json);
    let (state, note) = match (service.ending.has_begun(), service.pause.is_on()) {
        (true, _) => ("stopping", String::from("state: stopping\n")),
        (false, true) => ("paused", format!("state: paused; {PAUSED}\n")),
        (false, false) => ("running", String::new()),
    };
    if json {
        format!(
            "{{\"name\":{},\"version\":\"{}\",\"state\":\"{state}\",\"uptime_secs\":{},\"queued\":{},\"queued_bytes\":{},\"in_memory\":{},\"syncs\":{},\"connections\":{},\
             \"accepted\":{},\"refused\":{},\"delivered\":{},\"deferred\":{},\"failed\":{},\"ways\":[{ways}]}}\n",
            Json(&live.config.name),
            env!("CARGO_PKG_VERSION"),
            up.as_secs(),
            usage.messages,
            usage.bytes,
            usage.in_memory,
            usage.syncs,
            service.clients.total(),
            counts.accepted,
            counts.refused,
            counts.delivered,
            counts.deferred,
            counts.failed,
        )
    } else {
        format!(
            "{} {} on {}, up {}\n{note}queued: {} messages{}\nqueued bytes: {}\nconnections: {}\n\
             accepted: {}, refused: {}, delivered: {}, deferred: {}, failed: {}\n{ways}",
            live.config.name,
            env!("CARGO_PKG_VERSION"),
            live.config.home.display(),
            span(up),
            usage.messages,
            match usage.in_memory {
                0 => String::new(),
                count => format!(", {count} of them in memory only"),
            },
            usage.bytes,
            service.clients.total(),
            counts.accepted,
            counts.refused,
            counts.delivered,
            counts.deferred,
            counts.failed,
        )
    }
}

/// How every way stands; for people, the ones that most wait on.
fn ways(service: &Service, json: bool) -> String {
    let all = service.ways.borrow();
    let states = all.all().into_iter();
    let mut states: Vec<State> = states
        .map(|(next, waiting, way)| State::new(service, next, waiting, way))
        .collect();
    if json {
        let states: Vec<String> = states.iter().map(State::json).collect();
        return states.join(",");
    }
    states.sort_by_key(|state| Reverse(state.waiting));
    let mut text = String::new();
    for state in states.iter().take(WAYS_SHOWN) {
        let _ = writeln!(text, "way {}: {}", state.name, state.text());
    }
    if let Some(more) = states
        .len()
        .checked_sub(WAYS_SHOWN)
        .filter(|more| *more > 0)
    {
        let _ = writeln!(text, "and {more} more ways (--json shows all)");
    }
    text
}

/// Writes the list as it is read, so that a long queue is never whole in memory.
async fn list(service: &Rc<Service>, mut talk: Talk, json: bool) -> std::io::Result<()> {
    talk.say(format!("{OK}\n").as_bytes()).await?;
    let mut after = None;
    let mut first = true;
    // Looked up for many messages in one pass, or a long list would be a pass for each.
    let (mut dues, mut known_to) = (Vec::new(), None);
    while let Some(id) = service.journal.after(after) {
        after = Some(id);
        if known_to.is_none_or(|last| id > last) {
            let last = MsgId::from_number(id.number().saturating_add(LISTED));
            dues = service.ways.borrow().dues(id, last);
            known_to = Some(last);
        }
        let due = dues.binary_search_by_key(&id, |(id, _)| *id).ok();
        let due = due.and_then(|at| dues.get(at)).map(|(_, due)| *due);
        let form = |shown: &Shown<'_>| if json { shown.json() } else { shown.line() };
        let Ok(text) = shown(service, id, due, form).await else {
            // Delivered while we were listing.
            continue;
        };
        if first && !json {
            talk.say(HEADING.as_bytes()).await?;
        }
        first = false;
        talk.say(text.as_bytes()).await?;
    }
    if first && !json {
        talk.say(b"the queue is empty\n").await?;
    }
    Ok(())
}

/// Writes the list of badmail one by one, so that it is never whole in memory.
async fn bad_list(service: &Rc<Service>, mut talk: Talk, json: bool) -> std::io::Result<()> {
    let badmail = notices::badmail(service);
    let entries = {
        let badmail = badmail.clone();
        service.worker.run(move || badmail.list()).await
    };
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => return talk.tell(Err(error.to_string())).await,
    };
    let top = match (json, entries.is_empty()) {
        (true, _) => "",
        (false, true) => badmails::EMPTY,
        (false, false) => badmails::HEADING,
    };
    talk.say(format!("{OK}\n{top}").as_bytes()).await?;
    for entry in entries {
        let badmail = badmail.clone();
        let row = move || badmails::row(&badmail, &entry, json);
        if let Some(row) = service.worker.run(row).await {
            talk.say(row.as_bytes()).await?;
        }
    }
    Ok(())
}

/// Does something with one bad message.
async fn bad(service: &Service, what: &str, stem: &str, json: bool) -> Result<String, String> {
    if what == "retry" && !service.live().config.pickup.enabled {
        return Err(String::from(
            "the pickup folder is not watched (pickup.enabled = false), so nobody would take it from there",
        ));
    }
    let (badmail, pickup) = (notices::badmail(service), service.folders.pickup.clone());
    let (what, stem) = (what.to_owned(), stem.to_owned());
    let job = move || badmails::order(&badmail, &pickup, &what, &stem, json);
    service.worker.run(job).await
}

async fn shown(
    service: &Rc<Service>,
    id: MsgId,
    due: Option<Tick>,
    form: impl Fn(&Shown<'_>) -> String,
) -> Result<String, String> {
    let stored = service
        .journal
        .load(id)
        .await
        .map_err(|error| error.to_string())?;
    let now = service.now();
    let due = due.filter(|due| *due < NEVER).map(|due| due.since(now));
    Ok(form(&Shown {
        id,
        bytes: stored.body.len(),
        accept: &stored.stored.accept,
        progress: stored.stored.progress.as_ref(),
        hold: stored.stored.hold.as_deref(),
        due,
        ways: waits_on(service, &stored.stored),
    }))
}

/// How the ways stand that a message waits on.
fn waits_on(service: &Service, stored: &Stored) -> Vec<WayShown> {
    let live = service.live();
    let envelope = &stored.accept.envelope;
    let pending = live.is_pending(envelope);
    let mut seen = Vec::new();
    for to in waiting(envelope, stored.progress.as_ref())
        .into_iter()
        .filter_map(|at| envelope.recipients.get(at))
    {
        let next = live.way(pending, to);
        if !seen.contains(&next) && seen.len() < WAYS_SHOWN {
            seen.push(next);
        }
    }
    let all = service.ways.borrow();
    seen.into_iter()
        .map(|next| {
            let (waiting, way) = all.one(next);
            let state = State::new(service, next, waiting, way);
            WayShown {
                text: format!("{}: {}", state.name, state.text()),
                json: state.json(),
                works: state.why.is_empty(),
            }
        })
        .collect()
}

async fn show(service: &Rc<Service>, id: &str, json: bool) -> Result<String, String> {
    let id = find(service, id)?;
    let due = service.ways.borrow().due_of(id);
    shown(service, id, due, |shown| {
        if json { shown.json() } else { shown.detail() }
    })
    .await
}

async fn retry(service: &Rc<Service>, id: &str) -> Result<String, String> {
    let id = find(service, id)?;
    if service.journal.is_held(id) {
        return Err(format!(
            "{id} is held; `mailroot queue release {id}` lets it go"
        ));
    }
    if !service.retry_one(id) && !service.active.borrow().contains(id) {
        return Err(format!(
            "{id} is kept until the host of its domain fetches it"
        ));
    }
    Ok(format!("trying {id} now\n"))
}

fn remove(service: &Rc<Service>, id: &str) -> Result<String, String> {
    let id = find(service, id)?;
    if service.active.borrow().contains(id) {
        return Err(format!(
            "{id} is being delivered right now; try again in a moment"
        ));
    }
    service.ways.borrow_mut().remove(id);
    service.journal.done(id);
    emit(&Event::Removed { id });
    Ok(format!("removed {id}; its sender is not told\n"))
}

fn hold(service: &Rc<Service>, id: &str) -> Result<String, String> {
    let id = find(service, id)?;
    let why = "by the operator";
    service.ways.borrow_mut().remove(id);
    service.journal.hold(id, why);
    service.memory.ring();
    emit(&Event::Held { id, why });
    Ok(format!(
        "{id} is held until `mailroot queue release {id}`\n"
    ))
}

/// Lets go what is held until the host of a domain fetches it.
fn release_domain(service: &Rc<Service>, domain: &Domain) -> Result<String, String> {
    match service.held(domain) {
        None | Some(0) => Err(format!("nothing is held for {domain}")),
        Some(_) => {
            let count = service.release(domain, false);
            let s = if count == 1 { "" } else { "s" };
            Ok(format!("{count} message{s} for {domain} go now\n"))
        }
    }
}

async fn release(service: &Rc<Service>, id: &str) -> Result<String, String> {
    let id = find(service, id)?;
    if !service.journal.is_held(id) {
        return Err(format!("{id} is not held"));
    }
    service.journal.release(id);
    if !service.active.borrow_mut().reroute(id) {
        service.schedule_loaded(id).await?;
    }
    service.retry_one(id);
    Ok(format!("{id} goes now\n"))
}
