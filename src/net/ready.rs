//! What the service's thread waits for: its sockets, and other threads that ring.
//!
//! async-io serves every kind of descriptor on any thread. That costs it some seven system calls for each wait, and
//! its own thread wakes beside ours. So the TCP sockets, which wait a dozen times for each message, are watched here,
//! by the thread that reads them, and edge-triggered, so that nothing has to be armed again; and the time limits of
//! conversations are kept here, where setting one costs no call. Name lookups, connecting, folders and signals stay
//! with async-io: its thread waits for them, and rings.
//!
//! On a thread that is not inside [`block_on`] nothing is watched, and everything falls back on async-io.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::io::IoSlice;
use std::net::Shutdown;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Wake;
use std::task::Waker;
use std::time::Duration;

use rustix::event::EventfdFlags;
use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::event::epoll::EventData;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use smol::Timer;
use smol::io::AsyncRead;
use smol::io::AsyncWrite;

use crate::base::Tick;
use crate::net::clock;

/// Events taken at once; what is left comes with the next wait.
const EVENTS: usize = 32;

/// The key of the bell among the keys of sockets, which are places in a list.
const BELL: u64 = u64::MAX;

const READING: EventFlags = EventFlags::IN
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);
const BOTH: EventFlags = READING.union(EventFlags::OUT);

/// No single sleep is longer; the kernel counts milliseconds in 31 bits.
const LONGEST: Duration = Duration::from_secs(86_400);

thread_local! {
    static HERE: RefCell<Option<Rc<Poller>>> = const { RefCell::new(None) };
}

/// Runs a future on this thread to its end. What it waits for wakes it from here or from other threads.
pub fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    let poller = Rc::new(Poller::new()?);
    let _inside = Inside::enter(Rc::clone(&poller));
    let waker = Waker::from(Arc::clone(&poller.bell));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        // From here on a ring means that there is something new.
        poller.bell.state.swap(AWAKE, Ordering::SeqCst);
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        poller.wait()?;
    }
}

/// This thread is inside [`block_on`] as long as this lives.
struct Inside(Option<Rc<Poller>>);

impl Inside {
    fn enter(poller: Rc<Poller>) -> Self {
        Self(HERE.with(|here| here.replace(Some(poller))))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let before = self.0.take();
        HERE.with(|here| here.replace(before));
    }
}

const AWAKE: u8 = 0;
const RUNG: u8 = 1;
const ASLEEP: u8 = 2;

/// How other threads wake this one. It is written to only when this one sleeps.
#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    file: OwnedFd,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::SeqCst) == ASLEEP {
            // Fails only when it has been rung 2^64 times; and then it rings.
            let _ = rustix::io::write(&self.file, &1_u64.to_ne_bytes());
        }
    }
}

#[derive(Debug)]
struct Poller {
    epoll: OwnedFd,
    bell: Arc<Bell>,
    sources: RefCell<Sources>,
    alarms: RefCell<Alarms>,
}

/// Whom to wake when, and the next number: what is due at the same moment is told apart by it.
#[derive(Debug, Default)]
struct Alarms {
    set: BTreeMap<(Tick, u32), Waker>,
    next: u32,
}

#[derive(Debug, Default)]
struct Sources {
    places: Vec<Option<Rc<Source>>>,
    free: Vec<usize>,
}

/// What is known of one socket.
#[derive(Debug, Default)]
struct Source {
    readable: Cell<bool>,
    /// The peer has ended, or the connection is broken: reading finds out without waiting.
    ended: Cell<bool>,
    writable: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

impl Poller {
    fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = EventfdFlags::CLOEXEC.union(EventfdFlags::NONBLOCK);
        let file = rustix::event::eventfd(0, flags)?;
        // Edge-triggered it rings once for every write, and need not be read.
        epoll::add(
            &epoll,
            &file,
            EventData::new_u64(BELL),
            EventFlags::IN.union(EventFlags::ET),
        )?;
        Ok(Self {
            epoll,
            bell: Arc::new(Bell {
                state: AtomicU8::new(RUNG),
                file,
            }),
            sources: RefCell::default(),
            alarms: RefCell::default(),
        })
    }

