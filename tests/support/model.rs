//! What the journal promised so far, and a check of what it kept.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use mailroot::base::MsgId;
use mailroot::base::Wall;
use mailroot::disk::body;
use mailroot::disk::body::BodyBytes;
use mailroot::disk::body::Part;
use mailroot::disk::fault::LoadError;
use mailroot::disk::fault::Refused;
use mailroot::disk::journal::Core;
use mailroot::disk::medium::Access;
use mailroot::disk::medium::Folder;
use mailroot::disk::medium::Medium;
use mailroot::disk::order::Body;
use mailroot::disk::order::Joined;
use mailroot::disk::order::Options;
use mailroot::disk::order::Order;
use mailroot::disk::order::Submission;
use mailroot::disk::segment::Fetch;
use mailroot::mail::Address;
use mailroot::mail::Envelope;
use mailroot::mail::Reason;
use mailroot::mail::Recipient;
use mailroot::mail::Status;
use mailroot::queue::Accept;
use mailroot::queue::Dates;
use mailroot::queue::Door;
use mailroot::queue::Priority;
use mailroot::queue::Progress;
use mailroot::queue::Stage;

use super::dice::Dice;
use super::sim::SimDisk;

/// How an accept ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No answer yet, or none before the power went.
    Open,
    Acknowledged,
    /// With the number of acknowledgements before it.
    Refused(u64),
}

#[derive(Clone, Debug)]
pub struct Message {
    pub body: Vec<u8>,
    pub end: End,
    /// Every state in the order given; the first is "never tried".
    states: Vec<Option<Progress>>,
    /// From this one on any may be found: it was durable, those before are replaced.
    firm_state: usize,
    holds: Vec<Option<String>>,
    firm_hold: usize,
    done: bool,
    firm_done: bool,
    /// The message whose state was written with it, and which state: `None` is done.
    joined: Option<(MsgId, Option<usize>)>,
    /// It was claimed as the pickup folder claims files, durably.
    claim: bool,
    /// Its claim is still to be unlinked; until then nothing else happens to it.
    claimed: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub messages: BTreeMap<MsgId, Message>,
    pub acknowledged: u64,
    pub refused: u64,
}

pub fn meta(id: MsgId) -> Accept {
    Accept {
        arrived: Wall::from_millis(1_795_305_600_000 + id.number()),
        door: Door::Smtp,
        origin: format!("test {id}"),
        priority: Priority::Normal,
        header: None,
        envelope: Envelope {
            sender: None,
            recipients: vec![Recipient::new(Address::parse("a@b.example").unwrap())],
            ..Envelope::default()
        },
        running: Duration::from_millis(id.number()),
        dates: Dates::Good,
    }
}

fn progress(attempts: u32) -> Progress {
    let mut progress = Progress::new(1);
    progress.attempts = attempts;
    let reason = Reason::ours(Status::new(4, 4, 1), format!("no route, {attempts}"));
    progress.set(0, Stage::Waiting, reason);
    progress
}

/// A journal, its disk, and what it promised.
pub struct Run {
    pub disk: SimDisk,
    pub core: Core<SimDisk>,
    pub model: Model,
    /// Messages end soon, so that segments die and are used again.
    pub brisk: bool,
    /// From this call on nothing is tidied up: what a failed segment holds stays there for long.
    pub untidy_from: u64,
    dice: Dice,
    next: MsgId,
}

pub fn options() -> Options {
    Options {
        segment: 4096,
        inline: 700,
        seed: 11,
        ..Options::default()
    }
}

impl Run {
    pub fn new(disk: SimDisk, options: Options, seed: u64) -> Option<Self> {
        let (core, _) = Core::open(disk.clone(), options).ok()?;
        Some(Self {
            next: core.next_id(),
            disk,
            core,
            model: Model::default(),
            brisk: false,
            untidy_from: u64::MAX,
            dice: Dice::new(seed),
        })
    }

    /// Live messages that may be spoken of.
    fn live(&self) -> Vec<MsgId> {
        let live = |m: &Message| m.end == End::Acknowledged && !m.done && !m.claimed;
        let messages = self.model.messages.iter();
        messages
            .filter(|(_, m)| live(m))
            .map(|(id, _)| *id)
            .collect()
    }

    fn any(&mut self) -> Option<MsgId> {
        let live = self.live();
        let at = self.dice.roll(live.len() as u64) as usize;
        live.get(at).copied()
    }

