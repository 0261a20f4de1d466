//! Mail of low priority that is in memory first, where the owner wants it so: which messages, and when they are
//! written.

use std::rc::Rc;
use std::time::Duration;

use crate::base::Tick;
use crate::disk::fault::Refused;
use crate::net::within::Patience;
use crate::policy::health::Health;
use crate::policy::route::Next;
use crate::queue::Accept;
use crate::queue::Door;
use crate::queue::Priority;
use crate::service::event::Event;
use crate::service::log::emit;
use crate::service::shared::Service;

/// When writing is tried again after the journal would not take it.
const AGAIN: Duration = Duration::from_secs(30);

/// How long nothing is in memory alone after the owner has asked for everything to be on the disk: the power is about
/// to fail, and if it did not, nothing is lost but some wear.
const REST: Duration = Duration::from_secs(10 * 60);

/// Until when a message that was not yet accepted may be in memory alone; `None` is not at all.
pub fn until(service: &Service, accept: &Accept, ways: &[Next]) -> Option<Tick> {
    let live = service.live();
    let delivery = &live.config.delivery;
    let wait = delivery.memory_first?;
    let sender = accept.envelope.sender.as_ref();
    let low = accept.priority == Priority::Low
        || sender.is_some_and(|sender| delivery.memory_first_from.contains(sender));
    let now = service.now();
    // What waits anyway would be written anyway.
    let leaves_soon = |next: &Next| {
        let ways = service.ways.borrow();
        let (_, way) = ways.one(*next);
        !next.is_held() && way.is_none_or(|way| !matches!(way.health, Health::Down(_)))
    };
    let may = low
        && accept.door != Door::Notice
        && !service.ending.has_begun()
        && now >= service.memory_rests.get()
        && ways.iter().all(leaves_soon);
    may.then(|| now.after(wait))
}

/// Writes what is due, until the service ends.
pub async fn serve(service: Rc<Service>) {
    let mut patience = Patience::new();
    loop {
        // Its trouble is told; it is due again.
        let _ = write_due(&service).await;
        let heard = service.memory.heard();
        match service.journal.next_in_memory() {
            None => heard.await,
            Some(at) => {
                // That time is up is a reason to look, as a ring is.
                let _ = patience.wait(at.since(service.now()), heard).await;
            }
        }
    }
}

/// Writes everything now. Answers how many messages that were.
pub async fn write_all(service: &Service) -> Result<usize, Refused> {
    service.journal.hurry_memory();
    write_due(service).await
}

/// Writes everything, waits until all of the journal is durable, and keeps nothing in memory alone for a while.
pub async fn power_fails(service: &Service) -> Result<usize, Refused> {
    service.memory_rests.set(service.now().after(REST));
    let count = write_all(service).await?;
    service.journal.flush().await?;
    Ok(count)
}

async fn write_due(service: &Service) -> Result<usize, Refused> {
    let mut count = 0_usize;
    for id in service.journal.due_in_memory(service.now()) {
        let again = service.now().after(AGAIN);
        if let Err(refused) = service.journal.write_out(id, again).await {
            let why = format!("{id} is in memory only: {refused}");
            emit(&Event::Trouble {
                what: "queue",
                why: &why,
            });
            return Err(refused);
        }
        count = count.saturating_add(1);
    }
    Ok(count)
}
