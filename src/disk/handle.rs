//! The handle to the journal that everybody but its thread holds. See [`crate::disk`] for how to use it.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::base::MsgId;
use crate::base::Tick;
use crate::base::Wall;
use crate::base::limits;
use crate::disk::body;
use crate::disk::body::BodyBytes;
use crate::disk::body::Stored;
use crate::disk::body::lock;
use crate::disk::draft::Draft;
use crate::disk::draft::Intake;
use crate::disk::fault::LoadError;
use crate::disk::fault::OpenError;
use crate::disk::fault::Refused;
use crate::disk::journal::Core;
use crate::disk::lock::HomeLock;
use crate::disk::medium::Disk;
use crate::disk::medium::Medium;
use crate::disk::oneshot;
use crate::disk::order::Joined;
use crate::disk::order::Options;
use crate::disk::order::Order;
use crate::disk::order::Submission;
use crate::disk::recover;
use crate::disk::recover::Live;
use crate::disk::recover::Recovery;
use crate::disk::segment::Fetch;
use crate::disk::stored::StoredMessage;
use crate::disk::volatile::Volatile;
use crate::disk::worker::Worker;
use crate::disk::writer;
use crate::disk::writer::Shared;
use crate::queue::accept::Accept;
use crate::queue::progress::Progress;
use crate::queue::replay::Damage;

/// The folders that the journal uses.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `home/queue`.
    pub queue: PathBuf,
    /// `home/sorttemp`.
    pub sorttemp: PathBuf,
}

impl Paths {
    /// Those of a home in the usual layout.
    pub fn of_home(home: &Path) -> Self {
        Self {
            queue: home.join("queue"),
            sorttemp: home.join("sorttemp"),
        }
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.queue.join("lock")
    }
}

/// How full the queue is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Live messages.
    pub messages: usize,
    /// Bytes of their records and body files.
    pub bytes: u64,
    /// Those of them that are only in memory so far.
    pub in_memory: usize,
    /// Messages that are held one by one.
    pub held: usize,
    /// How often a file or folder was synced since the start; the number wraps.
    pub syncs: u32,
    /// Why nothing is accepted, when nothing is.
    pub broken: Option<String>,
}

/// A handle to the journal. Clones are cheap; nothing here blocks.
#[derive(Clone)]
pub struct Journal(Arc<Handle>);

struct Handle {
    /// The first id of this run.
    first: MsgId,
    shared: Arc<Shared>,
    intake: Arc<Intake>,
    /// What is in memory first.
    volatile: Mutex<Volatile>,
    options: Options,
}

/// The last handle is gone: the thread makes everything durable and ends.
impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.shared.queue).over = true;
        self.shared.wake.notify_one();
    }
}

/// What [`Journal::open`] gives.
#[derive(Debug)]
pub struct Opened {
    /// The journal, running.
    pub journal: Journal,
    /// What was found.
    pub recovery: Recovery,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}

impl Journal {
    /// Takes the home, reads what is in it and starts the thread. Blocks: to be called at start, before there is an
    /// executor. Makes the two folders when they are not there.
    pub fn open(paths: &Paths, options: Options, worker: Worker) -> Result<Opened, OpenError> {
        let disk = Disk::open(&paths.queue, &paths.sorttemp, true)
            .map_err(|error| OpenError::Io("open queue/ and sorttemp/", error))?;
        let home = HomeLock::take(&paths.lock())?;
        let mut seed = [0; 8];
        let seeded = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
        seeded.map_err(|error| OpenError::Io("get random bytes", error.into()))?;
        let options = Options {
            seed: options.seed ^ u64::from_le_bytes(seed),
            ..options
        };
        let (core, recovery) = Core::open(disk.clone(), options.clone())?;
        let first = core.next_id();
        let shared = Arc::new(Shared::new(first, Arc::clone(core.index())));
        let for_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("journal".to_owned())
            .stack_size(limits::WORKER_STACK)
            .spawn(move || writer::run(core, home, &for_thread))
            .map_err(|error| OpenError::Io("start the journal's thread", error))?;
        Ok(Opened {
            journal: Self(Arc::new(Handle {
                first,
                shared,
                intake: Arc::new(Intake {
                    disk,
                    worker,
                    inline: options.inline,
                    floor: options.free_floor,
                    files_floor: options.files_floor,
                    memory: Mutex::new(0),
                }),
                volatile: Mutex::default(),
                options,
            })),
            recovery,
        })
    }

