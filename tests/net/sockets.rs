//! Listeners and the dialler.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use mailroot::net::dial::{Dial, Fault};
use mailroot::net::listen::{Listener, Place};
use mailroot::net::ready::Watched;
use mailroot::net::stream::{Peer, Stream};
use smol::io::{AsyncReadExt, AsyncWriteExt};

use crate::run;

fn dial() -> Dial {
    Dial {
        timeout: Duration::from_secs(20),
        source: Vec::new(),
    }
}

fn loopback() -> Place {
    Place::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
}

#[test]
fn the_first_address_that_answers_is_taken_and_both_ends_know_the_other() {
    run(async |executor| {
        let listener = Listener::bind(&loopback(), false).unwrap();
        let good = listener.local_addr().unwrap();
        let dead = {
            let gone = Listener::bind(&loopback(), false).unwrap();
            gone.local_addr().unwrap()
        };
        let server = executor.spawn(async move { listener.accept().await });
        let (mut out, addr) = dial().connect(&[dead, good]).await.unwrap();
        assert_eq!(addr, good);
        assert_eq!(out.peer().unwrap(), Peer::Ip(good));
        let (mut into, peer) = server.await;
        assert_eq!(peer, Peer::Ip(out.local_addr().unwrap()));
        assert_eq!(peer.to_string(), "127.0.0.1");
        out.write_all(b"hello").await.unwrap();
        out.close().await.unwrap();
        let mut text = String::new();
        into.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
        for stream in [&out, &into] {
            assert!(!stream.is_tls() && stream.session().is_none());
        }
    });
}

#[test]
fn failures_are_sentences() {
    run(async |_| {
        let dead = {
            let gone = Listener::bind(&loopback(), false).unwrap();
            gone.local_addr().unwrap()
        };
        let error = dial().connect(&[dead]).await.unwrap_err();
        assert_eq!(error.tried, [(dead, Fault::Refused)]);
        assert_eq!(
            error.to_string(),
            format!("cannot connect to {dead}: connection refused; nothing listens there")
        );
        assert_eq!(
            dial().connect(&[]).await.unwrap_err().to_string(),
            "there is no address to connect to"
        );
        let foreign = Dial {
            source: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))],
            ..dial()
        };
        assert_eq!(
            foreign.connect(&[dead]).await.unwrap_err().tried,
            [(dead, Fault::Source)]
        );
        let taken = Listener::bind(&loopback(), false).unwrap();
        let addr = taken.local_addr().unwrap();
        let error = Listener::bind(&Place::Tcp(addr), false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&addr.to_string()) && error.contains("another program"),
            "{error}"
        );
        let folder = Place::Unix(PathBuf::from("/nonexistent/socket"), 0o600);
        let error = Listener::bind(&folder, false).unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot listen on /nonexistent/socket: the folder does not exist"
        );
    });
}

#[test]
fn a_source_address_is_used() {
    run(async |executor| {
        let listener = Listener::bind(&loopback(), false).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = executor.spawn(async move { listener.accept().await.1 });
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let dial = Dial {
            source: vec![from],
            ..dial()
        };
        let _stream = dial.connect(&[addr]).await.unwrap();
        assert_eq!(server.await.to_string(), "127.0.0.2");
    });
}

#[test]
fn both_wildcards_fit_on_one_port_and_a_lone_ipv6_one_takes_ipv4_too() {
    run(async |executor| {
        let Ok(first) = Listener::bind(&Place::Tcp("[::]:0".parse().unwrap()), true) else {
            return; // a box without IPv6 has nothing to show here
        };
        let port = first.local_addr().unwrap().port();
        let server = executor.spawn(async move { first.accept().await.1 });
        let _out = dial()
            .connect(&[SocketAddr::from(([127, 0, 0, 1], port))])
            .await
            .unwrap();
        assert_eq!(
            server.await.to_string(),
            "127.0.0.1",
            "IPv4 is written as IPv4"
        );
        let v4 = Listener::bind(&Place::Tcp("0.0.0.0:0".parse().unwrap()), false).unwrap();
        let port = v4.local_addr().unwrap().port();
        drop(v4);
        let places =
            ["0.0.0.0", "[::]"].map(|ip| Place::Tcp(format!("{ip}:{port}").parse().unwrap()));
        assert_eq!(Listener::bind_all(&places).unwrap().len(), 2);
    });
}

#[test]
fn a_unix_socket_that_a_dead_service_left_is_taken_over_and_a_live_one_is_not() {
    run(async |executor| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let place = Place::Unix(path.clone(), 0o600);
        drop(Listener::bind(&place, false).unwrap());
        assert!(path.exists(), "it was left behind");
        let listener = Rc::new(Listener::bind(&place, false).unwrap());
        let mode = rustix::fs::stat(&path).unwrap().st_mode & 0o777;
        assert_eq!(mode, 0o600);
        assert!(
            Listener::bind(&place, false)
                .unwrap_err()
                .to_string()
                .contains("already")
        );
        let server = {
            let listener = Rc::clone(&listener);
            // The refused one has knocked to see whether somebody is there.
            executor.spawn(async move {
                let _knock = listener.accept().await;
                listener.accept().await
            })
        };
        let out = UnixStream::connect(&path).unwrap();
        out.set_nonblocking(true).unwrap();
        let mut out = Stream::unix(Watched::new(out).unwrap());
        let (mut into, peer) = server.await;
        assert_eq!(peer, Peer::Local);
        assert_eq!(into.user().unwrap().uid, rustix::process::getuid().as_raw());
        out.write_all(b"x").await.unwrap();
        let mut room = [0; 1];
        into.read_exact(&mut room).await.unwrap();
        std::fs::write(folder.path().join("file"), "mine").unwrap();
        let file = Place::Unix(folder.path().join("file"), 0o600);
        assert!(
            Listener::bind(&file, false).is_err(),
            "a file is never removed"
        );
    });
}
