//! A session with a drop folder: writes what is due there, one message after the other.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::disk::drop::DropFolder;
use crate::disk::drop::Fault;
use crate::disk::drop::Letter;
use crate::disk::stored::StoredBody;
use crate::mail::Address;
use crate::mail::Outcome;
use crate::mail::Reason;
use crate::mail::Status;
use crate::mail::report::Action;
use crate::policy::route::Next;
use crate::service::attempt;
use crate::service::attempt::Attempt;
use crate::service::conclude;
use crate::service::hooks;
use crate::service::live::Live;
use crate::service::shared::Service;

/// Those of a message's recipients who share a file.
struct Share {
    /// The mailbox whose Maildir gets it.
    mailbox: Option<String>,
    /// By place in the envelope.
    places: Vec<usize>,
    addresses: Vec<Address>,
}

/// Drops what is due in the folder with this number, until nothing is.
pub async fn session(service: &Rc<Service>, at: usize) {
    let next = Next::Drop(at);
    attempt::way_well(service, next);
    while let Some(mut attempt) = attempt::take(service, next).await {
        let (live, folder) = (service.live(), service.drops.borrow().get(at).cloned());
        let Some(folder) = folder else {
            // A reload has taken the folder away; rerouting will put the message elsewhere.
            return attempt::give_back(service, next, attempt);
        };
        let (mut outcomes, shares) = shares(&live, &attempt, at);
        for share in shares {
            let accept = &attempt.message.stored.accept;
            let (id, came) = (attempt.id, accept.arrived);
            let sender = accept.envelope.sender.clone();
            let crc = attempt.message.stored.body_crc;
            let (folder, mut body) = (folder.clone(), attempt.message.body);
            let job = move || {
                let receivers: Vec<&Address> = share.addresses.iter().collect();
                let letter = Letter {
                    id,
                    came,
                    sender: sender.as_ref(),
                    receivers: &receivers,
                    mailbox: share.mailbox.as_deref(),
                    size: body.len(),
                };
                let written = write(&folder, letter, (&mut body, crc));
                (body, written, share.places)
            };
            let (body, written, places) = service.worker.run(job).await;
            attempt.message.body = body;
            if let Ok(path) = &written {
                let envelope = &attempt.message.stored.accept.envelope;
                hooks::dropped(service, id, envelope, attempt.message.body.clone(), path);
            }
            let outcome = match written {
                Ok(path) => Outcome::Done(Reason::ours(
                    Status::new(2, 0, 0),
                    format!("written to {}", path.display()),
                )),
                Err(fault) => Outcome::Later(fault.reason()),
            };
            outcomes.extend(places.into_iter().map(|at| (at, outcome.clone())));
        }
        attempt.done = Some(Action::Delivered);
        conclude::conclude(service, next, attempt, outcomes).await;
    }
}

/// Who shares a file, and whose mailbox does not exist: what a client of ours would have been told at once, a pickup file
/// is told here.
fn shares(live: &Live, attempt: &Attempt, at: usize) -> (Vec<(usize, Outcome)>, Vec<Share>) {
    let maildir = live.config.drops().nth(at).is_some_and(|at| at.maildir);
    let mailboxes = &live.config.rewrite.mailboxes;
    let envelope = &attempt.message.stored.accept.envelope;
    let (mut outcomes, mut shares) = (Vec::new(), Vec::<Share>::new());
    for &place in &attempt.recipients {
        let Some(recipient) = envelope.recipients.get(place) else {
            continue;
        };
        let to = &recipient.address;
        // Whom the directory named exists.
        if !mailboxes.has(to) && !live.is_looked_up(to.domain()) {
            let why = Reason::ours(Status::new(5, 1, 1), "there is no mailbox of this name");
            outcomes.push((place, Outcome::Never(why)));
            continue;
        }
        let mailbox = mailboxes.mailbox(to).filter(|_| maildir);
        let share = shares
            .iter_mut()
            .find(|share| share.mailbox.as_deref() == mailbox);
        if let Some(share) = share {
            share.places.push(place);
            share.addresses.push(to.clone());
        } else {
            shares.push(Share {
                mailbox: mailbox.map(str::to_owned),
                places: vec![place],
                addresses: vec![to.clone()],
            });
        }
    }
    (outcomes, shares)
}

/// Writes one message, whose body file has this checksum when it has one. Blocks.
fn write(
    folder: &Mutex<DropFolder>,
    letter: Letter<'_>,
    (body, crc): (&mut StoredBody, Option<u32>),
) -> Result<PathBuf, Fault> {
    let mut folder = folder.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file = folder.begin(letter)?;
    let (mut block, mut offset) = (Vec::new(), 0);
    let mut seen = crc32fast::Hasher::new();
    let unreadable = |error| Fault::Io(PathBuf::from("the queue"), error);
    while offset < body.len() {
        body.read_blocking(offset, &mut block).map_err(unreadable)?;
        seen.update(&block);
        offset = offset.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
        file.append(&block)?;
    }
    if crc.is_some_and(|crc| crc != seen.finalize()) {
        let damaged = std::io::Error::other("the stored body is damaged");
        return Err(unreadable(damaged));
    }
    file.finish()
}
