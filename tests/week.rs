//! A week in the life of a box, in virtual time: mail at all hours, a link that is down every night and for a while now
//! and then, a slow peer, and a power cut every few minutes (promises G1, G2, G4).
//!
//! The real journal runs on the simulated disk, the real schedule, retry waits and health of the way decide when to try.
//! Nothing that was acknowledged may be lost, space must stay bounded, and in the end the queue is empty.
//! `MAILROOT_LONG=1` lives more weeks.

#![cfg(test)]
#![allow(dead_code, reason = "the crash matrix uses the rest of what is shared")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use mailroot::base::MsgId;
use mailroot::base::Tick;
use mailroot::disk::body;
use mailroot::disk::body::Part;
use mailroot::disk::journal::Core;
use mailroot::disk::order::Body;
use mailroot::disk::order::Options;
use mailroot::disk::order::Order;
use mailroot::disk::order::Submission;
use mailroot::disk::segment::Fetch;
use mailroot::mail::Reason;
use mailroot::mail::Status;
use mailroot::policy::health::Health;
use mailroot::policy::retry::Waits;
use mailroot::queue::Progress;
use mailroot::queue::Stage;
use mailroot::queue::schedule::Schedule;
use mailroot::queue::schedule::Waiting;

use support::dice::Dice;
use support::model::meta;
use support::sim::CUTS;
use support::sim::Fault;
use support::sim::SimDisk;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const SEGMENT: u32 = 32 * 1024;

/// What is due next, in order of importance when several are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Cut,
    /// The peer has said yes to what is being sent.
    Yes,
    Mail,
    Attempt,
    /// Two idle seconds have passed.
    Settle,
}

#[derive(Default)]
struct Figures {
    mails: u64,
    acknowledged: u64,
    cuts: u64,
    syncs: u64,
    written: u64,
    duplicates: u64,
    unasked: u64,
    poisoned: u64,
    most_queued: usize,
    most_live: u64,
    most_disk: u64,
    /// Files and bytes of each kind then.
    at_most: BTreeMap<String, (usize, usize)>,
    probes: u64,
}

struct Box_ {
    disk: SimDisk,
    core: Core<SimDisk>,
    next_id: MsgId,
    schedule: Schedule<()>,
    health: Health,
    waits: Waits,
    now: u64,
    dice: Dice,
    mail_at: u64,
    cut_at: u64,
    settle_at: u64,
    /// What is being sent, and when the peer will have it.
    sending: Option<(MsgId, u64)>,
    outage_until: u64,
    /// Number of the mail by its id, in this life of the box.
    acked: BTreeMap<u64, u32>,
    figures: Figures,
}

fn options(seed: u64) -> Options {
    Options {
        segment: SEGMENT,
        inline: 4000,
        seed,
        ..Options::default()
    }
}

/// What a mail is recognised by at the peer.
fn text(number: u64, len: usize) -> Vec<u8> {
    format!("mail {number:08} ")
        .bytes()
        .cycle()
        .take(len.max(16))
        .collect()
}

