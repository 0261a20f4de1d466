//! A session with the drop folder: writes what is due there, one message after the other.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::base::MsgId;
use crate::disk::drop::DropFolder;
use crate::disk::drop::Fault;
use crate::disk::stored::StoredBody;
use crate::mail::Address;
use crate::mail::Envelope;
use crate::mail::Outcome;
use crate::mail::Reason;
use crate::mail::Status;
use crate::mail::report::Action;
use crate::policy::route::Next;
use crate::service::attempt;
use crate::service::conclude;
use crate::service::hooks;
use crate::service::shared::Service;

/// Drops what is due, until nothing is.
pub async fn session(service: &Rc<Service>) {
    attempt::way_well(service, Next::Drop);
    while let Some(mut attempt) = attempt::take(service, Next::Drop).await {
        let folder = Arc::clone(&service.drop.borrow());
        let envelope = attempt.message.stored.accept.envelope.clone();
        let recipients = attempt.recipients.clone();
        let (id, mut body) = (attempt.id, attempt.message.body);
        let crc = attempt.message.stored.body_crc;
        let job = move || {
            let written = write(&folder, id, &envelope, &recipients, (&mut body, crc));
            (body, written)
        };
        let (body, written) = service.worker.run(job).await;
        attempt.message.body = body;
        let path = written.as_ref().ok().cloned();
        let outcome = match written {
            Ok(path) => Outcome::Done(Reason::ours(
                Status::new(2, 0, 0),
                format!("written to {}", path.display()),
            )),
            Err(fault) => Outcome::Later(fault.reason()),
        };
        if let Some(path) = &path {
            let envelope = &attempt.message.stored.accept.envelope;
            hooks::dropped(service, id, envelope, attempt.message.body.clone(), path);
        }
        attempt.done = Some(Action::Delivered);
        let all = attempt.recipients.iter();
        let outcomes = all.map(|&at| (at, outcome.clone())).collect();
        conclude::conclude(service, Next::Drop, attempt, outcomes).await;
    }
}

/// Writes one message, whose body file has this checksum when it has one. Blocks.
fn write(
    folder: &Mutex<DropFolder>,
    id: MsgId,
    envelope: &Envelope,
    recipients: &[usize],
    (body, crc): (&mut StoredBody, Option<u32>),
) -> Result<PathBuf, Fault> {
    let mut folder = folder.lock().unwrap_or_else(PoisonError::into_inner);
    let receivers: Vec<&Address> = recipients
        .iter()
        .filter_map(|&at| envelope.recipients.get(at))
        .map(|recipient| &recipient.address)
        .collect();
    let mut file = folder.begin(id, envelope.sender.as_ref(), &receivers, body.len())?;
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
