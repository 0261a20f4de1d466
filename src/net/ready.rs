//! What the service's thread waits for: its sockets, its time limits, and other threads that ring.
//!
//! async-io serves every kind of descriptor on any thread. That costs it some seven system calls for each wait, and
//! its own thread wakes beside ours. So the sockets that mail goes over, which wait a dozen times for each message,
//! are watched here, by the thread that reads them, and edge-triggered, so that nothing has to be armed again; and the
//! time limits of conversations are kept here, where setting one costs no call. Name lookups, the control socket,
//! folders and signals stay with async-io: its thread waits for them, and rings.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::event::epoll::EventData;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use smol::Timer;

use crate::base::Tick;
use crate::net::bell::Bell;
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
        poller.bell.on_look();
        let polled = future.as_mut().poll(&mut context);
        // A moment with nothing to do, or the end.
        log::logger().flush();
        if let Poll::Ready(output) = polled {
            return Ok(output);
        }
        poller.wait()?;
    }
}

/// This thread is inside [`block_on`] as long as this lives.
struct Inside(Option<Rc<Poller>>);

impl Inside {
    fn enter(poller: Rc<Poller>) -> Self {
        Self(HERE.replace(Some(poller)))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        HERE.replace(self.0.take());
    }
}

fn here() -> Option<Rc<Poller>> {
    HERE.with_borrow(Clone::clone)
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

/// The sockets by the keys that the kernel was given for them.
#[derive(Debug, Default)]
struct Sources {
    places: Vec<Option<Rc<Source>>>,
    free: Vec<usize>,
}

/// What is known of one socket.
#[derive(Debug, Default)]
struct Source {
    input: Side,
    output: Side,
    /// The peer has ended, or the connection is broken: reading finds out without waiting.
    ended: Cell<bool>,
    /// The kernel was asked to say when there is room to write.
    tells_room: Cell<bool>,
}

/// Whether a call in this direction is worth trying, and who waits until it is.
#[derive(Debug, Default)]
struct Side {
    ready: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Poller {
    fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = Bell::new()?;
        let ring = EventFlags::IN.union(EventFlags::ET);
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), ring)?;
        Ok(Self {
            epoll,
            bell: Arc::new(bell),
            sources: RefCell::default(),
            alarms: RefCell::default(),
        })
    }

    /// Waits for anything, or just looks when the bell has been rung already.
    fn wait(&self) -> io::Result<()> {
        let limit = if self.bell.may_sleep() {
            self.until_alarm()
        } else {
            Some(Duration::ZERO)
        };
        // No wait is longer than a day, so it can always be said.
        let limit = limit.and_then(|wait| Timespec::try_from(wait).ok());
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
        self.bell.on_awake();
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

    fn add(&self, socket: impl AsFd, source: Source) -> io::Result<(usize, Rc<Source>)> {
        let mut sources = self.sources.borrow_mut();
        let key = sources.free.pop().unwrap_or(sources.places.len());
        let flags = if source.tells_room.get() {
            BOTH
        } else {
            READING
        };
        let added = epoll::add(&self.epoll, socket, data(key), flags);
        let source = Rc::new(source);
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

fn data(key: usize) -> EventData {
    EventData::new_u64(u64::try_from(key).unwrap_or(BELL))
}

impl Source {
    fn on_event(&self, flags: EventFlags) {
        let broken = flags.intersects(EventFlags::HUP.union(EventFlags::ERR));
        if broken || flags.contains(EventFlags::RDHUP) {
            self.ended.set(true);
        }
        if self.ended.get() || flags.contains(EventFlags::IN) {
            self.input.on_ready();
        }
        if broken || flags.contains(EventFlags::OUT) {
            self.output.on_ready();
        }
    }
}

impl Side {
    fn on_ready(&self) {
        self.ready.set(true);
        let waiting = self.waiting.take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Tries `act` when it is worth trying, until it has done something or there is to be waited.
    fn poll<R>(
        &self,
        context: &Context<'_>,
        mut act: impl FnMut() -> Result<R, Errno>,
    ) -> Poll<Result<R, Errno>> {
        while self.ready.get() {
            match act() {
                Err(Errno::AGAIN) => self.ready.set(false),
                Err(Errno::INTR) => {}
                done => return Poll::Ready(done),
            }
        }
        let mut waiting = self.waiting.borrow_mut();
        match &mut *waiting {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// A socket that does not block, watched by the thread inside [`block_on`] that made this. One task may wait for each
/// direction.
#[derive(Debug)]
pub struct Watched<T: AsFd> {
    // First, so that it is closed first: that is what makes the kernel forget it. A copy of the descriptor in a child
    // that has not begun its program yet delays that; an event for it is then at worst one look too many at
    // whatever has its place.
    socket: T,
    watch: Watch,
}

#[derive(Debug)]
struct Watch {
    poller: Rc<Poller>,
    key: usize,
    source: Rc<Source>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.poller.forget(self.key);
    }
}

impl<T: AsFd> Watched<T> {
    /// Watches a socket that listens or is connected. Fails outside of [`block_on`], and without room in the kernel.
    pub fn new(socket: T) -> io::Result<Self> {
        let source = Source::default();
        source.output.ready.set(true);
        Self::of(socket, source)
    }

    /// Watches a socket that is about to be connected: it is writable when that has gone well or badly.
    pub fn connecting(socket: T) -> io::Result<Self> {
        let source = Source::default();
        source.tells_room.set(true);
        Self::of(socket, source)
    }

    fn of(socket: T, source: Source) -> io::Result<Self> {
        let poller = here().ok_or_else(|| io::Error::other("nobody watches sockets here"))?;
        let (key, source) = poller.add(&socket, source)?;
        let watch = Watch {
            poller,
            key,
            source,
        };
        Ok(Self { socket, watch })
    }

    /// The socket, to ask it for names.
    pub const fn get_ref(&self) -> &T {
        &self.socket
    }

    /// Does what reads or accepts, as soon as it does not say EAGAIN.
    pub fn poll_input<R>(
        &self,
        context: &Context<'_>,
        mut act: impl FnMut(&T) -> Result<R, Errno>,
    ) -> Poll<Result<R, Errno>> {
        let source = &self.watch.source;
        source.input.poll(context, || act(&self.socket))
    }

    /// The same, to be awaited.
    pub async fn input<R>(&self, mut act: impl FnMut(&T) -> Result<R, Errno>) -> Result<R, Errno> {
        poll_fn(|context| self.poll_input(context, &mut act)).await
    }

    /// What was there has been read whole: trying again is worth it after the next event only. Without this the next
    /// read finds out, by one call more.
    pub fn on_drained(&self) {
        let source = &self.watch.source;
        if !source.ended.get() {
            source.input.ready.set(false);
        }
    }

    /// Does what writes, as soon as it does not say EAGAIN.
    pub fn poll_output<R>(
        &self,
        context: &Context<'_>,
        mut act: impl FnMut(&T) -> Result<R, Errno>,
    ) -> Poll<Result<R, Errno>> {
        let source = &self.watch.source;
        source.output.poll(context, || {
            let done = act(&self.socket);
            if matches!(done, Err(Errno::AGAIN)) && !source.tells_room.replace(true) {
                // So rare that it is asked for only now. If there is room again already, that is an event, too.
                epoll::modify(
                    &self.watch.poller.epoll,
                    &self.socket,
                    data(self.watch.key),
                    BOTH,
                )?;
            }
            done
        })
    }

    /// Waits until the connection stands or has failed.
    pub async fn connected(&self) {
        // Nothing is done, so nothing fails.
        let _ = poll_fn(|context| self.poll_output(context, |_| Ok(()))).await;
    }
}

/// A moment that is waited for. Outside of [`block_on`] it is a timer of async-io.
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
        let Some(poller) = here() else {
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

#[cfg(test)]
mod tests {
    use super::{Alarm, EVENTS, EventFlags, Watched, block_on};
    use crate::net::clock;
    use rustix::net::RecvFlags;
    use smol::channel;
    use smol::future;
    use smol::io::AsyncReadExt;
    use smol::{LocalExecutor, Timer};
    use std::cell::RefCell;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::rc::Rc;
    use std::time::Duration;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    #[test]
    fn no_ring_of_another_thread_is_lost() {
        const ROUNDS: usize = 5_000;
        let (ask, asked) = channel::bounded(1);
        let (answer, answered) = channel::bounded(1);
        let other = std::thread::spawn(move || {
            // Each side sleeps, or is about to, whenever the other one rings.
            for round in 0..ROUNDS {
                ask.send_blocking(round).unwrap();
                assert_eq!(answered.recv_blocking().unwrap(), round);
            }
        });
        block_on(async {
            for _ in 0..ROUNDS {
                answer.send(asked.recv().await.unwrap()).await.unwrap();
            }
        })
        .unwrap();
        other.join().unwrap();
    }

    #[test]
    fn many_threads_ring_at_once() {
        const EACH: usize = 2_000;
        let (sender, receiver) = channel::unbounded();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let sender = sender.clone();
                std::thread::spawn(move || (0..EACH).for_each(|_| sender.try_send(()).unwrap()))
            })
            .collect();
        drop(sender);
        let mut count = 0;
        block_on(async {
            while receiver.recv().await.is_ok() {
                count += 1;
            }
        })
        .unwrap();
        assert_eq!(count, 4 * EACH);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn timers_of_async_io_wake_it_too() {
        block_on(async { Timer::after(Duration::from_millis(1)).await }).unwrap();
    }

    #[test]
    fn more_sockets_than_events_at_once_are_all_served() {
        let executor = LocalExecutor::new();
        let got = Rc::new(RefCell::new(Vec::new()));
        let reading = async {
            let (near, far): (Vec<_>, Vec<_>) = (0..4 * EVENTS).map(|_| pair()).unzip();
            let tasks: Vec<_> = near
                .into_iter()
                .map(|near| {
                    let (got, mut near) = (Rc::clone(&got), Watched::new(near).unwrap());
                    executor.spawn(async move {
                        let mut text = String::new();
                        near.read_to_string(&mut text).await.unwrap();
                        got.borrow_mut().push(text);
                    })
                })
                .collect();
            // All of them wait before the first byte comes, and the end comes apart from it.
            future::yield_now().await;
            let other = std::thread::spawn(move || {
                for (at, mut far) in far.into_iter().enumerate() {
                    far.write_all(format!("{at}").as_bytes()).unwrap();
                }
            });
            for task in tasks {
                task.await;
            }
            other.join().unwrap();
        };
        block_on(executor.run(reading)).unwrap();
        let mut got: Vec<usize> = got.borrow().iter().map(|t| t.parse().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, (0..4 * EVENTS).collect::<Vec<_>>());
    }

    #[test]
    fn an_event_for_nothing_is_one_look_too_many() {
        let (near, mut far) = pair();
        block_on(async {
            let mut near = Watched::new(near).unwrap();
            let mut room = [0; 8];
            let stale = EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT;
            for round in 0..3 {
                near.watch.source.on_event(stale);
                assert!(future::poll_once(near.read(&mut room)).await.is_none());
                let mut looks = 0;
                let look = near.input(|socket| {
                    looks += 1;
                    rustix::net::recv(socket, &mut [0_u8; 1], RecvFlags::empty())
                });
                assert!(future::poll_once(look).await.is_none());
                assert_eq!(looks, 0, "round {round}");
                far.write_all(b"x").unwrap();
                assert_eq!(near.read(&mut room).await.unwrap(), 1);
            }
            drop(far);
            assert_eq!(near.read(&mut room).await.unwrap(), 0);
        })
        .unwrap();
    }

    #[test]
    fn a_number_used_again_is_another_socket() {
        block_on(async {
            let mut numbers = Vec::new();
            for round in 0..50_u8 {
                let (near, mut far) = pair();
                numbers.push(near.as_raw_fd());
                let mut near = Watched::new(near).unwrap();
                assert_eq!(near.watch.key, 0);
                let mut room = [0; 8];
                assert!(future::poll_once(near.read(&mut room)).await.is_none());
                far.write_all(&[round]).unwrap();
                assert_eq!(near.read(&mut room).await.unwrap(), 1);
                assert_eq!(room[0], round);
                // Unread bytes, an end and a waiting task are left behind.
                assert!(future::poll_once(near.read(&mut room)).await.is_none());
                far.write_all(b"left").unwrap();
            }
            numbers.dedup();
            assert!(numbers.len() < 50, "the kernel gave numbers again");
        })
        .unwrap();
    }

    #[test]
    fn places_are_used_again_and_given_back() {
        let (near, _far) = pair();
        assert!(Watched::new(near).is_err(), "nobody is inside block_on");
        block_on(async {
            let ((one, _a), (two, _b), (three, _c)) = (pair(), pair(), pair());
            let first = Watched::new(one).unwrap();
            let second = Watched::new(two).unwrap();
            assert_eq!((first.watch.key, second.watch.key), (0, 1));
            drop(first);
            let third = Watched::new(three).unwrap();
            assert_eq!(third.watch.key, 0);
            let poller = Rc::clone(&third.watch.poller);
            drop((second, third));
            assert_eq!(poller.sources.borrow().places.capacity(), 0);
        })
        .unwrap();
    }

    #[test]
    fn alarms_ring_in_order_and_those_dropped_never() {
        let executor = LocalExecutor::new();
        let rung = Rc::new(RefCell::new(Vec::new()));
        let start = clock::tick();
        let waiting = async {
            let millis = [130, 110, 120, 110, 0, 140];
            let tasks: Vec<_> = millis
                .into_iter()
                .map(|millis| {
                    let at = start.after(Duration::from_millis(millis));
                    let rung = Rc::clone(&rung);
                    executor.spawn(async move {
                        let mut alarm = Alarm::at(at);
                        // A slow machine asks some of them when their time has come, and then in the order of their tasks.
                        let waited = future::poll_once(&mut alarm).await.is_none();
                        if waited {
                            alarm.await;
                            rung.borrow_mut().push(millis);
                        }
                        assert!(clock::tick() >= at);
                    })
                })
                .collect();
            let dropped = Alarm::at(start.after(Duration::from_millis(115)));
            assert!(future::poll_once(dropped).await.is_none());
            for task in tasks {
                task.await;
            }
        };
        block_on(executor.run(waiting)).unwrap();
        assert!(rung.borrow().is_sorted(), "{rung:?}");
    }

    #[test]
    fn an_alarm_elsewhere_rings_as_well() {
        smol::block_on(Alarm::after(Duration::from_millis(2)));
    }
}
