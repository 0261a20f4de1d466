//! One thread for file work that would stall the executor: body files, drop, badmail, log rotation.
//!
//! Jobs run one after the other, in the order given. The thread sleeps without a timer when there are none, and ends
//! with the last handle.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use crate::base::limits;
use crate::disk::body::lock;
use crate::disk::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// A handle to the file worker.
#[derive(Clone)]
pub struct Worker(Arc<Handle>);

struct Handle(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    asleep: bool,
    over: bool,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Worker")
    }
}

impl Worker {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            wake: Condvar::new(),
        });
        let for_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("files".to_owned())
            .stack_size(limits::WORKER_STACK)
            .spawn(move || work(&for_thread))?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Runs `job` on the thread and waits for what it returns. When the caller goes away the job runs all the same.
    pub async fn run<T, F>(&self, job: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (sender, receiver) = oneshot::pair();
        self.post(move || {
            // Nobody waiting is no fault: the work is done.
            let _ = sender.send(job());
        });
        receiver.await
    }

    /// Runs `job` on the thread, some time.
    pub fn post(&self, job: impl FnOnce() + Send + 'static) {
        let shared = &self.0.0;
        let asleep = {
            let mut queue = lock(&shared.queue);
            queue.jobs.push_back(Box::new(job));
            std::mem::replace(&mut queue.asleep, false)
        };
        if asleep {
            shared.wake.notify_one();
        }
    }
}

/// The last handle is gone: what was posted is still done.
impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.0.queue).over = true;
        self.0.wake.notify_one();
    }
}

fn work(shared: &Shared) {
    let mut queue = lock(&shared.queue);
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            job();
            queue = lock(&shared.queue);
        } else if queue.over {
            return;
        } else {
            queue.jobs.shrink_to(16);
            queue.asleep = true;
            queue = shared
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Worker;
    use std::sync::Arc;
    use std::sync::Mutex;

    #[test]
    fn jobs_run_in_order_and_answer() {
        let worker = Worker::start().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        for number in 0..100 {
            let seen = Arc::clone(&seen);
            worker.post(move || seen.lock().unwrap().push(number));
        }
        let for_job = Arc::clone(&seen);
        let count = smol::block_on(worker.run(move || for_job.lock().unwrap().len()));
        assert_eq!(count, 100);
        assert_eq!(*seen.lock().unwrap(), (0..100).collect::<Vec<_>>());
    }
}