    fn new_message(&mut self, len: usize) -> MsgId {
        let id = self.next;
        self.next = id.next();
        let text = format!("message {id} ");
        let body = text.bytes().cycle().take(len).collect();
        self.model.messages.insert(
            id,
            Message {
                body,
                end: End::Open,
                states: vec![None],
                firm_state: 0,
                holds: vec![None],
                firm_hold: 0,
                done: false,
                firm_done: false,
                joined: None,
                claim: false,
                claimed: false,
            },
        );
        id
    }

    fn refuse(&mut self, id: MsgId) {
        let acknowledged = self.model.acknowledged;
        self.model.refused += 1;
        let message = self.model.messages.get_mut(&id).unwrap();
        message.end = End::Refused(acknowledged);
    }

    fn submission(&mut self, id: MsgId, joined: Option<Joined>) -> io::Result<Order> {
        let body = self.model.messages[&id].body.clone();
        let body = if body.len() <= options().inline {
            Body::Inline(body)
        } else {
            let mut part = Part::create(self.disk.clone(), id)?;
            for piece in body.chunks(1000) {
                part.write(piece)?;
            }
            let (len, crc) = part.finish()?;
            Body::File { len, crc }
        };
        Ok(Order::Accept(Box::new(Submission {
            id,
            accept: meta(id),
            body,
            joined,
        })))
    }

    /// Does one thing, chosen by the dice.
    pub fn step(&mut self) {
        let mut orders = Vec::new();
        // What each answered order is about; `None` for a sync.
        let mut asked: Vec<Option<MsgId>> = Vec::new();
        let count = 1 + self.dice.roll(3);
        for _ in 0..count {
            let dice = self.dice.roll(100);
            match dice {
                0..40 => {
                    let len = self.dice.roll(600) as usize;
                    let id = self.new_message(len);
                    if dice < 8 && self.claim(id).is_ok() {
                        let message = self.model.messages.get_mut(&id).unwrap();
                        (message.claim, message.claimed) = (true, true);
                    }
                    orders.extend(self.submission(id, None).ok());
                    asked.push(Some(id));
                }
                40..50 => {
                    let len = 701 + self.dice.roll(3000) as usize;
                    let id = self.new_message(len);
                    match self.submission(id, None) {
                        Ok(order) => {
                            orders.push(order);
                            asked.push(Some(id));
                        }
                        Err(_) => self.refuse(id),
                    }
                }
                50..58 => {
                    // A report with the state of what it reports on.
                    let Some(of) = self.any() else { continue };
                    let id = self.new_message(100);
                    let done = dice < 54;
                    let (joined, state) = if done {
                        (Joined::Done(of), None)
                    } else {
                        let state = self.add_state(of);
                        let progress = self.model.messages[&of].states[state].clone().unwrap();
                        (Joined::Progress(of, progress), Some(state))
                    };
                    self.model.messages.get_mut(&id).unwrap().joined = Some((of, state));
                    orders.push(self.submission(id, Some(joined)).unwrap());
                    asked.push(Some(id));
                    // Nothing else may be said of it until the answer is there.
                    break;
                }
                58..72 => {
                    let Some(id) = self.any() else { continue };
                    let state = self.add_state(id);
                    let progress = self.model.messages[&id].states[state].clone().unwrap();
                    orders.push(Order::Begin(id));
                    orders.push(Order::Progress(id, progress));
                }
                72..88 => {
                    let Some(id) = self.any() else { continue };
                    self.model.messages.get_mut(&id).unwrap().done = true;
                    orders.push(Order::Done(id));
                }
                88..92 => {
                    let Some(id) = self.any() else { continue };
                    let message = self.model.messages.get_mut(&id).unwrap();
                    let text = format!("hold {}", message.holds.len());
                    message.holds.push(Some(text.clone()));
                    orders.push(Order::Hold(id, text));
                }
                92..95 => {
                    let Some(id) = self.any() else { continue };
                    self.model.messages.get_mut(&id).unwrap().holds.push(None);
                    orders.push(Order::Release(id));
                }
                95..98 => {
                    orders.push(Order::Sync);
                    asked.push(None);
                }
                _ => orders.push(Order::Clock(
                    Wall::from_secs(1_800_000_000),
                    Duration::from_secs(9),
                )),
            }
        }
        self.commit(orders, &asked);
        self.unlink_claims();
        while self.brisk && !self.disk.is_dead() && self.live().len() > 3 {
            let id = self.live()[0];
            self.model.messages.get_mut(&id).unwrap().done = true;
            self.commit(vec![Order::Done(id)], &[]);
        }
        match self.dice.roll(6) {
            0 => self.core.settle(),
            1 | 2 => {}
            _ if self.disk.calls() >= self.untidy_from => {}
            _ => while self.core.tidy() {},
        }
    }