impl Box_ {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let (core, _) = Core::open(disk.clone(), options(seed)).unwrap();
        Self {
            next_id: core.next_id(),
            disk,
            core,
            schedule: Schedule::default(),
            health: Health::default(),
            waits: Waits::default(),
            now: 0,
            dice: Dice::new(seed),
            mail_at: MINUTE,
            cut_at: 5 * MINUTE,
            settle_at: u64::MAX,
            sending: None,
            outage_until: 0,
            acked: BTreeMap::new(),
            figures: Figures::default(),
        }
    }

    fn online(&self) -> bool {
        let hour = self.now % DAY / HOUR;
        (6..22).contains(&hour) && self.now >= self.outage_until
    }

    fn next(&self) -> (u64, Next) {
        let due = self.schedule.due(()).filter(|_| self.sending.is_none());
        let attempt = due.map_or(u64::MAX, |due| {
            let probe = self.health.wakes(Tick::from_millis(self.now));
            due.max(probe.unwrap_or_default()).as_millis()
        });
        [
            (self.cut_at, Next::Cut),
            (self.sending.map_or(u64::MAX, |s| s.1), Next::Yes),
            (self.mail_at, Next::Mail),
            (attempt, Next::Attempt),
            (self.settle_at, Next::Settle),
        ]
        .into_iter()
        .min()
        .unwrap()
    }

    /// Writes down; empty when the power went meanwhile, for then nobody hears an answer.
    fn commit(&mut self, mut orders: Vec<Order>) -> Vec<bool> {
        let answers = self.core.commit(&mut orders);
        while !self.disk.is_dead() && self.core.tidy() {}
        self.settle_at = self.now + 2000;
        if self.disk.is_dead() {
            return Vec::new();
        }
        answers.iter().map(Result::is_ok).collect()
    }

    fn wait(&mut self, id: MsgId, due: u64) {
        let expires = Tick::from_millis(u64::MAX);
        let due = Tick::from_millis(due);
        self.schedule.add((), Waiting { due, id, expires });
    }

    /// One to five mails that come together, one in twelve too large for the journal.
    fn mail(&mut self) {
        let day = (7..19).contains(&(self.now % DAY / HOUR));
        self.mail_at = self.now + self.dice.roll(if day { 4 } else { 40 } * MINUTE) + 1;
        let mut orders = Vec::new();
        let mut coming = Vec::new();
        for _ in 0..=self.dice.roll(5) {
            let number = self.figures.mails;
            self.figures.mails += 1;
            let id = self.next_id;
            self.next_id = id.next();
            let body = if self.dice.roll(12) == 0 {
                let bytes = text(number, 4001 + self.dice.roll(9000) as usize);
                let part = Part::create(self.disk.clone(), id).and_then(|mut part| {
                    part.write(&bytes)?;
                    part.finish()
                });
                // Refused: the sender keeps it.
                let Ok((len, crc)) = part else { continue };
                Body::File { len, crc }
            } else {
                Body::Inline(text(number, 16 + self.dice.roll(2500) as usize))
            };
            coming.push((id, number));
            orders.push(Order::Accept(Box::new(Submission {
                id,
                accept: meta(id),
                body,
                joined: None,
            })));
        }
        let yes = self.commit(orders);
        for ((id, number), yes) in coming.into_iter().zip(yes) {
            assert!(yes, "refused although the disk is large and well");
            self.figures.acknowledged += 1;
            self.acked.insert(number, 0);
            self.wait(id, self.now);
        }
    }

    fn attempt(&mut self) {
        let now = Tick::from_millis(self.now);
        assert!(self.health.allowed(now, 1, 1) > 0);
        if !self.online() {
            // No connection: no message pays for it, and nothing is written.
            self.figures.probes += 1;
            let chance = self.dice.roll(u64::from(u32::MAX)) as u32;
            let why = "no network".to_owned();
            self.health.on_failure(now, &self.waits, chance, false, why);
            return;
        }
        self.health.on_success(now);
        let Some(waiting) = self.schedule.take((), now) else {
            return;
        };
        let id = waiting.id;
        self.commit(vec![Order::Begin(id)]);
        if self.disk.is_dead() {
            return;
        }
        if self.dice.roll(20) == 0 {
            // Greylisted.
            let mut progress = Progress::new(1);
            progress.attempts = 1;
            let reason = Reason::ours(Status::new(4, 7, 1), "come back later");
            progress.set(0, Stage::Waiting, reason);
            progress.wait = Duration::from_millis(10 * MINUTE);
            self.commit(vec![Order::Progress(id, progress)]);
            self.wait(id, self.now + 10 * MINUTE);
            return;
        }
        self.sending = Some((id, self.now + 50 + self.dice.roll(4000)));
    }

    /// The peer has the message, whatever becomes of our note.
    fn yes(&mut self) {
        let (id, _) = self.sending.take().unwrap();
        let body = self.body_of(id);
        let number = String::from_utf8_lossy(&body[5..13])
            .parse::<u64>()
            .unwrap();
        assert_eq!(body, text(number, body.len()), "{id} arrives damaged");
        match self.acked.get_mut(&number) {
            Some(arrived) => {
                *arrived += 1;
                self.figures.duplicates += u64::from(*arrived > 1);
            }
            None => self.figures.unasked += 1,
        }
        self.commit(vec![Order::Done(id)]);
    }

    fn body_of(&self, id: MsgId) -> Vec<u8> {
        let loaded = self
            .disk
            .quietly(|| support::model::load(&self.core, &self.disk, id));
        loaded
            .unwrap_or_else(|error| panic!("{id}: {error}\n{}", self.disk.story()))
            .0
    }

    /// The power goes, half of the time in the middle of what comes next, and the box starts again.
    fn cut(&mut self) {
        self.cut_at = self.now + self.dice.roll(8 * MINUTE) + 1000;
        let calls = self.disk.calls();
        if self.dice.roll(2) == 0 {
            let within = self.dice.roll(12) + 1;
            self.disk.set_fault(Fault::DieAt(calls + within));
            // Mail comes, and that is what the power goes in.
            for _ in 0..4 {
                if !self.disk.is_dead() {
                    self.mail();
                }
            }
            self.disk.set_fault(Fault::None);
        }
        self.figures.cuts += 1;
        let (syncs, written) = self.disk.wear();
        self.figures.syncs += syncs;
        self.figures.written += written;
        let cut = CUTS[self.dice.roll(CUTS.len() as u64) as usize];
        self.disk = self.disk.cut(cut, self.dice.roll(u64::MAX));
        let seed = self.figures.cuts * 7919;
        let (core, found) = Core::open(self.disk.clone(), options(seed)).unwrap();
        assert_eq!(
            (found.damaged_bytes, found.missing.len()),
            (0, 0),
            "{cut:?}"
        );
        self.core = core;
        self.next_id = self.core.next_id();
        self.sending = None;
        self.settle_at = u64::MAX;
        self.schedule.clear();
        self.health = Health::default();
        // As the service does it: everything is due at once, what is held waits for its operator, who is quick here.
        let all: Vec<(MsgId, bool)> = {
            let index = self.core.index().lock().unwrap();
            index
                .entries()
                .map(|e| (e.id, index.held(e.id).is_some()))
                .collect()
        };
        let mut held = Vec::new();
        for (id, is_held) in all {
            let mut fetch = Fetch::new(self.disk.clone());
            let (stored, _) = body::load(&mut fetch, self.core.index(), id, false).unwrap();
            if is_held || stored.hold.is_some() {
                held.push(Order::Release(id));
            }
            self.wait(id, self.now);
        }
        self.figures.poisoned += held.len() as u64;
        if !held.is_empty() {
            self.commit(held);
        }
    }

    fn look(&mut self) {
        let index = self.core.index().lock().unwrap();
        let (messages, live) = (index.messages(), index.live());
        drop(index);
        let used = self.disk.used();
        let figures = &mut self.figures;
        figures.most_queued = figures.most_queued.max(messages);
        figures.most_live = figures.most_live.max(live);
        if used > figures.most_disk {
            figures.most_disk = used;
            let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
            for (folder, name) in self.disk.names() {
                let kind = kinds.entry(name.rsplit('.').next().unwrap().to_owned());
                let kind = kind.or_default();
                kind.0 += 1;
                kind.1 += self.disk.bytes_of(folder, &name).len();
            }
            figures.at_most = kinds;
        }
    }

    /// Lives until a time; with the power on for good when `peaceful`.
    fn live(&mut self, until: u64, peaceful: bool) {
        if peaceful {
            self.cut_at = u64::MAX;
            self.mail_at = u64::MAX;
        }
        loop {
            let (at, what) = self.next();
            if at >= until {
                self.now = until;
                return;
            }
            self.now = self.now.max(at);
            if !peaceful && self.dice.roll(400) == 0 {
                self.outage_until = self.now + self.dice.roll(50 * MINUTE);
            }
            match what {
                Next::Cut => self.cut(),
                Next::Yes => self.yes(),
                Next::Mail => self.mail(),
                Next::Attempt => self.attempt(),
                Next::Settle => {
                    // As the writer does it: then there is time to tidy up, which asks for the next one.
                    self.core.settle();
                    while self.core.tidy() {}
                    let more = self.core.is_unsettled();
                    self.settle_at = if more { self.now + 2000 } else { u64::MAX };
                }
            }
            self.look();
        }
    }
}

