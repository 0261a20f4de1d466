//! Who is connected: counted in total and per address, so that one client cannot take every place (promise G4).
//!
//! When all places are taken, who waits for its peer longest goes: an attacker, or a program that forgot to close its
//! connection, must not keep mail out. A client that may relay (a *friend*: this box, the owner's network, who has
//! logged in) never goes for a stranger, and needs not wait until a stranger has been silent for long.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::Poll;
use std::task::Waker;

use crate::base::Tick;
use crate::base::limits;

use crate::policy::guard::client;

/// The counts. At most as many entries as there may be connections.
#[derive(Debug, Default)]
pub struct Clients {
    /// Those that have a place, in no order.
    guests: RefCell<Vec<Rc<Guest>>>,
    by_ip: RefCell<HashMap<IpAddr, usize>>,
    /// Before this tick nobody goes for a stranger: looked for in vain.
    vain: Cell<Option<Tick>>,
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

/// Who has a place.
#[derive(Debug)]
struct Guest {
    ip: IpAddr,
    /// Where it stands among the guests; `None` when it has lost its place.
    at: Cell<Option<usize>>,
    friend: Cell<bool>,
    /// Since when it has waited for its peer to say something of use; `None` while it is our turn.
    since: Cell<Option<Tick>>,
    /// Who is to know that the place is lost.
    waker: RefCell<Option<Waker>>,
}

/// A place that is taken as long as this lives, unless it is [lost](Place::lost).
#[derive(Debug)]
pub struct Place {
    clients: Rc<Clients>,
    guest: Rc<Guest>,
}

impl Clients {
    /// Takes a place, unless `each` for this client are taken, or `most` in total and nobody has to go.
    pub fn enter(
        self: &Rc<Self>,
        ip: IpAddr,
        friend: bool,
        (most, each): (usize, usize),
        now: Tick,
    ) -> Result<Place, Full> {
        let ip = client(ip);
        if self.of(ip) >= each {
            let all = each >= most;
            return Err(if all {
                Full::Total(most)
            } else {
                Full::Client(each)
            });
        }
        if self.total() >= most && !self.make_room(friend, now) {
            return Err(Full::Total(most));
        }
        let mut guests = self.guests.borrow_mut();
        let guest = Rc::new(Guest {
            ip,
            at: Cell::new(Some(guests.len())),
            friend: Cell::new(friend),
            since: Cell::default(),
            waker: RefCell::default(),
        });
        guests.push(Rc::clone(&guest));
        let mut by_ip = self.by_ip.borrow_mut();
        let mine = by_ip.entry(ip).or_default();
        *mine = mine.saturating_add(1);
        Ok(Place {
            clients: Rc::clone(self),
            guest,
        })
    }

    /// How many are connected.
    pub fn total(&self) -> usize {
        self.guests.borrow().len()
    }

    fn of(&self, ip: IpAddr) -> usize {
        self.by_ip.borrow().get(&ip).copied().unwrap_or(0)
    }

    /// Takes the place of the one that has waited longest, among those that have to go for this newcomer.
    fn make_room(&self, friend: bool, now: Tick) -> bool {
        if !friend && self.vain.get().is_some_and(|until| now < until) {
            return false;
        }
        let silent = |since: Tick| now.since(since) >= limits::IDLE_GOES;
        let longest = |friends: bool| {
            let guests = self.guests.borrow();
            guests
                .iter()
                .filter(|guest| guest.friend.get() == friends)
                .filter_map(|guest| Some((guest.since.get()?, Rc::clone(guest))))
                .min_by_key(|(since, _)| *since)
        };
        let stranger = longest(false);
        let goes = match &stranger {
            Some((since, guest)) if friend || silent(*since) => Some(Rc::clone(guest)),
            _ if friend => longest(true)
                .filter(|(since, _)| silent(*since))
                .map(|(_, guest)| guest),
            _ => None,
        };
        let Some(guest) = goes else {
            // A look at all of them for each connection of a flood would be work for the attacker.
            let since = stranger.map_or(now, |(since, _)| since);
            self.vain.set(Some(since.after(limits::IDLE_GOES)));
            return false;
        };
        self.leave(&guest);
        if let Some(waker) = guest.waker.take() {
            waker.wake();
        }
        true
    }

    fn leave(&self, guest: &Guest) {
        let Some(at) = guest.at.take() else {
            return;
        };
        let mut guests = self.guests.borrow_mut();
        if at < guests.len() {
            guests.swap_remove(at);
        }
        if let Some(moved) = guests.get(at) {
            moved.at.set(Some(at));
        }
        let mut by_ip = self.by_ip.borrow_mut();
        if let Some(mine) = by_ip.get_mut(&guest.ip) {
            *mine = mine.saturating_sub(1);
            if *mine == 0 {
                by_ip.remove(&guest.ip);
            }
        }
        if guests.is_empty() {
            // What a flood needed is given back.
            guests.shrink_to_fit();
            by_ip.shrink_to_fit();
        }
    }
}

impl Place {
    /// From now on the client does not go for strangers.
    pub fn befriend(&self) {
        self.guest.friend.set(true);
    }