    /// As the pickup folder does it: a durable file gets its claim name, durably, before it is read.
    fn claim(&mut self, id: MsgId) -> io::Result<()> {
        let source = format!("{id}.users-file");
        let file = self.disk.open(Folder::Sorttemp, &source, Access::Create)?;
        self.disk.write_at(&file, 0, b"x")?;
        self.disk.sync(&file)?;
        self.disk.sync_folder(Folder::Sorttemp)?;
        let claim = format!("{id}.claim");
        self.disk
            .rename((Folder::Sorttemp, &source), (Folder::Sorttemp, &claim))?;
        self.disk.sync_folder(Folder::Sorttemp)
    }

    fn unlink_claims(&mut self) {
        for (id, message) in &mut self.model.messages {
            if message.claimed && message.end == End::Acknowledged {
                let gone = self.disk.unlink(Folder::Sorttemp, &format!("{id}.claim"));
                message.claimed = gone.is_err();
            }
        }
    }

    fn add_state(&mut self, id: MsgId) -> usize {
        let states = &mut self.model.messages.get_mut(&id).unwrap().states;
        states.push(Some(progress(states.len() as u32)));
        states.len() - 1
    }

    /// Commits and notes the answers.
    pub fn commit(&mut self, mut orders: Vec<Order>, asked: &[Option<MsgId>]) {
        let answers = self.core.commit(&mut orders);
        if self.disk.is_dead() {
            // The power went while the journal worked: nobody heard an answer that came after.
            return;
        }
        let mut synced = false;
        for (id, answer) in asked.iter().zip(answers) {
            let Some(id) = id else {
                synced |= answer.is_ok();
                continue;
            };
            match answer {
                Ok(()) => {
                    synced = true;
                    self.model.acknowledged += 1;
                    let message = self.model.messages.get_mut(id).unwrap();
                    message.end = End::Acknowledged;
                    if let Some((of, None)) = message.joined {
                        self.model.messages.get_mut(&of).unwrap().done = true;
                    }
                }
                Err(refused) => {
                    assert_ne!(refused, Refused::TooLarge);
                    self.refuse(*id);
                    if let Some((of, Some(state))) = self.model.messages[id].joined {
                        // The state went with it.
                        let states = &mut self.model.messages.get_mut(&of).unwrap().states;
                        assert_eq!(states.len(), state + 1);
                        states.pop();
                    }
                }
            }
        }
        // All answers of one batch come from one sync; with a failure in it some are refused, and what else was
        // ordered waits for the next one.
        let refused = self.core.broken().is_some() || self.core.is_unsettled();
        if synced && !refused {
            self.firm();
        }
    }

    /// Everything said so far is durable.
    pub fn firm(&mut self) {
        for message in self.model.messages.values_mut() {
            message.firm_state = message.states.len() - 1;
            message.firm_hold = message.holds.len() - 1;
            message.firm_done = message.done;
        }
    }

    /// Checks what the running journal says of itself.
    pub fn check_alive(&self) {
        let at = self.disk.story();
        {
            let index = self.core.index().lock().unwrap();
            let mut live: BTreeMap<u32, u64> = BTreeMap::new();
            for entry in index.entries() {
                let hold = index.held(entry.id).unwrap_or_default();
                for place in [entry.accept, entry.progress, hold] {
                    *live.entry(place.slot).or_default() += u64::from(place.len);
                }
            }
            for (slot, bytes) in live {
                assert_eq!(
                    index.slot(slot).live,
                    bytes,
                    "live bytes of slot {slot}\n{at}"
                );
            }
        }
        for (id, message) in &self.model.messages {
            let found = self.disk.quietly(|| load(&self.core, &self.disk, *id));
            if message.end == End::Acknowledged && !message.done {
                let found = found.unwrap_or_else(|error| panic!("{id} is lost: {error}\n{at}"));
                assert_eq!(found.0, message.body, "{id}\n{at}");
                let newest = message.states.last().unwrap();
                assert_eq!(&found.1, newest, "{id}: old state\n{at}");
                assert_eq!(
                    &found.2,
                    message.holds.last().unwrap(),
                    "{id}: old hold\n{at}"
                );
            } else {
                let error = found.expect_err("done or refused, and there");
                assert_eq!(error, LoadError::Gone, "{id}\n{at}");
            }
        }
    }

