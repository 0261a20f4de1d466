//! Brings lines from their outbox to where they go: files by the file worker, syslog and the journal over sockets.
//!
//! Each is a task that sleeps until there is something. Files that cannot be written lose what was for them, and are
//! tried again with the next line; a receiver of syslog that does not answer is tried again after growing waits, and
//! meanwhile the outbox fills.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SendFlags;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use smol::future;
use smol::io::AsyncReadExt;
use smol::io::AsyncWriteExt;

use crate::config::endpoint::Host;
use crate::config::receiver::Receiver;
use crate::config::receiver::SYSLOG_PORT;
use crate::disk::logfile::LogFiles;
use crate::disk::worker::Worker;
use crate::net::Resolver;
use crate::net::Stream;
use crate::net::TrustedClock;
use crate::net::dial::Dial;
use crate::net::ready::Alarm;
use crate::net::ready::Watched;
use crate::net::resolver::Settings;
use crate::net::within::within;
use crate::service::log;
use crate::service::log::Job;
use crate::service::logs::outbox::Batch;
use crate::service::logs::outbox::Outbox;
use crate::service::logs::stderr;
use crate::service::signal::Wake;
use crate::service::tasks::Tasks;

/// The first and the last wait after a receiver did not answer.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long a receiver may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the end of the service waits for the last lines.
const GRACE: Duration = Duration::from_secs(2);
/// Where the journal of systemd listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Does what the log of this thread needs done, in tasks of its executor. To be called when the executor is there, and
/// after each [`log::start`].
pub fn start(tasks: &Tasks, worker: &Worker, clock: &Arc<TrustedClock>, names: &Settings) {
    for job in log::take_jobs() {
        match job {
            Job::Stuck(ring) => tasks.spawn(unstick(ring)).detach(),
            // Refused where the configuration was read.
            _ if !cfg!(feature = "logs") => {}
            Job::Files(outbox, files) => {
                let (worker, clock) = (worker.clone(), Arc::clone(clock));
                tasks.spawn(write(outbox, files, worker, clock)).detach();
            }
            Job::Syslog(outbox, receiver) => {
                let resolver = Resolver::new(names.clone());
                tasks.spawn(syslog(outbox, receiver, resolver)).detach();
            }
            Job::Journald(outbox) => {
                tasks
                    .spawn(async move { datagrams(&outbox, || unix(Path::new(JOURNAL))).await })
                    .detach();
            }
        }
    }
}

/// Brings the last lines away, or gives up soon.
pub async fn finish() {
    let emptied = async {
        for outbox in log::close() {
            outbox.emptied().await;
        }
    };
    // Who is too slow now has had his time.
    let _ = within(GRACE, emptied).await;
    log::to_stderr();
}

/// Waits that grow as long as nothing goes well.
struct Waits(Duration);

impl Waits {
    const fn new() -> Self {
        Self(WAITS.0)
    }

    async fn wait(&mut self) {
        Alarm::after(self.0).await;
        self.0 = self.0.saturating_mul(2).min(WAITS.1);
    }
}

/// Writes on when standard error has room again.
async fn unstick(ring: Rc<Wake>) {
    let mut waits = Waits::new();
    loop {
        ring.heard().await;
        if !log::is_stuck() {
            waits = Waits::new();
            continue;
        }
        waits.wait().await;
        ::log::logger().flush();
    }
}

async fn write(outbox: Rc<Outbox>, files: LogFiles, worker: Worker, clock: Arc<TrustedClock>) {
    let mut files = files;
    while let Some(batch) = outbox.batch().await {
        let now = clock.believed();
        let written;
        (files, written) = worker
            .run(move || {
                let written = files.write(&batch.bytes, now);
                (files, written)
            })
            .await;
        match written {
            Ok(()) => outbox.went_well(),
            Err((lines, error)) => {
                if outbox.failed(lines) {
                    stderr::say(&format!("the log cannot be written: {error}"));
                }
            }
        }
    }
}

async fn syslog(outbox: Rc<Outbox>, receiver: Receiver, resolver: Resolver) {
    match receiver {
        Receiver::Unix(path) => datagrams(&outbox, || unix(&path)).await,
        Receiver::Udp(host) => udp(&outbox, &host, &resolver).await,
        Receiver::Tcp(host) => tcp(&outbox, &host, &resolver).await,
    }
}

