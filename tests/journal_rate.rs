//! How fast the journal is, next to the disk's own rate: `cargo test --release --test journal_rate -- --ignored --nocapture`.
//!
//! Alone, a message must cost one sync and little else; many at once must share. Not run by default: a rate is no
//! property of the code but of the machine it runs on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use mailroot::base::Wall;
use mailroot::disk::handle::Journal;
use mailroot::disk::handle::Paths;
use mailroot::disk::medium::Access;
use mailroot::disk::medium::Disk;
use mailroot::disk::medium::Folder;
use mailroot::disk::medium::Medium;
use mailroot::disk::order::Options;
use mailroot::disk::worker::Worker;
use mailroot::mail::Address;
use mailroot::mail::Envelope;
use mailroot::mail::Recipient;
use mailroot::queue::Accept;
use mailroot::queue::Door;
use mailroot::queue::Priority;

const SPAN: Duration = Duration::from_secs(3);

fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        now.tv_sec.try_into().unwrap(),
        now.tv_nsec.try_into().unwrap(),
    )
}

fn meta() -> Accept {
    Accept {
        arrived: Wall::from_secs(1_795_305_600),
        door: Door::Smtp,
        origin: "192.0.2.7 (nas)".to_owned(),
        priority: Priority::Normal,
        header: Some(200),
        envelope: Envelope {
            sender: Some(Address::parse("root@nas.lan").unwrap()),
            recipients: vec![Recipient::new(Address::parse("me@example.com").unwrap())],
            ..Envelope::default()
        },
    }
}

async fn one(journal: &Journal, body: &[u8]) -> mailroot::base::MsgId {
    let id = journal.next_id();
    let mut draft = journal.draft(id);
    draft.write(body).await.unwrap();
    journal.accept(meta(), draft, None).await.unwrap();
    id
}

/// Overwrites of a blank file, one sync each.
fn raw(home: &Path) -> f64 {
    let paths = Paths::of_home(home);
    let disk = Disk::open(&paths.queue, &paths.sorttemp, true).unwrap();
    let file = disk.open(Folder::Queue, "raw", Access::Create).unwrap();
    for at in 0..16 {
        disk.write_at(&file, at * 65_536, &[0; 65_536]).unwrap();
    }
    disk.sync(&file).unwrap();
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < SPAN / 10 {
        let at = u64::from(count) * 1200 % 1_000_000;
        disk.write_at(&file, at, &[7; 1200]).unwrap();
        disk.sync(&file).unwrap();
        count += 1;
    }
    disk.unlink(Folder::Queue, "raw").unwrap();
    f64::from(count) / start.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn rates() {
    let base = std::env::var_os("MAILROOT_BENCH_DIR");
    let base = base.unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let home = tempfile::tempdir_in(base).unwrap();
    let worker = Worker::start().unwrap();
    let paths = Paths::of_home(home.path());
    let journal = Journal::open(&paths, Options::default(), worker)
        .unwrap()
        .journal;
    let body = vec![b'x'; 1024];
    for tasks in [1_u32, 10, 50, 200] {
        let (start, before) = (Instant::now(), cpu());
        let executor = smol::LocalExecutor::new();
        let counts: Vec<_> = (0..tasks)
            .map(|_| {
                executor.spawn(async {
                    let mut count = 0_u32;
                    while start.elapsed() < SPAN {
                        let id = one(&journal, &body).await;
                        journal.begin(id);
                        journal.done(id);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let total = smol::block_on(executor.run(async {
            let mut total = 0;
            for count in counts {
                total += count.await;
            }
            total
        }));
        let rate = f64::from(total) / start.elapsed().as_secs_f64();
        let each = (cpu() - before).as_secs_f64() * 1e6 / f64::from(total);
        println!("{tasks:>4} senders: {rate:>8.0} accepts/s, {each:.1} us CPU each (both threads)");
    }
    // By turns, because other users of the disk change its rate from second to second.
    let (mut raws, mut alone) = (0.0, 0.0);
    for _ in 0..20 {
        raws += raw(home.path()) / 20.0;
        let (start, mut count) = (Instant::now(), 0_u32);
        smol::block_on(async {
            while start.elapsed() < SPAN / 10 {
                let id = one(&journal, &body).await;
                journal.done(id);
                count += 1;
            }
        });
        alone += f64::from(count) / start.elapsed().as_secs_f64() / 20.0;
    }
    let percent = alone / raws * 100.0;
    println!("alone {alone:.0}/s, raw write + fdatasync {raws:.0}/s: {percent:.0} %");

    let ids: Vec<_> = smol::block_on(async {
        let executor = smol::LocalExecutor::new();
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                executor.spawn(async {
                    let mut ids = Vec::new();
                    for _ in 0..500 {
                        ids.push(one(&journal, &body).await);
                    }
                    ids
                })
            })
            .collect();
        executor
            .run(async {
                let mut ids = Vec::new();
                for task in tasks {
                    ids.extend(task.await);
                }
                ids
            })
            .await
    });
    let (start, before) = (Instant::now(), cpu());
    smol::block_on(async {
        for id in ids.iter().take(20_000) {
            journal.load(*id).await.unwrap();
        }
    });
    let rate = 20_000.0 / start.elapsed().as_secs_f64();
    let each = (cpu() - before).as_secs_f64() * 1e6 / 20_000.0;
    println!("load: {rate:.0}/s, {each:.1} us CPU each (both threads)");
    smol::block_on(journal.close());
    drop(journal);

    let (start, before) = (Instant::now(), cpu());
    let opened = Journal::open(&paths, Options::default(), Worker::start().unwrap()).unwrap();
    let read = start.elapsed();
    let mut count = 0_u32;
    opened.journal.each(|_| count += 1);
    let shown = start.elapsed() - read;
    let used = cpu() - before;
    println!("{count} messages: read in {read:?}, shown in {shown:?}, {used:?} CPU");
    smol::block_on(opened.journal.close());
}
