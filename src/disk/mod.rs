//! Files: the journal on its medium, body files, pickup, drop, badmail.
//!
//! # Using the journal
//!
//! At start, before there is an executor:
//!
//! ```no_run
//! # use std::path::Path;
//! # use mailroot::disk::handle::{Journal, Paths};
//! # use mailroot::disk::order::{Joined, Options};
//! # use mailroot::disk::worker::Worker;
//! # use mailroot::queue::{Accept, Progress};
//! # fn demo(home: &Path, meta: Accept, report: Accept) -> Result<(), Box<dyn std::error::Error>> {
//! let worker = Worker::start()?;
//! let opened = Journal::open(&Paths::of_home(home), Options::default(), worker.clone())?;
//! for (id, accepted) in &opened.recovery.claims {
//!     // `sorttemp/<id>.claim`: unlink it when accepted, else take it in again under a new id.
//! }
//! let journal = opened.journal;
//! journal.each(|live| {
//!     // `live.stored`: envelope, progress, hold of each message; routes and due times come from here. An error
//!     // is damage: tell the operator, write to `badmail/` what can be had, and say `done`.
//! });
//! # smol::block_on(async {
//! // Taking a message in. Await `accept` to its end, in a task that a lost connection does not drop.
//! let id = journal.next_id();
//! let mut draft = journal.draft(id);
//! draft.write(b"Subject: hello\r\n\r\nworld\r\n").await?;
//! journal.accept(meta, draft, None, None).await?;   // Ok: it is on stable storage; say 250 now.
//!
//! // Handling it.
//! journal.begin(id);                           // poison mark; `progress` or `done` ends it
//! let mut message = journal.load(id).await?;   // message.stored.{accept, progress, hold}
//! let mut step = Vec::new();
//! let mut at = 0;
//! loop {
//!     message.body.read(at, &mut step).await?; // or `message.body.inline()` for small ones
//!     if step.is_empty() { break }
//!     at += step.len() as u64;
//! }
//! journal.progress(id, Progress::new(1));      // the state of all recipients, replaces the one before
//! let bounce = journal.draft(journal.next_id());
//! journal.accept(report, bounce, Some(Joined::Done(id)), None).await?; // a report and its cause: both or neither
//! journal.close().await;
//! # Ok(()) })
//! # }
//! ```
//!
//! What the callers owe:
//! - A pickup file is renamed to `sorttemp/<id>.claim` with the id of its draft, both folders are synced (once for
//!   several claims), and it is unlinked after `accept` said
//!   `Ok` and before the message is handed to the schedule: while a claim is there its message must not be `done`,
//!   or a restart takes it in twice.
//! - `progress`, `done`, `begin`, `hold` are orders, not questions; they return at once, survive `kill -9`, and a
//!   later `load` sees them. After a power cut the last two seconds of them may be gone (see PROMISES.md).
//! - [`handle::Journal::refusal`] is for the answer to MAIL; [`fault::Refused::is_full`] tells 452 from 451.
//! - `worker` is the one thread for all other file work, too.
//!
//! # Why it is built so
//!
//! One writer thread, because a disk syncs one thing at a time, and because it makes the journal a plain value
//! ([`journal::Core`]) that the crash test drives call by call on a simulated [`medium::Medium`]. Segments are
//! overwritten in place and never truncated or created in a steady state, because on flash the file system's own
//! records of a new or growing file cost more than the mail. Rejected: a file per message (three to five metadata
//! blocks each), a database (BUILD.md B 2.9: half a megabyte, copy-on-write pages), `fallocate` (unwritten extents
//! turn every first write into a metadata write). A medium that cannot overwrite in place cheaply would change our
//! mind.

pub mod accounts;
pub mod append;
pub mod badmail;
pub mod body;
pub mod draft;
pub mod drop;
pub mod dump;
pub mod envelope;
pub mod export;
pub mod fault;
pub mod folders;
pub mod handle;
pub mod handover;
pub mod journal;
pub mod landlock;
pub mod latch;
pub mod letter;
pub mod lines;
pub mod lock;
pub mod logfile;
pub mod maildir;
pub mod medium;
pub mod oneshot;
pub mod order;
pub mod peek;
pub mod pickup;
pub mod recover;
pub mod requeue;
pub mod rest;
pub mod secret;
pub mod segment;
pub mod small;
pub mod space;
pub mod stored;
pub mod submit;
pub mod tidy;
pub mod users;
mod volatile;
pub mod watch;
pub mod worker;
pub mod writer;
