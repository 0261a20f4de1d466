//! The name of a client's address, for the trace field. It is looked up while the session goes on and decides nothing;
//! only the first message of a client that is faster than the name server waits for it, and never past the limit.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use smol::Task;

use crate::mail::Domain;
use crate::net::within::within;
use crate::service::shared::Service;

/// What stands in the trace field for a client whose address has no name that leads back to it.
const UNKNOWN: &str = "unknown";

/// How far it has come. When it is dropped the lookup ends.
#[derive(Debug)]
pub enum Naming {
    /// It was not asked for.
    Off,
    /// It will be here before the limit is over.
    Looking(Task<Option<Domain>>),
    /// It is here; `None` is no name, or none in time.
    Found(Option<Domain>),
}

impl Naming {
    /// Begins to look the address up, for at most this long.
    pub fn begin(service: &Rc<Service>, ip: IpAddr, limit: Option<Duration>) -> Self {
        let Some(limit) = limit else {
            return Self::Off;
        };
        let service_ = Rc::clone(service);
        let look = async move {
            let found = within(limit, service_.reverse.name_of(ip)).await;
            found.ok().flatten()
        };
        Self::Looking(service.tasks.spawn(look))
    }

    /// What the trace field says: nothing when it was not asked for.
    pub async fn name(&mut self) -> Option<&str> {
        if let Self::Looking(task) = self {
            *self = Self::Found(task.await);
        }
        match self {
            Self::Found(name) => Some(name.as_ref().map_or(UNKNOWN, Domain::as_str)),
            Self::Off | Self::Looking(_) => None,
        }
    }
}
