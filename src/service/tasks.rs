//! Where the tasks of one virtual server live.
//!
//! A handle does not keep them alive: they hold the server, and it holds the handle, so that else nothing would ever
//! be given back when a server stops.

use std::fmt;
use std::rc::Rc;
use std::rc::Weak;

use smol::LocalExecutor;
use smol::Task;

/// A handle to the executor.
#[derive(Clone)]
pub struct Tasks(Weak<LocalExecutor<'static>>);

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tasks")
    }
}

impl Tasks {
    /// A handle to this one.
    pub fn of(executor: &Rc<LocalExecutor<'static>>) -> Self {
        Self(Rc::downgrade(executor))
    }

    /// Begins a task. When the server is gone, so is the task.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        self.0.upgrade().unwrap_or_default().spawn(future)
    }
}

#[cfg(test)]
mod tests {
    use super::Tasks;
    use smol::LocalExecutor;
    use smol::future;
    use std::rc::Rc;

    #[test]
    fn what_tasks_hold_goes_with_the_executor() {
        let executor = Rc::new(LocalExecutor::new());
        let tasks = Tasks::of(&executor);
        let held = Rc::new(());
        let for_task = (Rc::clone(&held), tasks.clone());
        let waiting = async move {
            future::pending::<()>().await;
            drop(for_task);
        };
        tasks.spawn(waiting).detach();
        smol::block_on(executor.run(future::yield_now()));
        assert_eq!(Rc::strong_count(&held), 2);
        drop(executor);
        assert_eq!(Rc::strong_count(&held), 1);
        tasks.spawn(future::ready(())).detach();
    }
}
