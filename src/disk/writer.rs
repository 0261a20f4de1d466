//! The one thread that owns the journal.
//!
//! It takes all orders that wait, so under load one sync serves many. When several came at the same time it gives
//! those a moment to be back with their next message; a client that is alone never waits for company, and its message
//! costs exactly one sync. Idle, the thread gives back memory and sleeps without a timer (promise G7).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::base::MsgId;
use crate::base::limits;
use crate::disk::body::lock;
use crate::disk::fault::Refused;
use crate::disk::journal::Core;
use crate::disk::lock::HomeLock;
use crate::disk::medium::Disk;
use crate::disk::oneshot;
use crate::disk::order::Order;
use crate::disk::rest;
use crate::queue::index::Index;

/// What the thread and the handles share.
#[derive(Debug)]
pub(super) struct Shared {
    pub queue: Mutex<Queue>,
    pub wake: Condvar,
    pub index: Arc<Mutex<Index>>,
    pub status: Mutex<Status>,
}

/// What the handles may ask at any time.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub broken: Option<String>,
    /// What [`Core::room`] said.
    pub room: Option<u64>,
    pub lost: Vec<MsgId>,
}

/// What waits for the thread.
#[derive(Debug)]
pub(super) struct Queue {
    pub orders: Vec<Order>,
    /// For those orders that are answered, in order.
    pub answers: Vec<oneshot::Sender<Result<(), Refused>>>,
    /// Messages with orders that are not in the index yet, and how many.
    pub unseen: BTreeMap<MsgId, usize>,
    pub next_id: MsgId,
    /// The thread waits to be notified.
    pub asleep: bool,
    /// It waits only until this many are to be answered.
    pub company: usize,
    /// It waits because nothing that it was told is pressing.
    pub patient: bool,
    /// It is to end when nothing waits any more.
    pub over: bool,
    /// It has ended.
    pub gone: bool,
    /// Those who wait for its end.
    pub closed: Vec<oneshot::Sender<()>>,
}

impl Shared {
    pub(super) fn new(next_id: MsgId, index: Arc<Mutex<Index>>) -> Self {
        Self {
            queue: Mutex::new(Queue {
                orders: Vec::new(),
                answers: Vec::new(),
                unseen: BTreeMap::new(),
                next_id,
                asleep: false,
                company: 0,
                patient: false,
                over: false,
                gone: false,
                closed: Vec::new(),
            }),
            wake: Condvar::new(),
            index,
            status: Mutex::new(Status::default()),
        }
    }
}

/// The thread. Gives the home free at its end.
pub(super) fn run(core: Core<Disk>, home: HomeLock, shared: &Shared) {
    write(core, shared);
    drop(home);
    let closed = {
        let mut queue = lock(&shared.queue);
        queue.gone = true;
        std::mem::take(&mut queue.closed)
    };
    for waiting in closed {
        // Nobody waiting is no fault.
        let _ = waiting.send(());
    }
}

fn write(mut core: Core<Disk>, shared: &Shared) {
    let (mut orders, mut answers) = (Vec::new(), Vec::new());
    let mut seen: Vec<MsgId> = Vec::new();
    let mut wait = limits::PROGRESS_SYNC;
    let (mut more, mut rested) = (false, false);
    let mut together = 0;
    loop {
        let unsettled = core.is_unsettled();
        let over = {
            let mut queue = lock(&shared.queue);
            while queue.orders.is_empty() && !queue.over && !more {
                queue.asleep = true;
                if !unsettled && rested {
                    queue = shared
                        .wake
                        .wait(queue)
                        .unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                let woken = shared.wake.wait_timeout(queue, wait);
                let timeout;
                (queue, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
                if timeout.timed_out() {
                    break;
                }
            }
            queue.asleep = false;
            queue = match core.batch() {
                Some(wait) if !queue.answers.is_empty() && !queue.over => {
                    drop(queue);
                    std::thread::sleep(wait);
                    lock(&shared.queue)
                }
                _ => gather(queue, shared, together),
            };
            std::mem::swap(&mut orders, &mut queue.orders);
            std::mem::swap(&mut answers, &mut queue.answers);
            queue.over
        };
        if !orders.is_empty() {
            seen.extend(orders.iter().filter_map(Order::about));
            let results = core.commit(&mut orders);
            together = answers
                .len()
                .saturating_add(lock(&shared.queue).answers.len());
            publish(&mut core, shared, &mut seen);
            for (answer, result) in answers.drain(..).zip(results) {
                // Who went away without waiting gets no answer.
                let _ = answer.send(result);
            }
            wait = limits::PROGRESS_SYNC;
            rested = false;
        } else if over {
            core.close();
            return;
        } else if !more {
            core.settle();
            publish(&mut core, shared, &mut seen);
            // A disk that does not work is asked less and less often; a good one has nothing left to settle.
            wait = wait.saturating_mul(2).min(limits::REOPEN_WAIT);
            if !rested {
                rest::give_back();
                rested = true;
            }
        }
        more = core.tidy();
    }
}

/// Waits a moment for what can be written in one stroke.
///
/// Orders that nobody waits for are held for the next ones, or for somebody who waits. Those who wait are given as
/// many companions as there were `together` the last time: those that one sync served and those that came meanwhile.
/// That nobody comes for a while ends it.
fn gather<'a>(
    mut queue: MutexGuard<'a, Queue>,
    shared: &Shared,
    together: usize,
) -> MutexGuard<'a, Queue> {
    let pressing = queue.orders.iter().any(Order::is_pressing);
    if queue.answers.is_empty() && !queue.orders.is_empty() && !pressing && !queue.over {
        (queue.company, queue.patient) = (1, true);
        let woken = shared.wake.wait_timeout(queue, limits::NOTES_PAUSE);
        (queue, _) = woken.unwrap_or_else(PoisonError::into_inner);
        queue.patient = false;
    }
    queue.company = together;
    for _ in 0..limits::COMPANY_PAUSES {
        let before = queue.answers.len();
        if before == 0 || before >= together || queue.over {
            break;
        }
        let woken = shared.wake.wait_timeout(queue, limits::COMPANY_PAUSE);
        (queue, _) = woken.unwrap_or_else(PoisonError::into_inner);
        if queue.answers.len() == before {
            break;
        }
    }
    queue.company = 0;
    queue
}

/// Tells the handles what became of the orders about the messages that were `seen`.
fn publish(core: &mut Core<Disk>, shared: &Shared, seen: &mut Vec<MsgId>) {
    if !seen.is_empty() {
        let mut queue = lock(&shared.queue);
        for id in seen.drain(..) {
            if let Some(count) = queue.unseen.get_mut(&id) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    queue.unseen.remove(&id);
                }
            }
        }
    }
    let (lost, room) = (core.take_lost(), core.room());
    let mut status = lock(&shared.status);
    if status.broken.as_deref() != core.broken() {
        status.broken = core.broken().map(str::to_owned);
    }
    status.room = room;
    status.lost.extend(lost);
}
