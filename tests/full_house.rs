//! A listener in a process that has no file descriptor left. Alone in its program, because the limit is the process's.
#![cfg(test)]

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mailroot::net::clock;
use mailroot::net::listen::{Listener, Place};
use mailroot::net::ready;
use mailroot::net::within::within;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use smol::io::AsyncReadExt;
use smol::net::TcpStream;

/// Work done by this process so far.
fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap()
}

#[test]
fn a_full_house_turns_clients_away_without_spinning_and_recovers() {
    ready::block_on(async {
        let place = Place::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = Listener::bind(&place, false).unwrap();
        let addr = listener.local_addr().unwrap();
        // Clients first, while there are descriptors: connections wait in the backlog.
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(TcpStream::connect(addr).await.unwrap());
        }
        let (first, _) = listener.accept().await;
        // The next descriptor would have the lowest free number; the limit is on numbers.
        let free = File::open("/dev/null").unwrap().as_raw_fd();
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = |current| setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        limit(u64::try_from(free).ok());
        let (start, before) = (clock::tick(), cpu());
        let got = within(Duration::from_millis(900), listener.accept()).await;
        assert!(got.is_err(), "nobody fits in");
        let busy = cpu() - before;
        assert!(
            busy < Duration::from_millis(200),
            "{busy:?} of work in {:?} of waiting",
            clock::tick().since(start)
        );
        // Those that were turned away know it.
        for client in &mut clients[1..] {
            let read = within(Duration::from_secs(20), client.read(&mut [0; 1]))
                .await
                .unwrap();
            assert_eq!(read.unwrap_or(0), 0);
        }
        drop((first, clients));
        limit(maximum);
        let _client = TcpStream::connect(addr).await.unwrap();
        within(Duration::from_secs(20), listener.accept())
            .await
            .unwrap();
    })
    .unwrap();
}
