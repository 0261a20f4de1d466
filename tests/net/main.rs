//! The net folder against real sockets on loopback: name servers that lie, TLS peers that are somebody else.
#![cfg(test)]
#![allow(clippy::too_many_lines)] // tables

mod dane;
mod names;
mod sockets;
mod tls;

use std::future::Future;
use std::rc::Rc;

use mailroot::net::ready;
use smol::LocalExecutor;

/// Runs a test on an executor of its own; what it spawned ends with it.
fn run<F: Future>(test: impl FnOnce(Rc<LocalExecutor<'static>>) -> F) -> F::Output {
    let executor = Rc::new(LocalExecutor::new());
    ready::block_on(executor.run(test(Rc::clone(&executor)))).unwrap()
}
