//! What reclaiming space costs: bytes written for each byte accepted under the worst mix, and how much is done in one
//! step between two batches, which is how long an accept can wait behind it (promises G4, G6).

#![cfg(test)]

mod support;

use mailroot::base::MsgId;
use mailroot::base::limits;
use mailroot::disk::journal::Core;
use mailroot::disk::order::Body;
use mailroot::disk::order::Options;
use mailroot::disk::order::Order;
use mailroot::disk::order::Submission;

use support::model::meta;
use support::sim::SimDisk;

const SEGMENT: u32 = 128 * 1024;
const BODY: usize = 1800;

struct Churn {
    disk: SimDisk,
    core: Core<SimDisk>,
    next: MsgId,
    /// The most that one step of tidying wrote.
    longest_step: u64,
    most_disk: u64,
}

impl Churn {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let options = Options {
            segment: SEGMENT,
            seed: 3,
            ..Options::default()
        };
        let (core, _) = Core::open(disk.clone(), options).unwrap();
        Self {
            next: core.next_id(),
            disk,
            core,
            longest_step: 0,
            most_disk: 0,
        }
    }

    fn accept(&mut self) -> MsgId {
        let id = self.next;
        self.next = id.next();
        let submission = Submission {
            id,
            accept: meta(id),
            body: Body::Inline(vec![b'x'; BODY]),
            joined: None,
        };
        let order = Order::Accept(Box::new(submission));
        assert_eq!(self.core.commit(&mut vec![order]), [Ok(())]);
        self.tidy();
        id
    }

    fn done(&mut self, id: MsgId) {
        self.core.commit(&mut vec![Order::Done(id)]);
        self.tidy();
    }

    fn tidy(&mut self) {
        loop {
            let before = self.disk.wear().1;
            let more = self.core.tidy();
            let step = self.disk.wear().1 - before;
            // A spare that is made anew is written once in the life of a queue that grows, and counts apart.
            if step < u64::from(SEGMENT) {
                self.longest_step = self.longest_step.max(step);
            }
            self.most_disk = self.most_disk.max(self.disk.used());
            if !more {
                return;
            }
        }
    }
}

/// Some messages stay, spread evenly between those that come and go. The more stay, the more each segment that is to
/// be freed still holds.
#[test]
fn what_stays_at_most_doubles_what_is_written_and_no_step_is_long() {
    let mut alone = 0.0;
    for stay_of_ten in [0, 1, 3, 5, 7, 9] {
        let mut churn = Churn::new();
        let mut staying = Vec::new();
        let mut round = 0;
        while staying.len() < 600 && round < 600 {
            let id = churn.accept();
            if round % 10 < stay_of_ten {
                staying.push(id);
            } else {
                churn.done(id);
            }
            round += 1;
        }
        // From here on as many come as go: what stays is replaced one by one, the oldest last of all.
        let (_, before) = churn.disk.wear();
        let rounds = 3000;
        for round in 0..rounds {
            let id = churn.accept();
            if round % 10 < stay_of_ten && !staying.is_empty() {
                let out = staying.swap_remove((round * 7919) % staying.len());
                churn.done(out);
                staying.push(id);
            } else {
                churn.done(id);
            }
        }
        let written = (churn.disk.wear().1 - before) as f64 / f64::from(rounds as u32);
        if stay_of_ten == 0 {
            alone = written;
        }
        let ratio = written / alone;
        let live = churn.core.index().lock().unwrap().live();
        println!(
            "{stay_of_ten} of 10 stay ({} KiB live): {written:.0} bytes written a message of {BODY}, {ratio:.2} times; \
             at most {} KiB of disk and {} KiB in one step",
            live / 1024,
            churn.most_disk / 1024,
            churn.longest_step / 1024
        );
        assert!(ratio < 2.2, "write amplification {ratio}");
        let step = (limits::RECLAIM_STEP + limits::INLINE_BODY) as u64;
        assert!(
            churn.longest_step <= step,
            "{} in one step",
            churn.longest_step
        );
        // Twice what lives, the segments below which nothing is copied, and the spares and the reserve.
        let bound = 2 * live + 9 * u64::from(SEGMENT);
        assert!(churn.most_disk <= bound, "{} over {bound}", churn.most_disk);
    }
}
