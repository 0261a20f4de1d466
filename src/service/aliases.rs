//! The aliases at work: every envelope goes through them once, at the intake. What is queued keeps its recipients.

use std::rc::Rc;
use std::sync::Arc;

use crate::mail::Envelope;
use crate::mail::Recipient;
use crate::policy::rewrite::TooMany;
use crate::service::event::Event;
use crate::service::live::Live;
use crate::service::log::emit;
use crate::service::shared::Service;

/// Sees to it that the aliases are those in the file, or the last good ones.
pub async fn refresh(service: &Service, live: &Live) {
    let Some(file) = &live.aliases else { return };
    let file = Arc::clone(file);
    // One look at the file's time, by the file worker: the folder may be on a share that hangs.
    match service.worker.run(move || file.refresh()).await {
        Ok(None) => {}
        Ok(Some(count)) => emit(&Event::AliasesRead { count }),
        Err(why) => emit(&Event::Trouble {
            what: "aliases",
            why: &format!("the old ones stay at work: {why}"),
        }),
    }
}

/// Rewrites the addresses of a message that has come in. Answers the recipients that became several and whose sender
/// wants to hear of a delivery.
pub async fn rewrite(
    service: &Rc<Service>,
    envelope: &mut Envelope,
    first_hop: bool,
) -> Result<Vec<Recipient>, TooMany> {
    let live = service.live();
    refresh(service, &live).await;
    let aliases = live.aliases();
    live.config.rewrite.envelope(&aliases, envelope, first_hop)
}