    /// Accepts messages of `len` bytes until one is refused for want of room.
    pub fn fill(&mut self, len: usize) {
        while self.model.refused == 0 {
            let id = self.new_message(len);
            let order = self.submission(id, None).unwrap();
            self.commit(vec![order], &[Some(id)]);
            while self.core.tidy() {}
        }
    }

    /// Notes a new state of every message, durably, without any of them ending.
    pub fn note_all(&mut self, what: &str) {
        for id in self.live() {
            let state = self.add_state(id);
            let progress = self.model.messages[&id].states[state].clone().unwrap();
            let answers = self
                .core
                .commit(&mut vec![Order::Progress(id, progress), Order::Sync]);
            assert_eq!(answers, [Ok(())], "{what}: {id}");
        }
        self.firm();
    }

    /// Ends every message and makes that durable.
    pub fn drain(&mut self, what: &str) {
        for id in self.live() {
            self.model.messages.get_mut(&id).unwrap().done = true;
            self.commit(vec![Order::Done(id)], &[]);
            while self.core.tidy() {}
        }
        let answers = self.core.commit(&mut vec![Order::Sync]);
        assert_eq!(
            answers,
            [Ok(())],
            "{what}: cannot note what left\n{}",
            self.disk.story()
        );
        assert!(!self.core.is_unsettled(), "{what}");
        self.firm();
    }

    /// Accepts a message, syncs everything, and finds that it is so.
    pub fn finish(&mut self) {
        // A broken journal is not asked to work at once, only to work again.
        for _ in 0..3 {
            let id = self.new_message(10);
            let order = self.submission(id, None).unwrap();
            self.commit(vec![order, Order::Sync], &[Some(id), None]);
        }
        assert!(!self.core.is_unsettled(), "{}", self.disk.story());
    }
}

type Loaded = (Vec<u8>, Option<Progress>, Option<String>);

pub fn load(core: &Core<SimDisk>, disk: &SimDisk, id: MsgId) -> Result<Loaded, LoadError> {
    let mut fetch = Fetch::new(disk.clone());
    let (stored, bytes) = body::load(&mut fetch, core.index(), id, true)?;
    assert_eq!(stored.accept, meta(id));
    let bytes = match bytes {
        BodyBytes::Inline(bytes, start) => bytes[start..].to_vec(),
        BodyBytes::File => {
            let name = format!("{id}.body");
            let file = disk
                .open(Folder::Queue, &name, Access::Read)
                .map_err(|_| LoadError::Damaged("no body file"))?;
            let mut bytes = vec![0; stored.body_len as usize];
            let got = disk.read_at(&file, 0, &mut bytes).unwrap();
            assert_eq!(got, bytes.len());
            assert_eq!(Some(crc32fast::hash(&bytes)), stored.body_crc);
            bytes
        }
    };
    Ok((bytes, stored.progress, stored.hold))
}

/// As a new start of the program: with other salts.
pub fn again(options: &Options) -> Options {
    Options {
        seed: options.seed.wrapping_add(1_000_003),
        ..options.clone()
    }
}

impl Model {
    /// Opens what a cut left and compares it with what was promised. Ends with a journal that drains to nothing.
    pub fn check(&self, disk: &SimDisk, options: &Options, what: &str) {
        let (_, first) = self.look(disk, options, what);
        let (core, found) = self.look(disk, &again(options), what);
        assert_eq!(
            first, found,
            "{what}: a second recovery sees something else"
        );
        self.drain(core, disk, options, what, &found);
    }

