//! Tells when the network comes back, so that what waits goes at once and not at its next turn.
//!
//! The kernel says on a netlink socket that a link, an address or a route has changed. On a busy box it says so often
//! (wireless scans, router advertisements), so a message is only the occasion to look: what counts is whether the
//! box would now send from another address, or a cable has come back. To look, a datagram socket is connected to a
//! far address, which sends nothing.
//!
//! Make a [`Network`] only while something waits for it: without one nothing wakes the box (promise G7).

use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::RecvFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::netlink::SocketAddrNetlink;
use smol::Async;

use crate::base::limits;

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// Where to look: two root name servers, which every route to the Internet leads to.
const FAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)),
];

/// A watch over the network.
#[derive(Debug)]
pub struct Network {
    socket: Async<OwnedFd>,
    /// The addresses the box would send from, one a family.
    sources: [Option<IpAddr>; 2],
    links: Links,
}

impl Network {
    /// Begins to watch. Fails where a sandbox forbids it; then retries keep to their schedule.
    pub fn watch() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Self {
            socket: Async::new_nonblocking(fd)?,
            sources: sources(),
            links: Links::default(),
        })
    }

    /// Waits until there is a network that was not there before.
    pub async fn back(&mut self) -> io::Result<()> {
        loop {
            self.socket.readable().await?;
            let link_up = self.drain()?;
            let sources = sources();
            let is_new =
                |(now, before): (&Option<IpAddr>, &Option<IpAddr>)| now.is_some() && now != before;
            let source_new = sources.iter().zip(&self.sources).any(is_new);
            self.sources = sources;
            if link_up || source_new {
                return Ok(());
            }
        }
    }

    /// Reads all that is there; whether a link has come up among it.
    fn drain(&mut self) -> io::Result<bool> {
        let mut room = [0; limits::NETLINK_STEP];
        let mut up = false;
        loop {
            match rustix::net::recv(&self.socket, &mut room[..], RecvFlags::empty()) {
                Ok((_, 0)) => return Ok(up),
                Ok((_, length)) => up |= self.links.read(room.get(..length).unwrap_or(&[])),
                Err(Errno::AGAIN) => return Ok(up),
                // The kernel had more to say than fits: what was lost does not matter, only what is now.
                Err(Errno::INTR | Errno::NOBUFS) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// The addresses the box would send from.
fn sources() -> [Option<IpAddr>; 2] {
    FAR.map(|far| {
        let family = if far.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let fd =
            rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
        rustix::net::connect(&fd, &SocketAddr::new(far, 53)).ok()?;
        let name = rustix::net::getsockname(&fd).ok()?;
        SocketAddr::try_from(name).ok().map(|addr| addr.ip())
    })
}

/// The links that are known to be down, by number; at most [`limits::LINKS`] of them.
#[derive(Debug, Default)]
struct Links {
    down: heapless::Vec<[u8; 4], { limits::LINKS }>,
}

impl Links {
    /// Reads a datagram of netlink messages; whether a link that was down is up in one of them.
    fn read(&mut self, mut bytes: &[u8]) -> bool {
        const HEADER: usize = 16;
        const RTM_NEWLINK: u16 = 16;
        let mut up = false;
        while let Some((&[l0, l1, l2, l3, t0, t1, ..], _)) = bytes.split_first_chunk::<HEADER>() {
            let length =
                usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
            let Some(body) = bytes.get(HEADER..length) else {
                break;
            };
            if u16::from_ne_bytes([t0, t1]) == RTM_NEWLINK {
                up |= self.link(body);
            }
            // Messages are padded to four bytes.
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
        up
    }

    /// Reads the head of an `ifinfomsg`; whether the link has come up.
    fn link(&mut self, body: &[u8]) -> bool {
        const RUNNING: u32 = 0x40;
        let Some(&[_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3]) = body.first_chunk() else {
            return false;
        };
        let number = [i0, i1, i2, i3];
        let place = self.down.iter().position(|down| *down == number);
        let running = u32::from_ne_bytes([f0, f1, f2, f3]) & RUNNING != 0;
        match (running, place) {
            (true, Some(place)) => {
                self.down.swap_remove(place);
                true
            }
            (false, None) => {
                // A box with more dead links than that is told by its routes.
                let _ = self.down.push(number);
                false
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Links, Network};
    use crate::base::limits;

    fn message(kind: u16, number: u32, flags: u32) -> Vec<u8> {
        let mut bytes = 34_u32.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&number.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        // Two bytes of an attribute, two of padding.
        bytes.resize(36, 0);
        bytes
    }

    #[test]
    fn only_a_link_that_was_down_comes_up() {
        let mut links = Links::default();
        let (up, down) = (0x1043, 0x1003);
        for (what, bytes, want) in [
            ("never seen down", message(16, 2, up), false),
            ("goes down", message(16, 2, down), false),
            ("still down", message(16, 2, down), false),
            ("another one", message(16, 3, up), false),
            ("an address, not a link", message(20, 2, up), false),
            (
                "two in one",
                [message(16, 3, up), message(16, 2, up)].concat(),
                true,
            ),
            ("again", message(16, 2, up), false),
        ] {
            assert_eq!(links.read(&bytes), want, "{what}");
        }
    }

    #[test]
    fn whatever_comes_is_bounded() {
        let mut links = Links::default();
        for number in 0..1000 {
            links.read(&message(16, number, 0));
        }
        assert_eq!(links.down.len(), limits::LINKS);
        let good = message(16, 2, 0x40);
        for at in 0..good.len() {
            for byte in [0, 1, 15, 16, 255] {
                let mut bad = good.clone();
                bad[at] = byte;
                links.read(&bad);
                links.read(&bad[..at]);
            }
        }
    }

    #[test]
    fn a_watch_stands_still_when_nothing_happens() {
        smol::block_on(async {
            // Where the sandbox of a build forbids netlink there is nothing to watch.
            let Ok(mut network) = Network::watch() else {
                return;
            };
            assert!(!network.drain().unwrap());
        });
    }
}