fn week(seed: u64) {
    let mut box_ = Box_::new(seed);
    box_.live(7 * DAY, false);
    // The eighth day is quiet: what waits goes.
    box_.live(8 * DAY, true);
    let lost: Vec<u64> = box_
        .acked
        .iter()
        .filter(|a| *a.1 == 0)
        .map(|a| *a.0)
        .collect();
    assert!(
        lost.is_empty(),
        "seed {seed}: acknowledged and lost: {lost:?}"
    );
    let left = box_.core.index().lock().unwrap().messages();
    assert_eq!(left, 0, "seed {seed}: still queued");
    let (syncs, written) = box_.disk.wear();
    let figures = &box_.figures;
    let (syncs, written) = (figures.syncs + syncs, figures.written + written);
    println!(
        "a week, seed {seed}: {} mails, {} acknowledged, {} power cuts; 0 lost, {} twice, {} arrived without a yes, \
         {} held as poison and released; {} probes of a dead way",
        figures.mails,
        figures.acknowledged,
        figures.cuts,
        figures.duplicates,
        figures.unasked,
        figures.poisoned,
        figures.probes
    );
    println!(
        "    {:.2} syncs and {:.0} bytes written a mail; at most {} queued with {} KiB of records, on {} KiB of disk",
        syncs as f64 / figures.mails as f64,
        written as f64 / figures.mails as f64,
        figures.most_queued,
        figures.most_live / 1024,
        figures.most_disk / 1024
    );
    assert!(
        figures.cuts > 2000 && figures.acknowledged > 5000,
        "too quiet a week"
    );
    println!("    then: {:?} (kind: files, bytes)", figures.at_most);
    // Twice what lives, what is in use without worth of copying, spares and the reserve; and what lives that ended
    // before they could tidy up have left, for each start begins a segment. Large bodies besides.
    let bodies = figures.at_most.get("body").map_or(0, |kind| kind.1 as u64);
    let bound = 2 * figures.most_live + 20 * u64::from(SEGMENT);
    let most = figures.most_disk - bodies;
    assert!(most < bound, "{most} bytes of segments, over {bound}");
    let allowed = figures.acknowledged / 20;
    assert!(
        figures.duplicates < allowed,
        "{} came twice",
        figures.duplicates
    );
}

#[test]
fn a_week_of_power_cuts_and_offline_nights_loses_nothing() {
    let weeks = if std::env::var_os("MAILROOT_LONG").is_some() {
        25
    } else {
        2
    };
    for seed in 1..=weeks {
        week(seed);
    }
}