    /// Waits for anything, or just looks when the bell has been rung already.
    fn wait(&self) -> io::Result<()> {
        let state = &self.bell.state;
        let sleep = state.compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst);
        let limit = if sleep.is_ok() {
            self.until_alarm()
        } else {
            Some(Duration::ZERO)
        };
        let limit = limit.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(0),
            tv_nsec: wait.subsec_nanos().into(),
        });
        let none = epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(BELL),
        };
        let mut events = [none; EVENTS];
        let count = match epoll::wait(&self.epoll, &mut events, limit.as_ref()) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        // Whatever comes of the events, the future is polled next; nobody has to ring for that.
        state.swap(RUNG, Ordering::SeqCst);
        for event in events.iter().take(count) {
            let (flags, key) = (event.flags, event.data.u64());
            let source = usize::try_from(key)
                .ok()
                .and_then(|key| self.sources.borrow().places.get(key).cloned().flatten());
            if let Some(source) = source {
                source.on_event(flags);
            }
        }
        self.ring_alarms();
        Ok(())
    }

    /// How long until the first alarm; none when there is none.
    fn until_alarm(&self) -> Option<Duration> {
        let alarms = self.alarms.borrow();
        let ((first, _), _) = alarms.set.first_key_value()?;
        Some(first.since(clock::tick()).min(LONGEST))
    }

    /// Wakes those whose moment has come.
    fn ring_alarms(&self) {
        if self.alarms.borrow().set.is_empty() {
            return;
        }
        let now = clock::tick();
        loop {
            let mut alarms = self.alarms.borrow_mut();
            let Some(first) = alarms.set.first_entry().filter(|e| e.key().0 <= now) else {
                return;
            };
            let waker = first.remove();
            drop(alarms);
            waker.wake();
        }
    }

    fn add(&self, socket: impl AsFd) -> io::Result<(usize, Rc<Source>)> {
        let mut sources = self.sources.borrow_mut();
        let key = sources.free.pop().unwrap_or(sources.places.len());
        let data = EventData::new_u64(u64::try_from(key).unwrap_or(BELL));
        let source = Rc::new(Source::default());
        source.writable.set(true);
        let added = epoll::add(&self.epoll, socket, data, READING);
        match sources.places.get_mut(key) {
            Some(place) => *place = Some(Rc::clone(&source)),
            None => sources.places.push(Some(Rc::clone(&source))),
        }
        drop(sources);
        match added {
            Ok(()) => Ok((key, source)),
            Err(errno) => {
                self.forget(key);
                Err(errno.into())
            }
        }
    }

    fn forget(&self, key: usize) {
        let mut sources = self.sources.borrow_mut();
        if let Some(place) = sources.places.get_mut(key) {
            *place = None;
            sources.free.push(key);
        }
        if sources.free.len() == sources.places.len() {
            // What a burst of connections needed is given back.
            *sources = Sources::default();
        }
    }
}

impl Source {
    fn on_event(&self, flags: EventFlags) {
        let broken = flags.intersects(EventFlags::HUP.union(EventFlags::ERR));
        if broken || flags.contains(EventFlags::RDHUP) {
            self.ended.set(true);
        }
        if self.ended.get() || flags.contains(EventFlags::IN) {
            self.readable.set(true);
            if let Some(waker) = self.reader.take() {
                waker.wake();
            }
        }
        if broken || flags.contains(EventFlags::OUT) {
            self.writable.set(true);
            if let Some(waker) = self.writer.take() {
                waker.wake();
            }
        }
    }
}

/// A moment that is waited for.
#[derive(Debug)]
pub struct Alarm(Kind);

#[derive(Debug)]
enum Kind {
    Here {
        poller: Rc<Poller>,
        at: Tick,
        number: u32,
    },
    Elsewhere(Timer),
}

impl Alarm {
    /// Rings at `at`, or at once when that is past.
    pub fn at(at: Tick) -> Self {
        let Some(poller) = HERE.with(|here| here.borrow().clone()) else {
            return Self(Kind::Elsewhere(Timer::after(at.since(clock::tick()))));
        };
        let mut alarms = poller.alarms.borrow_mut();
        let number = alarms.next;
        alarms.next = number.wrapping_add(1);
        drop(alarms);
        Self(Kind::Here { poller, at, number })
    }

    /// Rings after `wait`.
    pub fn after(wait: Duration) -> Self {
        Self::at(clock::tick().after(wait))
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.get_mut().0 {
            Kind::Here { at, .. } if *at <= clock::tick() => Poll::Ready(()),
            Kind::Here { poller, at, number } => {
                let waker = context.waker().clone();
                poller.alarms.borrow_mut().set.insert((*at, *number), waker);
                Poll::Pending
            }
            Kind::Elsewhere(timer) => Pin::new(timer).poll(context).map(|_| ()),
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Kind::Here { poller, at, number } = &self.0 {
            poller.alarms.borrow_mut().set.remove(&(*at, *number));
        }
    }
}

/// A socket that does not block, watched by the thread that made this. The kernel ends the watch when the socket is
/// closed; an event that was on its way then is at worst one look too many at whatever has its place.
#[derive(Debug)]
pub struct Watch {
    poller: Rc<Poller>,
    key: usize,
    source: Rc<Source>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.poller.forget(self.key);
    }
}

impl Watch {
    /// Watches a socket; `None` when the thread is not inside [`block_on`].
    pub fn new(socket: impl AsFd) -> Option<Self> {
        let poller = HERE.with(|here| here.borrow().clone())?;
        let (key, source) = poller.add(socket).ok()?;
        Some(Self {
            poller,
            key,
            source,
        })
    }

    /// Waits for news on a socket that just had nothing to read or to accept.
    pub async fn news(&self) {
        self.source.readable.set(false);
        poll_fn(|context| self.poll_readable(context)).await;
    }

    fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        if self.source.readable.get() {
            return Poll::Ready(());
        }
        self.source.reader.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}

/// A TCP connection that is watched.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    watch: Watch,
}

impl Connection {
    /// Watches a connection that does not block, or gives it back when the thread is not inside [`block_on`].
    pub fn new(socket: TcpStream) -> Result<Self, TcpStream> {
        match Watch::new(&socket) {
            Some(watch) => Ok(Self { socket, watch }),
            None => Err(socket),
        }
    }

    /// The socket, to ask it for names.
    pub const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn poll_sent(
        &self,
        context: &Context<'_>,
        send: impl Fn(&TcpStream) -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        let source = &self.watch.source;
        while source.writable.get() {
            match send(&self.socket) {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // Rare enough to be asked for only now; said at once when there is room again already.
                    source.writable.set(false);
                    let data = EventData::new_u64(u64::try_from(self.watch.key).unwrap_or(BELL));
                    epoll::modify(&self.watch.poller.epoll, &self.socket, data, BOTH)?;
                }
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
        source.writer.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let source = &self.watch.source;
        loop {
            if self.watch.poll_readable(context).is_pending() {
                return Poll::Pending;
            }
            match rustix::net::recv(&self.socket, &mut *room, RecvFlags::empty()) {
                Ok((count, _)) => {
                    if count < room.len() && !source.ended.get() {
                        // That was all; more of it, or the end, is an event of its own.
                        source.readable.set(false);
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => source.readable.set(false),
                Err(Errno::INTR) => {}
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_sent(context, |socket| {
            rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // SIGPIPE is ignored anyway.
        self.poll_sent(context, |socket| rustix::io::writev(socket, parts))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::{Alarm, Connection, Watch, block_on};
    use crate::net::clock;
    use smol::io::{AsyncReadExt, AsyncWriteExt};
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::Duration;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    #[test]
    fn what_comes_before_between_and_after_is_read_and_so_is_the_end() {
        let (near, mut far) = pair();
        block_on(async {
            far.write_all(b"one").unwrap();
            let mut connection = Connection::new(near).unwrap();
            let mut room = [0; 8];
            assert_eq!(connection.read(&mut room).await.unwrap(), 3);
            let other = std::thread::spawn(move || {
                far.write_all(b"twotwotwotwo").unwrap();
                far
            });
            let mut got = 0;
            while got < 12 {
                got += connection.read(&mut room).await.unwrap();
            }
            let mut far = other.join().unwrap();
            far.write_all(b"end").unwrap();
            far.shutdown(Shutdown::Both).unwrap();
            assert_eq!(connection.read(&mut room).await.unwrap(), 3);
            assert_eq!(connection.read(&mut room).await.unwrap(), 0);
            assert_eq!(connection.read(&mut room).await.unwrap(), 0);
        })
        .unwrap();
    }

    #[test]
    fn writing_waits_for_room() {
        const BYTES: usize = 8 << 20;
        let (near, mut far) = pair();
        block_on(async {
            let mut connection = Connection::new(near).unwrap();
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                far.read_to_end(&mut all).unwrap();
                all.len()
            });
            let (block, mut sent) = (vec![7; 1 << 20], 0);
            while sent < BYTES {
                let part = &block[..block.len().min(BYTES - sent)];
                sent += connection.write(part).await.unwrap();
            }
            drop(connection);
            assert_eq!(reader.join().unwrap(), BYTES);
        })
        .unwrap();
    }

    #[test]
    fn timers_and_other_threads_wake_it() {
        block_on(async {
            smol::Timer::after(Duration::from_millis(1)).await;
            let (sender, receiver) = smol::channel::bounded(1);
            let thread = std::thread::spawn(move || sender.send_blocking(5).unwrap());
            assert_eq!(receiver.recv().await.unwrap(), 5);
            thread.join().unwrap();
        })
        .unwrap();
    }

    #[test]
    fn alarms_ring_in_order_and_those_dropped_never() {
        block_on(async {
            let start = clock::tick();
            let after = |millis| Alarm::after(Duration::from_millis(millis));
            let late = async {
                after(40).await;
                2
            };
            let early = async {
                after(20).await;
                1
            };
            assert_eq!(smol::future::or(late, early).await, 1);
            after(30).await;
            assert!(clock::tick().since(start) >= Duration::from_millis(50));
            after(0).await;
        })
        .unwrap();
        smol::block_on(Alarm::after(Duration::from_millis(2)));
    }

    #[test]
    fn outside_nothing_is_watched_and_places_are_used_again() {
        let (near, _far) = pair();
        assert!(Watch::new(&near).is_none());
        let near = Connection::new(near).unwrap_err();
        block_on(async {
            let first = Watch::new(&near).unwrap();
            let (other, _far) = pair();
            let second = Watch::new(&other).unwrap();
            assert_eq!((first.key, second.key), (0, 1));
            drop(first);
            let (third, _far) = pair();
            assert_eq!(Watch::new(&third).unwrap().key, 0);
        })
        .unwrap();
    }
}