    /// Shows every live message once, by id. Blocks while it reads: to be called at start.
    pub fn each(&self, show: impl FnMut(&Live<'_>)) {
        recover::each(&self.0.intake.disk, &self.0.shared.index, show);
    }

    /// The bytes of a damaged stretch. Blocks; at start.
    pub fn damaged_bytes(&self, damage: Damage) -> std::io::Result<Vec<u8>> {
        recover::damaged_bytes(&self.0.intake.disk, damage)
    }

    /// A new id; never given again, not after a restart either once a message with it was accepted.
    pub fn next_id(&self) -> MsgId {
        let mut queue = lock(&self.0.shared.queue);
        let id = queue.next_id;
        queue.next_id = id.next();
        id
    }

    /// A body to write into. Up to the inline limit it stays in memory.
    pub fn draft(&self, id: MsgId) -> Draft {
        Draft::new(Arc::clone(&self.0.intake), id)
    }

    /// Why a message of about `bytes` (zero when its size is not known) would be refused now; for the answer to MAIL or
    /// before the 354.
    pub fn refusal(&self, bytes: u64) -> Option<Refused> {
        let room = {
            let status = lock(&self.0.shared.status);
            if let Some(broken) = &status.broken {
                return Some(Refused::Broken(broken.clone()));
            }
            status.room
        };
        let options = &self.0.options;
        let usage = self.usage();
        if usage.messages >= options.queue_messages {
            return Some(Refused::QueueMessages);
        } else if usage.bytes.saturating_add(bytes) > options.queue_bytes {
            return Some(Refused::QueueBytes);
        }
        let inline = u64::try_from(options.inline).unwrap_or(u64::MAX);
        let file = if bytes > inline { bytes } else { 0 };
        // What its record needs besides the body, roughly.
        let record = bytes.saturating_sub(file).saturating_add(1024);
        let short = room.is_some_and(|room| room < record);
        // One question to the file system, and only for what matters to the answer.
        (file > 0 || short)
            .then(|| self.no_room(file, short))
            .flatten()
    }

    /// Whether the file system has no room for a body file of `file` bytes, or (when the journal is `short` of it) for
    /// another segment. Others may have made room meanwhile.
    fn no_room(&self, file: u64, short: bool) -> Option<Refused> {
        let (disk, options) = (&self.0.intake.disk, &self.0.options);
        let wanted = if short {
            file.max(u64::from(options.segment))
        } else {
            file
        };
        let wanted = options.free_floor.saturating_add(wanted);
        // A file system that cannot tell says so when it is written to.
        if disk.free().is_ok_and(|free| free < wanted) {
            return Some(Refused::DiskFull);
        }
        let floor = options.files_floor;
        let none = floor > 0 && disk.free_files().is_ok_and(|free| free <= floor);
        none.then_some(Refused::NoFiles)
    }

    /// Makes a message durable, together with what is `joined` to it. `Ok` comes after the sync (promise G1).
    ///
    /// With a time in `until` it is taken into memory alone, to be written when it is still there by then: its owner wants it
    /// so. Where there is no room for it, or its body is in a file, it is made durable all the same.
    ///
    /// To be awaited to its end, by a task of its own if the peer may go away: dropped in between, the message may
    /// be in the queue without anybody knowing before the next start.
    pub fn accept(
        &self,
        accept: Accept,
        draft: Draft,
        joined: Option<Joined>,
        until: Option<Tick>,
    ) -> impl Future<Output = Result<(), Refused>> {
        let refused = until.and_then(|_| self.refusal(draft.len()));
        let mut submission = Submission::begin(draft.id(), accept, joined);
        let body = draft.finish();
        // Only what is small or in a box waits: every session has room for this.
        async move {
            if let Some(refused) = refused {
                return Err(refused);
            }
            submission.body = body.await.map_err(|error| Refused::from_io(&error))?;
            let left = match until {
                Some(due) => lock(&self.0.volatile).keep(submission, due),
                None => Some(submission),
            };
            match left {
                Some(submission) => self.submit(submission).await,
                None => Ok(()),
            }
        }
    }

    async fn submit(&self, mut submission: Box<Submission>) -> Result<(), Refused> {
        // What is joined to a message that the journal does not know yet is noted behind it.
        let volatile = |joined: &mut Joined| lock(&self.0.volatile).contains(joined.about());
        let behind = submission.joined.take_if(volatile).map(Box::new);
        self.ask(Order::Accept(submission)).await?;
        match behind.map(|joined| *joined) {
            Some(Joined::Progress(of, progress)) => self.progress(of, progress),
            Some(Joined::Done(of)) => self.done(of),
            None => {}
        }
        Ok(())
    }

    /// Makes a message durable that is only in memory, with what became of it so far. `again` is when that is due
    /// again if the journal would not take it.
    pub async fn write_out(&self, id: MsgId, again: Tick) -> Result<(), Refused> {
        let begun = lock(&self.0.volatile).begin_writing(id);
        let Some((accept, what_followed)) = begun else {
            return Ok(());
        };
        let written = match self.put(accept) {
            Ok(answer) => {
                for order in what_followed {
                    self.send(order);
                }
                answer.await
            }
            Err(refused) => Err(refused),
        };
        lock(&self.0.volatile).end_writing(id, written.is_ok(), again);
        written
    }

    /// Those messages in memory that are to be written by now.
    pub fn due_in_memory(&self, now: Tick) -> Vec<MsgId> {
        lock(&self.0.volatile).due(now)
    }

    /// When the next of them is to be written.
    pub fn next_in_memory(&self) -> Option<Tick> {
        lock(&self.0.volatile).next_due()
    }

    /// Makes all of them due.
    pub fn hurry_memory(&self) {
        lock(&self.0.volatile).hurry();
    }

    /// Notes the new state of a message, which also ends what was begun. Written within
    /// [`limits::NOTES_PAUSE`], synced with the next accept or after two seconds.
    pub fn progress(&self, id: MsgId, progress: Progress) {
        self.tell(Order::Progress(id, progress));
    }

    /// The message is dealt with: its record and body can go.
    pub fn done(&self, id: MsgId) {
        self.tell(Order::Done(id));
    }

    /// Whether a message came in since this was opened.
    pub fn is_new(&self, id: MsgId) -> bool {
        id >= self.0.first
    }

    /// Handling a message begins; `progress` or `done` ends it. Begun three times without an end, it is held at the
    /// next start.
    pub fn begin(&self, id: MsgId) {
        self.tell(Order::Begin(id));
    }

    /// The message waits for the operator.
    pub fn hold(&self, id: MsgId, reason: impl Into<String>) {
        self.tell(Order::Hold(id, reason.into()));
    }

    /// It goes on.
    pub fn release(&self, id: MsgId) {
        self.tell(Order::Release(id));
    }

    /// Notes a time that is known to have been, and how long this home has been run in all. The newest note counts
    /// for the time, the largest for the rest.
    pub fn clock(&self, wall: Wall, running: Duration) {
        self.tell(Order::Clock(wall, running));
    }

    /// Notes a remark for humans.
    pub fn note(&self, text: impl Into<String>) {
        self.tell(Order::Note(text.into()));
    }

    /// Reads a message back, with everything that was ordered before.
    pub async fn load(&self, id: MsgId) -> Result<StoredMessage, LoadError> {
        let in_memory = lock(&self.0.volatile).load(id);
        if let Some((stored, bytes)) = in_memory {
            return Ok(self.loaded(id, stored, bytes));
        }
        self.settle(id).await;
        let (index, disk) = (Arc::clone(&self.0.shared.index), self.0.intake.disk.clone());
        // What came a moment ago is in memory, and two switches of threads would cost more than reading it.
        let quick = body::load(&mut Fetch::new(disk.hasty()), &index, id, true);
        let (stored, bytes): (Stored, BodyBytes) = match quick {
            Ok(found) => found,
            Err(LoadError::Gone) => return Err(LoadError::Gone),
            Err(_) => {
                let load = move || body::load(&mut Fetch::new(disk), &index, id, true);
                self.0.intake.worker.run(load).await?
            }
        };
        Ok(self.loaded(id, stored, bytes))
    }

    fn loaded(&self, id: MsgId, stored: Stored, bytes: BodyBytes) -> StoredMessage {
        let (disk, worker) = (self.0.intake.disk.clone(), self.0.intake.worker.clone());
        StoredMessage::new(id, stored, bytes, disk, worker)
    }

    /// Waits until the orders for a message are in the index.
    async fn settle(&self, id: MsgId) {
        let unseen = lock(&self.0.shared.queue).unseen.contains_key(&id);
        if unseen {
            // Whether the disk works is not the question here.
            let _ = self.ask(Order::Seen).await;
        }
    }

    /// Whether the message is in the queue.
    pub fn contains(&self, id: MsgId) -> bool {
        lock(&self.0.volatile).contains(id) || lock(&self.0.shared.index).get(id).is_some()
    }

    /// The message with the next higher id, or the first one; for walking a queue that changes meanwhile.
    pub fn after(&self, id: Option<MsgId>) -> Option<MsgId> {
        let in_memory = lock(&self.0.volatile).after(id);
        let written = lock(&self.0.shared.index).after(id).map(|entry| entry.id);
        in_memory.into_iter().chain(written).min()
    }

    /// Whether the message waits for the operator.
    pub fn is_held(&self, id: MsgId) -> bool {
        lock(&self.0.volatile).is_held(id) || lock(&self.0.shared.index).held(id).is_some()
    }

    /// Messages that turned out unreadable while the service ran; they are not in the queue any more.
    pub fn take_lost(&self) -> Vec<MsgId> {
        std::mem::take(&mut lock(&self.0.shared.status).lost)
    }

    /// How full the queue is.
    pub fn usage(&self) -> Usage {
        let broken = lock(&self.0.shared.status).broken.clone();
        let (in_memory, bytes) = lock(&self.0.volatile).usage();
        let index = lock(&self.0.shared.index);
        Usage {
            messages: index.messages().saturating_add(in_memory),
            bytes: index.bytes().saturating_add(bytes),
            in_memory,
            held: index.holds(),
            syncs: self.0.intake.disk.syncs(),
            broken,
        }
    }

    /// Returns when everything ordered so far is durable.
    pub async fn flush(&self) -> Result<(), Refused> {
        self.ask(Order::Sync).await
    }

    /// Makes everything durable, ends the thread and gives the home free. Later orders are refused or ignored.
    pub async fn close(&self) {
        let (sender, receiver) = oneshot::pair();
        {
            let mut queue = lock(&self.0.shared.queue);
            if queue.gone {
                return;
            }
            queue.closed.push(sender);
            queue.over = true;
        }
        self.0.shared.wake.notify_one();
        receiver.await;
    }

    fn ask(&self, order: Order) -> impl Future<Output = Result<(), Refused>> + use<> {
        let answer = self.put(order);
        async move { answer?.await }
    }

    /// Gives the thread an order that is answered.
    fn put(&self, order: Order) -> Result<oneshot::Receiver<Result<(), Refused>>, Refused> {
        let (sender, receiver) = oneshot::pair();
        let asleep = {
            let mut queue = lock(&self.0.shared.queue);
            if queue.over {
                return Err(Refused::Broken("the service is ending".to_owned()));
            }
            queue.orders.push(order);
            queue.answers.push(sender);
            let complete = queue.company > 0 && queue.answers.len() >= queue.company;
            std::mem::replace(&mut queue.asleep, false) || complete
        };
        if asleep {
            self.0.shared.wake.notify_one();
        }
        Ok(receiver)
    }

    /// Notes an order that is not answered.
    fn tell(&self, order: Order) {
        if lock(&self.0.volatile).note(&order) {
            self.send(order);
        }
    }

    /// Gives it to the thread.
    fn send(&self, order: Order) {
        let asleep = {
            let mut queue = lock(&self.0.shared.queue);
            if queue.gone {
                return;
            }
            if let Some(id) = order.about() {
                let count = queue.unseen.entry(id).or_default();
                *count = count.saturating_add(1);
            }
            let pressing = queue.patient && order.is_pressing();
            queue.orders.push(order);
            std::mem::replace(&mut queue.asleep, false) || pressing
        };
        if asleep {
            self.0.shared.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Journal, Opened, Paths};
    use crate::base::{MsgId, Wall};
    use crate::disk::fault::{LoadError, OpenError, Refused};
    use crate::disk::order::{Joined, Options};
    use crate::disk::peek::Peek;
    use crate::disk::worker::Worker;
    use crate::mail::address::Address;
    use crate::mail::envelope::{Envelope, Recipient};
    use crate::mail::outcome::Reason;
    use crate::mail::status::Status;
    use crate::queue::accept::{Accept, Dates, Door, Priority};
    use crate::queue::progress::{Progress, Stage};
    use std::path::Path;
    use std::time::Duration;

    fn open(home: &Path, options: Options) -> Opened {
        Journal::open(&Paths::of_home(home), options, Worker::start().unwrap()).unwrap()
    }

    fn meta(origin: &str) -> Accept {
        Accept {
            arrived: Wall::from_secs(1_795_305_600),
            door: Door::Smtp,
            origin: origin.to_owned(),
            priority: Priority::Normal,
            header: None,
            envelope: Envelope {
                sender: Some(Address::parse("root@nas.lan").unwrap()),
                recipients: vec![Recipient::new(Address::parse("me@example.com").unwrap())],
                ..Envelope::default()
            },
            running: Duration::ZERO,
            dates: Dates::Good,
        }
    }

    async fn submit(
        journal: &Journal,
        bytes: usize,
        joined: Option<Joined>,
    ) -> Result<MsgId, Refused> {
        let id = journal.next_id();
        let mut draft = journal.draft(id);
        for part in body(bytes).chunks(10_000) {
            draft.write(part).await.unwrap();
        }
        journal
            .accept(meta(&id.to_string()), draft, joined, None)
            .await?;
        Ok(id)
    }

    fn body(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn only_what_came_in_this_run_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), Options::default()).journal;
        let id = smol::block_on(submit(&first, 10, None)).unwrap();
        assert!(first.is_new(id) && first.is_new(first.next_id()));
        smol::block_on(first.close());
        let second = open(dir.path(), Options::default()).journal;
        assert!(!second.is_new(id) && second.is_new(second.next_id()));
    }

