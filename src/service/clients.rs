//! Who is connected: counted in total and per address, so that one client cannot take every place (promise G4).

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use crate::policy::guard::client;

/// The counts. At most as many entries as there may be connections.
#[derive(Debug, Default)]
pub struct Clients {
    counts: RefCell<(usize, HashMap<IpAddr, usize>)>,
}

/// Why a client gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All places are taken.
    Total(usize),
    /// The client has as many as one may have.
    Client(usize),
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Total(most) => write!(f, "limits.connections: all {most} are taken"),
            Self::Client(most) => write!(
                f,
                "limits.connections_per_client: this client has {most} already"
            ),
        }
    }
}

/// A place that is taken as long as this lives.
#[derive(Debug)]
pub struct Place {
    clients: Rc<Clients>,
    ip: IpAddr,
}

impl Clients {
    /// Takes a place, unless `most` in total or `each` for this client are taken.
    pub fn enter(self: &Rc<Self>, ip: IpAddr, most: usize, each: usize) -> Result<Place, Full> {
        let ip = client(ip);
        let mut counts = self.counts.borrow_mut();
        let (total, by_ip) = &mut *counts;
        if *total >= most {
            return Err(Full::Total(most));
        }
        let mine = by_ip.entry(ip).or_default();
        if *mine >= each {
            return Err(Full::Client(each));
        }
        *mine += 1;
        *total += 1;
        Ok(Place {
            clients: Rc::clone(self),
            ip,
        })
    }

    /// How many are connected.
    pub fn total(&self) -> usize {
        self.counts.borrow().0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.clients.counts.borrow_mut();
        counts.0 = counts.0.saturating_sub(1);
        if let Some(mine) = counts.1.get_mut(&self.ip) {
            *mine = mine.saturating_sub(1);
            if *mine == 0 {
                counts.1.remove(&self.ip);
            }
        }
        if counts.1.is_empty() {
            // What a flood of addresses needed is given back.
            counts.1.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Clients, Full};
    use std::rc::Rc;

    #[test]
    fn places_are_counted_in_total_and_per_client_and_given_back() {
        let clients = Rc::new(Clients::default());
        let ip = |n: u8| std::net::IpAddr::from([10, 0, 0, n]);
        let first = clients.enter(ip(1), 3, 2).unwrap();
        let _second = clients.enter(ip(1), 3, 2).unwrap();
        assert_eq!(clients.enter(ip(1), 3, 2).unwrap_err(), Full::Client(2));
        let _third = clients.enter(ip(2), 3, 2).unwrap();
        assert_eq!(clients.enter(ip(3), 3, 2).unwrap_err(), Full::Total(3));
        drop(first);
        assert!(clients.enter(ip(1), 3, 2).is_ok());
        assert_eq!(clients.total(), 2);
        // What one IPv6 host has to itself is one client.
        let mine = |n: u16| std::net::IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]);
        let _one = clients.enter(mine(1), 9, 1).unwrap();
        assert_eq!(clients.enter(mine(2), 9, 1).unwrap_err(), Full::Client(1));
    }
}
