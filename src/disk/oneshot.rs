//! One answer from a thread to a task: a value and a waker, nothing else.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use crate::disk::body::lock;

#[derive(Debug)]
enum State<T> {
    Waiting(Option<Waker>),
    Answered(T),
    /// The answer was taken, or nobody is left to give it.
    Over,
}

/// Gives the answer. Dropped without one, the task waits for ever: only a thread that panicked does that, and in a
/// release it has ended the program.
#[derive(Debug)]
pub struct Sender<T>(Arc<Mutex<State<T>>>);

/// Waits for the answer.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Mutex<State<T>>>);

/// Both ends.
pub fn pair<T>() -> (Sender<T>, Receiver<T>) {
    let state = Arc::new(Mutex::new(State::Waiting(None)));
    (Sender(Arc::clone(&state)), Receiver(state))
}

impl<T> Sender<T> {
    /// Answers. Gives the value back when nobody waits any more.
    pub fn send(self, value: T) -> Result<(), T> {
        let waker = {
            let mut state = lock(&self.0);
            match std::mem::replace(&mut *state, State::Over) {
                State::Waiting(waker) => {
                    *state = State::Answered(value);
                    waker
                }
                State::Answered(_) | State::Over => return Err(value),
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// The answer, when it is there already.
    pub fn take(&self) -> Option<T> {
        let mut state = lock(&self.0);
        match std::mem::replace(&mut *state, State::Over) {
            State::Answered(value) => Some(value),
            other => {
                *state = other;
                None
            }
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = lock(&self.0);
        match std::mem::replace(&mut *state, State::Over) {
            State::Answered(value) => Poll::Ready(value),
            State::Waiting(_) => {
                *state = State::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
            State::Over => Poll::Pending,
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        if matches!(*state, State::Waiting(_)) {
            *state = State::Over;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pair;

    #[test]
    fn an_answer_arrives_before_and_after_it_is_waited_for() {
        let (sender, receiver) = pair();
        sender.send(1).unwrap();
        assert_eq!(smol::block_on(receiver), 1);
        let (sender, receiver) = pair();
        let thread = std::thread::spawn(move || sender.send(2));
        assert_eq!(smol::block_on(receiver), 2);
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn who_went_away_gets_nothing() {
        let (sender, receiver) = pair();
        drop(receiver);
        assert_eq!(sender.send(1), Err(1));
    }
}