    fn look(&self, disk: &SimDisk, options: &Options, what: &str) -> (Core<SimDisk>, Vec<MsgId>) {
        let opened = Core::open(disk.clone(), options.clone());
        let (core, recovery) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(
            recovery.damaged_bytes, 0,
            "{what}: a cut reads as damage: {recovery:?}"
        );
        assert!(recovery.missing.is_empty(), "{what}: {recovery:?}");
        let live: Vec<MsgId> = core
            .index()
            .lock()
            .unwrap()
            .entries()
            .map(|e| e.id)
            .collect();
        for id in &live {
            assert!(
                self.messages.contains_key(id),
                "{what}: {id} was never submitted"
            );
        }
        for (id, message) in &self.messages {
            let found = live.contains(id).then(|| {
                load(&core, disk, *id).unwrap_or_else(|error| panic!("{what}: {id}: {error}"))
            });
            self.check_one(*id, message, found.as_ref(), what);
        }
        for (id, accepted) in &recovery.claims {
            let message = &self.messages[id];
            let kept = message.claim && message.end == End::Acknowledged;
            assert!(
                *accepted || !kept,
                "{what}: claim {id} would be taken in twice"
            );
        }
        for (folder, name) in disk.names() {
            let id = name.split('.').next().unwrap().parse::<MsgId>();
            match name.rsplit('.').next().unwrap() {
                "seg" => assert_eq!(folder, Folder::Queue),
                "body" => assert!(live.contains(&id.unwrap()), "{what}: orphan {name}"),
                "claim" => {}
                "users-file" => {
                    let message = &self.messages[&id.unwrap()];
                    let kept = message.claim && message.end == End::Acknowledged;
                    assert!(!kept, "{what}: {name} would be taken in twice");
                }
                _ => panic!("{what}: left over: {name}"),
            }
        }
        assert!(core.next_id() > live.last().copied().unwrap_or(MsgId::from_number(0)));
        (core, live)
    }

    fn check_one(&self, id: MsgId, message: &Message, found: Option<&Loaded>, what: &str) {
        let Some((bytes, state, hold)) = found else {
            let lost = message.end == End::Acknowledged && !message.done && !self.reported(id);
            assert!(!lost, "{what}: {id} was acknowledged and is lost (G1)");
            return;
        };
        assert_eq!(bytes, &message.body, "{what}: {id} has another body");
        assert!(
            !message.firm_done,
            "{what}: {id} is back from the dead (G2)"
        );
        if let End::Refused(then) = message.end {
            let since = self.acknowledged - then;
            assert!(since == 0, "{what}: {id} was refused and is there");
        }
        let allowed = &message.states[message.firm_state..];
        assert!(
            allowed.contains(state) || self.was_joined(id, state),
            "{what}: {id} is at {state:?}, promised {allowed:?}"
        );
        let allowed = &message.holds[message.firm_hold..];
        assert!(
            allowed.contains(hold),
            "{what}: {id} hold {hold:?}, promised {allowed:?}"
        );
    }

    /// Whether a report that was not acknowledged, but may have been written, ended the message.
    fn reported(&self, id: MsgId) -> bool {
        let mut all = self.messages.values();
        all.any(|m| m.joined == Some((id, None)) && m.end != End::Acknowledged)
    }

    /// Whether the state went with a report that was refused, but may have been written.
    fn was_joined(&self, id: MsgId, state: &Option<Progress>) -> bool {
        let number = state.as_ref().map(|p| p.attempts as usize);
        let refused =
            |m: &&Message| matches!(m.end, End::Refused(then) if then == self.acknowledged);
        let mut reports = self.messages.values().filter(refused);
        reports.any(|m| m.joined == number.map(|n| (id, Some(n))))
    }

    /// Ends every message, and finds nothing left and little space taken.
    fn drain(
        &self,
        core: Core<SimDisk>,
        disk: &SimDisk,
        options: &Options,
        what: &str,
        live: &[MsgId],
    ) {
        for (id, message) in &self.messages {
            // A report is there exactly when what it reports on says so.
            if let Some((of, state)) = message.joined {
                let there = live.contains(id);
                let of_there = live.contains(&of);
                if there && state.is_none() {
                    assert!(
                        !of_there,
                        "{what}: {id} reports the end of {of}, which lives"
                    );
                }
                let mut others = live.iter().map(|other| self.messages[other].joined);
                let other = others.any(|joined| joined == Some((of, None)));
                let later = other || self.messages[&of].done || self.messages[&of].firm_done;
                if message.end != End::Acknowledged && !there && state.is_none() && !later {
                    assert!(of_there, "{what}: {of} ended without its report {id} (G2)");
                }
            }
        }
        let mut core = core;
        let mut orders: Vec<Order> = live.iter().map(|id| Order::Done(*id)).collect();
        orders.push(Order::Sync);
        let answers = core.commit(&mut orders);
        assert_eq!(answers, [Ok(())], "{what}: cannot drain\n{}", disk.story());
        while core.tidy() {}
        drop(core);
        let (core, recovery) = Core::open(disk.clone(), options.clone()).unwrap();
        assert_eq!(recovery.messages, 0, "{what}: drained and not empty");
        assert_eq!(core.index().lock().unwrap().live(), 0);
        let bodies = disk
            .names()
            .iter()
            .filter(|n| n.1.ends_with(".body"))
            .count();
        assert_eq!(bodies, 0, "{what}");
    }
}
