//! Tries what is down as soon as the network is back, and listens for that only while something is down.

use std::rc::Rc;

use smol::future;

use crate::net::netlink::Network;
use crate::service::event::Event;
use crate::service::log::emit;
use crate::service::shared::Service;

/// What has happened while a way was down.
enum News {
    /// The network has come back.
    Back,
    /// A way may have become well.
    Health,
    /// The kernel does not tell any more.
    Deaf(String),
}

/// Watches until the service ends, or as long as the kernel tells.
pub async fn watch(service: Rc<Service>) {
    let mut network: Option<Network> = None;
    while !service.ending.has_begun() {
        if !service.ways.borrow().is_down() {
            // A box whose ways are well is not woken by its network (promise G7).
            network = None;
            future::or(service.health.heard(), service.ending.begun()).await;
            continue;
        }
        let news = match &mut network {
            Some(network) => listen(&service, network).await,
            None => match Network::watch() {
                Ok(new) => {
                    network = Some(new);
                    continue;
                }
                Err(error) => News::Deaf(error.to_string()),
            },
        };
        match news {
            News::Back => service.network_back(),
            News::Health => {}
            News::Deaf(why) => {
                // Retries keep to their schedule then.
                emit(&Event::Trouble {
                    what: "network watch",
                    why: &why,
                });
                return;
            }
        }
    }
}

async fn listen(service: &Service, network: &mut Network) -> News {
    let back = async {
        match network.back().await {
            Ok(()) => News::Back,
            Err(error) => News::Deaf(error.to_string()),
        }
    };
    let other = async {
        future::or(service.health.heard(), service.ending.begun()).await;
        News::Health
    };
    future::or(back, other).await
}
