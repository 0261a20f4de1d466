//! What the end-to-end tests share: the real binary in a folder of its own, peers that are real programs, and waiting for
//! what the log says instead of for time to pass.
#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

mod certificates;
mod folder;
pub mod messages;
pub mod names;
pub mod postfix;
mod program;
mod service;
mod sink;
mod talk;
mod users;
mod wait;

pub use certificates::{Authority, Certified, self_signed};
pub use folder::{Folder, files, texts};
pub use program::{MAILROOT, Running, ask, command, have, is_root, must, on, program, run};
pub use service::{Mailroot, id_in};
pub use sink::{Received, Sink, as_sunk};
pub use talk::Talk;
pub use users::{user, user_with};
pub use wait::{PATIENCE, free_port, until, until_true, wait_until_open, wait_until_open_at};