    #[test]
    fn what_nobody_waits_for_is_written_by_itself_and_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), Options::default()).journal;
        smol::block_on(async {
            let id = submit(&journal, 10, None).await.unwrap();
            journal.done(id);
            let start = std::time::Instant::now();
            while journal.contains(id) {
                std::thread::yield_now();
                assert!(start.elapsed().as_secs() < 20, "its Done was never written");
            }
            // An accept goes along with what is held.
            let id = submit(&journal, 10, None).await.unwrap();
            journal.done(id);
            let other = submit(&journal, 10, None).await.unwrap();
            assert!(!journal.contains(id) && journal.contains(other));
        });
    }

    async fn read_back(
        journal: &Journal,
        id: MsgId,
    ) -> (Option<Progress>, Option<String>, Vec<u8>) {
        let mut message = journal.load(id).await.unwrap();
        assert_eq!(message.stored.accept, meta(&id.to_string()));
        let (mut all, mut step) = (Vec::new(), Vec::new());
        loop {
            let at = u64::try_from(all.len()).unwrap();
            message.body.read(at, &mut step).await.unwrap();
            if step.is_empty() {
                break;
            }
            all.extend_from_slice(&step);
        }
        assert_eq!(message.body.len(), u64::try_from(all.len()).unwrap());
        (message.stored.progress, message.stored.hold, all)
    }

    fn tried() -> Progress {
        let mut progress = Progress::new(1);
        progress.attempts = 1;
        progress.set(
            0,
            Stage::Waiting,
            Reason::ours(Status::new(4, 4, 1), "no route"),
        );
        progress
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn messages_of_every_size_survive_a_restart_with_their_state() {
        let home = tempfile::tempdir().unwrap();
        let sizes = [0, 1, 1000, 65_536, 65_537, 300_000];
        let mut ids = Vec::new();
        smol::block_on(async {
            let journal = open(home.path(), Options::default()).journal;
            for size in sizes {
                ids.push(submit(&journal, size, None).await.unwrap());
            }
            journal.progress(ids[1], tried());
            assert_eq!(read_back(&journal, ids[1]).await.0, Some(tried()));
            journal.hold(ids[2], "wrong password");
            journal.done(ids[0]);
            assert_eq!(journal.load(ids[0]).await.unwrap_err(), LoadError::Gone);
            let report = submit(&journal, 10, Some(Joined::Done(ids[3])))
                .await
                .unwrap();
            ids.push(report);
            assert_eq!(journal.usage().messages, 5);
            journal.close().await;
            assert!(submit(&journal, 1, None).await.is_err());
        });
        for _ in 0..2 {
            let peek = Peek::open(&Paths::of_home(home.path())).unwrap();
            let mut seen = Vec::new();
            peek.each(|live| seen.push((live.id, live.stored.unwrap().body_len)));
            let left = [(1, 1), (2, 1000), (4, 65_537), (5, 300_000), (6, 10)];
            assert_eq!(seen, left.map(|(at, size): (usize, u64)| (ids[at], size)));
            let mut whole = Vec::new();
            peek.load(ids[5], |piece| {
                whole.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
            assert_eq!(whole, body(300_000));
            drop(peek);

            let opened = open(home.path(), Options::default());
            assert_eq!(opened.recovery.messages, 5);
            assert_eq!(opened.recovery.damaged_bytes, 0);
            let journal = opened.journal;
            smol::block_on(async {
                assert_eq!(
                    read_back(&journal, ids[1]).await,
                    (Some(tried()), None, body(1))
                );
                let held = Some("wrong password".to_owned());
                assert_eq!(read_back(&journal, ids[2]).await, (None, held, body(1000)));
                assert_eq!(
                    read_back(&journal, ids[4]).await,
                    (None, None, body(65_537))
                );
                assert_eq!(
                    read_back(&journal, ids[5]).await,
                    (None, None, body(300_000))
                );
                assert!(journal.next_id() > ids[6]);
                journal.close().await;
            });
        }
    }

    #[test]
    fn the_second_service_hears_who_has_the_home() {
        let home = tempfile::tempdir().unwrap();
        let paths = Paths::of_home(home.path());
        let first = open(home.path(), Options::default());
        let second = Journal::open(&paths, Options::default(), Worker::start().unwrap());
        for refused in [second.map(drop), Peek::open(&paths).map(drop)] {
            assert!(
                matches!(refused, Err(OpenError::Locked(Some(pid))) if pid == std::process::id())
            );
        }
        smol::block_on(first.journal.close());
        open(home.path(), Options::default());
    }

    #[test]
    fn a_full_queue_refuses_with_a_reason_and_a_draft_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let options = Options {
            queue_messages: 2,
            queue_bytes: 250_000,
            ..Options::default()
        };
        let journal = open(home.path(), options).journal;
        smol::block_on(async {
            let first = submit(&journal, 200_000, None).await.unwrap();
            assert_eq!(
                submit(&journal, 100_000, None).await,
                Err(Refused::QueueBytes)
            );
            submit(&journal, 100, None).await.unwrap();
            assert_eq!(
                submit(&journal, 100, None).await,
                Err(Refused::QueueMessages)
            );
            assert_eq!(journal.refusal(0), Some(Refused::QueueMessages));
            let mut draft = journal.draft(journal.next_id());
            draft.write(&body(100_000)).await.unwrap();
            assert_eq!(names(&home.path().join("sorttemp")).len(), 1);
            drop(draft);
            journal.done(first);
            journal.flush().await.unwrap();
            assert_eq!(journal.refusal(0), None);
            journal.close().await;
            // What the worker was given before is done by now.
            journal.0.intake.worker.run(|| ()).await;
        });
        drop(journal);
        assert!(names(&home.path().join("sorttemp")).is_empty());
        let left = names(&home.path().join("queue"));
        assert!(left.iter().all(|name| !name.ends_with(".body")), "{left:?}");
    }

    /// First in, first out: what lives in the oldest segment keeps all dead ones behind it, so it has to move.
    #[test]
    fn one_message_that_stays_does_not_keep_the_space_of_all_that_go() {
        let home = tempfile::tempdir().unwrap();
        let options = Options {
            segment: 128 * 1024,
            ..Options::default()
        };
        let journal = open(home.path(), options).journal;
        let stays = smol::block_on(async {
            let stays = submit(&journal, 1000, None).await.unwrap();
            for _ in 0..120 {
                let goes = submit(&journal, 20_000, None).await.unwrap();
                journal.done(goes);
            }
            let (_, _, bytes) = read_back(&journal, stays).await;
            assert_eq!(bytes, body(1000));
            journal.close().await;
            stays
        });
        let segments = names(&home.path().join("queue"));
        let segments = segments.iter().filter(|name| name.ends_with(".seg"));
        // 2.4 MB went through; four in use are not worth copying, the rest are spares and the reserve.
        let count = segments.count();
        assert!(count <= 9, "{count} segments");
        drop(journal);
        let options = Options::default();
        let journal = open(home.path(), options).journal;
        assert!(journal.contains(stays));
    }

    #[test]
    fn a_disk_without_room_is_known_before_a_body_is_sent() {
        let home = tempfile::tempdir().unwrap();
        let roomy = open(home.path(), Options::default()).journal;
        smol::block_on(async {
            submit(&roomy, 100, None).await.unwrap();
            roomy.close().await;
        });
        let options = Options {
            free_floor: u64::MAX / 2,
            ..Options::default()
        };
        let journal = open(home.path(), options).journal;
        assert_eq!(journal.refusal(0), None, "its segments are there");
        assert_eq!(journal.refusal(100_000), Some(Refused::DiskFull));
        let mut large = journal.draft(journal.next_id());
        let error = smol::block_on(large.write(&body(100_000))).unwrap_err();
        assert_eq!(Refused::from_io(&error), Refused::DiskFull);
        smol::block_on(async {
            // What is made already is used up to its reserve; then the first refusal tells the next ones.
            for _ in 0..40 {
                if journal.refusal(0).is_none()
                    && let Err(refused) = submit(&journal, 50_000, None).await
                {
                    assert_eq!(refused, Refused::DiskFull);
                }
            }
            assert_eq!(journal.refusal(0), Some(Refused::DiskFull));
            journal.close().await;
        });
        let options = Options {
            files_floor: u64::MAX,
            ..Options::default()
        };
        let journal = open(home.path(), options).journal;
        assert_eq!(journal.refusal(100_000), Some(Refused::NoFiles));
    }

    #[test]
    fn many_at_once_share_their_syncs_and_old_segments_are_used_again() {
        let home = tempfile::tempdir().unwrap();
        let options = Options {
            segment: 128 * 1024,
            ..Options::default()
        };
        let journal = open(home.path(), options).journal;
        let executor = smol::LocalExecutor::new();
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                executor.spawn(async {
                    for round in 0..100 {
                        let id = submit(&journal, 3000, None).await.unwrap();
                        journal.begin(id);
                        if round % 10 > 0 {
                            assert_eq!(read_back(&journal, id).await.2, body(3000));
                            journal.done(id);
                        } else {
                            journal.progress(id, tried());
                        }
                    }
                })
            })
            .collect();
        smol::block_on(executor.run(async {
            for task in tasks {
                task.await;
            }
            journal.flush().await.unwrap();
        }));
        assert_eq!(journal.usage().messages, 160);
        let segments = names(&home.path().join("queue")).len() - 1;
        assert!(
            segments < 16,
            "{segments} segments for half a megabyte of mail"
        );
        smol::block_on(journal.close());
        let opened = open(home.path(), Options::default());
        assert_eq!(opened.recovery.messages, 160);
        assert_eq!(opened.recovery.damaged_bytes, 0);
    }
}