    /// Waits for the peer, which has said nothing of use since this tick. Ends when the place goes to another client;
    /// when this is dropped, it is our turn again.
    pub async fn lost(&self, since: Tick) {
        let _turn = Turn::wait(&self.guest, since);
        poll_fn(|cx| {
            if self.guest.at.get().is_none() {
                return Poll::Ready(());
            }
            let mut waker = self.guest.waker.borrow_mut();
            if waker
                .as_ref()
                .is_none_or(|waker| !waker.will_wake(cx.waker()))
            {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.leave(&self.guest);
    }
}

/// It is the peer's turn as long as this lives.
struct Turn<'a>(&'a Guest);

impl<'a> Turn<'a> {
    fn wait(guest: &'a Guest, since: Tick) -> Self {
        guest.since.set(Some(since));
        Self(guest)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.since.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::{Clients, Full, Place};
    use crate::base::{Tick, limits};
    use smol::future::{block_on, poll_once};
    use std::net::IpAddr;
    use std::pin::pin;
    use std::rc::Rc;
    use std::time::Duration;

    const START: Tick = Tick::from_millis(1_000_000);

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn enter(clients: &Rc<Clients>, n: u8, friend: bool, now: Tick) -> Result<Place, Full> {
        clients.enter(ip(n), friend, (3, 2), now)
    }

    #[test]
    fn places_are_counted_in_total_and_per_client_and_given_back() {
        let clients = Rc::new(Clients::default());
        let first = enter(&clients, 1, false, START).unwrap();
        let _second = enter(&clients, 1, false, START).unwrap();
        let third = enter(&clients, 1, false, START);
        assert_eq!(third.unwrap_err(), Full::Client(2));
        let _third = enter(&clients, 2, false, START).unwrap();
        let fourth = enter(&clients, 3, true, START);
        assert_eq!(fourth.unwrap_err(), Full::Total(3), "nobody waits");
        drop(first);
        assert!(enter(&clients, 1, false, START).is_ok());
        assert_eq!(clients.total(), 2);
        // What one IPv6 host has to itself is one client.
        let mine = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]);
        let _one = clients.enter(mine(1), false, (9, 1), START).unwrap();
        assert_eq!(
            clients.enter(mine(2), false, (9, 1), START).unwrap_err(),
            Full::Client(1)
        );
    }

    #[test]
    fn when_all_places_are_taken_the_stranger_goes_that_was_silent_longest() {
        let clients = Rc::new(Clients::default());
        let later = |secs| START.after(Duration::from_secs(secs));
        let places = [1, 2, 3].map(|n| enter(&clients, n, n == 1, START).unwrap());
        let mut waits = [pin!(places[0].lost(START)), pin!(places[1].lost(later(2)))];
        let mut third = pin!(places[2].lost(later(1)));
        for wait in &mut waits {
            assert!(block_on(poll_once(wait.as_mut())).is_none());
        }
        assert!(block_on(poll_once(third.as_mut())).is_none());

        // Nobody has been silent for long, but a stranger makes room for a friend.
        let soon = later(3);
        assert_eq!(enter(&clients, 4, false, soon).unwrap_err(), Full::Total(3));
        let friend = enter(&clients, 5, true, soon).unwrap();
        assert!(block_on(poll_once(third.as_mut())).is_some());
        for wait in &mut waits {
            assert!(block_on(poll_once(wait.as_mut())).is_none());
        }
        assert_eq!(clients.total(), 3);

        // In time for another stranger, too; friends never.
        let late = later(2).after(limits::IDLE_GOES);
        let stranger = enter(&clients, 4, false, late).unwrap();
        assert!(block_on(poll_once(waits[1].as_mut())).is_some());
        assert!(block_on(poll_once(waits[0].as_mut())).is_none());
        assert_eq!(
            enter(&clients, 6, false, late.after(limits::IDLE_GOES)).unwrap_err(),
            Full::Total(3)
        );
        drop((friend, stranger));
        assert_eq!(clients.total(), 1, "who has lost its place gives none back");
    }

    #[test]
    fn a_friend_that_was_silent_for_long_goes_for_a_friend() {
        let clients = Rc::new(Clients::default());
        let places = [1, 2, 3].map(|n| enter(&clients, n, true, START).unwrap());
        let mut wait = pin!(places[1].lost(START));
        assert!(block_on(poll_once(wait.as_mut())).is_none());
        assert!(enter(&clients, 4, true, START).is_err());
        let late = START.after(limits::IDLE_GOES);
        assert!(enter(&clients, 4, false, late).is_err());
        let _newcomer = enter(&clients, 4, true, late).unwrap();
        assert!(block_on(poll_once(wait.as_mut())).is_some());
    }
}