/// A datagram socket that is connected to a path.
fn unix(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Sends each line as a datagram, over a socket that `open` gives.
async fn datagrams(outbox: &Outbox, open: impl Fn() -> Result<OwnedFd, Errno>) {
    let mut socket: Option<Watched<OwnedFd>> = None;
    while let Some(batch) = outbox.batch().await {
        let (mut at, mut waits) = (0, Waits::new());
        while at < batch.count() {
            let old = socket.take();
            let was_old = old.is_some();
            let ready = old.map_or_else(|| open().and_then(watched), Ok);
            let sent = match ready {
                Ok(ready) => send(&ready, &batch, &mut at).await.map(|()| ready),
                Err(errno) => Err(errno),
            };
            match sent {
                Ok(good) => socket = Some(good),
                // It was started anew since, perhaps; that is found out at once.
                Err(_) if was_old => {}
                Err(_) if outbox.is_closed() => break,
                Err(errno) => {
                    if outbox.failed(0) {
                        stderr::say(&format!("the log has no receiver: {errno}"));
                    }
                    waits.wait().await;
                }
            }
        }
        outbox.went_well();
    }
}

fn watched(socket: OwnedFd) -> Result<Watched<OwnedFd>, Errno> {
    Watched::new(socket).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Sends what is left of a batch; `at` says how far it came.
async fn send(socket: &Watched<OwnedFd>, batch: &Batch, at: &mut usize) -> Result<(), Errno> {
    while let Some(line) = batch.line(*at) {
        let sending = std::future::poll_fn(|context| {
            socket.poll_output(context, |socket| {
                rustix::net::send(socket, line, SendFlags::NOSIGNAL)
            })
        });
        match within(PATIENCE, sending).await {
            // Too long for a datagram is too long tomorrow.
            Ok(Ok(_) | Err(Errno::MSGSIZE)) => *at = at.saturating_add(1),
            Ok(Err(Errno::INTR)) => {}
            Ok(Err(errno)) => return Err(errno),
            Err(_) => return Err(Errno::TIMEDOUT),
        }
    }
    Ok(())
}

async fn udp(outbox: &Outbox, host: &Host, resolver: &Resolver) {
    // The address is looked up when there is something to send, and kept while that works.
    let address: RefCell<Option<SocketAddr>> = RefCell::default();
    let mut waits = Waits::new();
    while let Some(batch) = outbox.batch().await {
        let mut at = 0;
        while at < batch.count() && !outbox.is_closed() {
            let known = *address.borrow();
            let sent = match known {
                Some(to) => datagram_socket(to).and_then(watched),
                None => {
                    let found = resolver.addresses(&host.name).await.ok();
                    let ip = found.and_then(|list| list.first().copied());
                    let port = host.port.unwrap_or(SYSLOG_PORT);
                    *address.borrow_mut() = ip.map(|ip| SocketAddr::new(ip, port));
                    match ip {
                        Some(_) => continue,
                        None => Err(Errno::HOSTUNREACH),
                    }
                }
            };
            let sent = match sent {
                Ok(socket) => match send(&socket, &batch, &mut at).await {
                    // Nobody listened when an earlier one came; whether somebody does now nobody can say.
                    Err(Errno::CONNREFUSED) => continue,
                    sent => sent,
                },
                Err(errno) => Err(errno),
            };
            if let Err(errno) = sent {
                address.replace(None);
                if outbox.failed(0) {
                    stderr::say(&format!("the log cannot be sent to {host}: {errno}"));
                }
                waits.wait().await;
            }
        }
        waits = Waits::new();
        outbox.went_well();
    }
}

fn datagram_socket(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &to)?;
    Ok(socket)
}

/// Over TCP, each message with its length in front (RFC 6587 s3.4.1).
async fn tcp(outbox: &Outbox, host: &Host, resolver: &Resolver) {
    let mut connection: Option<Stream> = None;
    let mut frames = Vec::new();
    while let Some(batch) = outbox.batch().await {
        frames.clear();
        for line in (0..batch.count()).filter_map(|at| batch.line(at)) {
            frames.extend_from_slice(format!("{} ", line.len()).as_bytes());
            frames.extend_from_slice(line);
        }
        let mut waits = Waits::new();
        loop {
            if let Some(stream) = connection.take()
                && let Some(good) = pass_on(stream, &frames).await
            {
                connection = Some(good);
                outbox.went_well();
                break;
            }
            match dial(host, resolver).await {
                Ok(stream) => connection = Some(stream),
                Err(_) if outbox.is_closed() => break,
                Err(why) => {
                    if outbox.failed(0) {
                        stderr::say(&format!("the log cannot be sent to {host}: {why}"));
                    }
                    waits.wait().await;
                }
            }
        }
    }
    if let Some(stream) = connection {
        let _ = within(GRACE, stream.end()).await;
    }
}

async fn dial(host: &Host, resolver: &Resolver) -> Result<Stream, String> {
    let found = resolver.addresses(&host.name).await;
    let found = found.map_err(|error| error.to_string())?;
    let port = host.port.unwrap_or(SYSLOG_PORT);
    let all: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
    let dial = Dial {
        timeout: PATIENCE,
        source: Vec::new(),
    };
    let connected = dial.connect(&all).await;
    connected
        .map(|(stream, _)| stream)
        .map_err(|error| error.to_string())
}

/// Writes all of it; the stream, when it is good for more.
async fn pass_on(mut stream: Stream, frames: &[u8]) -> Option<Stream> {
    let mut byte = [0; 64];
    // It has nothing to say; if it has ended since, what is written now would be lost without a word.
    if future::poll_once(stream.read(&mut byte)).await.is_some() {
        return None;
    }
    let writing = async {
        stream.write_all(frames).await?;
        stream.flush().await
    };
    let written: Result<io::Result<()>, _> = within(PATIENCE, writing).await;
    matches!(written, Ok(Ok(()))).then_some(stream)
}
