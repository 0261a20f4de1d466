//! The journal on a disk that fails (promises G1 and G2; PROMISES.md names the tests).
//!
//! The real journal runs on a simulated disk. The power is cut at every call in turn, and any part of what was not
//! synced is kept; or one call fails and the rest work; or the disk is full. After each, what was acknowledged must
//! be there once, whole, and in a state that was promised. `MAILROOT_LONG=1` tries more.

#![cfg(test)]

mod support;

use mailroot::base::MsgId;
use mailroot::disk::journal::Core;
use mailroot::disk::medium::Access;
use mailroot::disk::medium::Folder;
use mailroot::disk::medium::Medium;
use mailroot::disk::order::Options;
use mailroot::disk::order::Order;
use mailroot::queue::record::Header;

use support::model::Run;
use support::model::again;
use support::model::options;
use support::sim::CUTS;
use support::sim::Cut;
use support::sim::Fault;
use support::sim::SimDisk;

fn long() -> bool {
    std::env::var_os("MAILROOT_LONG").is_some()
}

/// How many workloads, by the usual number and by that of the long run. `MAILROOT_SHARE` takes a part of the usual ones: an
/// emulated processor is ten times as slow, and what it can do wrong shows in any of them.
fn seeds(at_most: u64, usual: u64) -> u64 {
    let share = std::env::var("MAILROOT_SHARE").map(|part| part.parse().unwrap());
    match share {
        _ if long() => at_most,
        Ok(part) => usual.div_ceil(part),
        Err(_) => usual,
    }
}

/// Runs the workload until the power goes or it ends.
fn run(seed: u64, steps: u64, fault: Fault) -> Option<Run> {
    let disk = SimDisk::new(seed);
    disk.set_fault(fault);
    let mut run = Run::new(disk, options(), seed)?;
    for _ in 0..steps {
        if run.disk.is_dead() {
            break;
        }
        run.step();
    }
    Some(run)
}

#[test]
fn promises_hold_at_every_cut() {
    let seeds = seeds(40, 3);
    let steps = 45;
    let mut states = 0;
    for seed in 1..=seeds {
        let whole = run(seed, steps, Fault::None).unwrap();
        let calls = whole.disk.calls();
        whole.check_alive();
        for at in 1..=calls {
            let Some(run) = run(seed, steps, Fault::DieAt(at)) else {
                continue;
            };
            for (number, cut) in CUTS.iter().enumerate() {
                let disk = run.disk.cut(*cut, seed ^ at << 8 ^ (number as u64) << 32);
                let what = format!("seed {seed}, cut at {at} of {calls}, {cut:?}");
                run.model.check(&disk, &options(), &what);
                states += 1;
            }
        }
    }
    println!("{states} states after a power cut");
}

/// The same in the steady state, where segments die, are forgotten, and are overwritten.
#[test]
fn promises_hold_while_segments_are_used_again() {
    let mut states = 0;
    for seed in 1..=seeds(20, 2) {
        let play = |fault| {
            let disk = SimDisk::new(seed);
            disk.set_fault(fault);
            let mut run = Run::new(disk, options(), seed).unwrap();
            run.brisk = true;
            for _ in 0..90 {
                if !run.disk.is_dead() {
                    run.step();
                }
            }
            run
        };
        let calls = play(Fault::None).disk.calls();
        for at in (calls / 3..=calls).step_by(if long() { 1 } else { 2 }) {
            let run = play(Fault::DieAt(at));
            for (number, cut) in CUTS.iter().enumerate() {
                let disk = run.disk.cut(*cut, seed ^ at << 8 ^ (number as u64) << 32);
                let what = format!("seed {seed}, brisk, cut at {at} of {calls}, {cut:?}");
                run.model.check(&disk, &options(), &what);
                states += 1;
            }
        }
    }
    println!("{states} states while segments are used again");
}

/// Promise G1 again, for the recovery itself: it only ever removes left-overs and syncs.
#[test]
fn a_cut_during_recovery_changes_nothing() {
    let mut states = 0;
    for seed in 1..=seeds(20, 3) {
        let calls = run(seed, 30, Fault::None).unwrap().disk.calls();
        for at in (7..=calls).step_by(17) {
            let Some(run) = run(seed, 30, Fault::DieAt(at)) else {
                continue;
            };
            let left = run.disk.cut(Cut::Some(60), at);
            let probe = left.killed();
            Core::open(probe.clone(), options()).unwrap();
            for second in 1..=probe.calls() {
                let disk = left.killed();
                disk.set_fault(Fault::DieAt(second));
                assert!(Core::open(disk.clone(), options()).is_err() || disk.is_dead());
                let disk = disk.cut(Cut::Some(50), second);
                let what = format!("seed {seed}, cut at {at}, again at {second}");
                run.model.check(&disk, &options(), &what);
                states += 1;
            }
        }
    }
    println!("{states} states after a second power cut");
}

/// Promise G2: what the kernel has, a kill does not cost; not even progress.
#[test]
fn a_kill_loses_nothing_and_a_cut_after_it_nothing_that_was_acknowledged() {
    let mut states = 0;
    for seed in 1..=seeds(20, 3) {
        let calls = run(seed, 30, Fault::None).unwrap().disk.calls();
        for at in (1..=calls).step_by(5) {
            let Some(mut run) = run(seed, 30, Fault::DieAt(at)) else {
                continue;
            };
            let disk = run.disk.killed();
            run.model
                .check(&disk.cut(Cut::Everything, 1), &options(), "all kept");
            // Back up on what the page cache shows, and cut then: what was found may not go again.
            let Ok((core, recovery)) = Core::open(disk.clone(), again(&options())) else {
                panic!("seed {seed}, killed at {at}");
            };
            let found: Vec<MsgId> = ids(&core);
            run.disk = disk;
            for cut in [Cut::Nothing, Cut::Some(50)] {
                let disk = run.disk.cut(cut, at);
                let (core, after) = Core::open(disk.clone(), options()).unwrap();
                assert_eq!(ids(&core), found, "seed {seed}, killed at {at}, {cut:?}");
                for claim in &after.claims {
                    let before = recovery.claims.iter().find(|c| c.0 == claim.0);
                    assert!(before.is_none_or(|before| before == claim), "{claim:?}");
                }
                run.model.check(&disk, &options(), "killed, then cut");
                states += 1;
            }
        }
    }
    println!("{states} states after a kill");
}

fn ids(core: &Core<SimDisk>) -> Vec<MsgId> {
    core.index()
        .lock()
        .unwrap()
        .entries()
        .map(|e| e.id)
        .collect()
}

/// Promise G1 with a disk that hiccups: the latch. A failed sync is not made good by the next one that succeeds.
#[test]
fn one_failing_call_costs_no_acknowledged_message() {
    let mut states = 0;
    for seed in 1..=seeds(30, 2) {
        let calls = run(seed, 40, Fault::None).unwrap().disk.calls();
        for at in 1..=calls {
            let disk = SimDisk::new(seed);
            disk.set_fault(Fault::FailAt(at));
            let run = Run::new(disk.clone(), options(), seed).or_else(|| {
                // It failed to open, said so, and opens the next time.
                Run::new(disk, options(), seed)
            });
            let mut run = run.unwrap();
            if at % 2 == 0 {
                run.untidy_from = at;
            }
            for step in 0..40 {
                run.step();
                if step % 8 == 0 {
                    run.check_alive();
                }
            }
            for (number, cut) in [Cut::Nothing, Cut::Some(50), Cut::Everything]
                .iter()
                .enumerate()
            {
                let disk = run.disk.cut(*cut, at);
                let what =
                    format!("seed {seed}, call {at} of {calls} failed, {number} then {cut:?}");
                run.model.check(&disk, &options(), &what);
                states += 1;
            }
            run.finish();
            run.check_alive();
            let disk = run.disk.cut(Cut::Nothing, at);
            let what = format!("seed {seed}, call {at} of {calls} failed, all settled");
            run.model.check(&disk, &options(), &what);
            states += 1;
        }
    }
    println!("{states} states after a failed call");
}

/// What a failed sync should have made durable is not believed, not even when the page cache shows it: the originals
/// of what was copied forward stay until copies were synced.
#[test]
fn a_failed_sync_makes_no_copy_true() {
    let mut states = 0;
    for seed in 1..=seeds(30, 3) {
        for at in run(seed, 90, Fault::None).unwrap().disk.syncs() {
            let mut run = Run::new(SimDisk::new(seed), options(), seed).unwrap();
            run.disk.set_fault(Fault::FailAt(at));
            run.untidy_from = at;
            for _ in 0..90 {
                run.step();
            }
            let what = format!("seed {seed}, sync {at} failed, long ago");
            let disk = run.disk.cut(Cut::Nothing, at);
            run.model.check(&disk, &options(), &what);
            states += 1;
        }
    }
    println!("{states} states after a failed sync");
}

/// The same with the power going soon after the failure, while the journal mends itself.
#[test]
fn a_cut_after_a_failing_call_costs_no_acknowledged_message() {
    let mut states = 0;
    for seed in 1..=seeds(30, 3) {
        let calls = run(seed, 30, Fault::None).unwrap().disk.calls();
        for at in 20..=calls {
            for later in [1, 2, 3, 5, 8, 13, 21] {
                let Some(run) = run(seed, 30, Fault::FailThenDie(at, at + later)) else {
                    continue;
                };
                for cut in [Cut::Nothing, Cut::Everything, Cut::Torn] {
                    let disk = run.disk.cut(cut, at + later);
                    let what = format!("seed {seed}, {at} failed, cut at +{later}, {cut:?}");
                    run.model.check(&disk, &options(), &what);
                    states += 1;
                }
            }
        }
    }
    println!("{states} states after a failed call and a cut");
}

/// Every call in turn finds the disk full, and every sync from some call on fails for ever: nothing that was
/// acknowledged is lost, and what comes after is refused, not promised.
#[test]
fn a_disk_that_is_full_once_or_never_syncs_again_costs_no_acknowledged_message() {
    let mut states = 0;
    for seed in 1..=seeds(20, 2) {
        let calls = run(seed, 40, Fault::None).unwrap().disk.calls();
        for at in (1..=calls).step_by(if long() { 1 } else { 2 }) {
            for fault in [Fault::FullAt(at), Fault::NoSyncFrom(at)] {
                let disk = SimDisk::new(seed);
                let Some(mut run) = Run::new(disk, options(), seed) else {
                    continue;
                };
                run.disk.set_fault(fault);
                for _ in 0..40 {
                    run.step();
                }
                run.check_alive();
                let acknowledged = run.model.acknowledged;
                if fault == Fault::NoSyncFrom(at) {
                    for _ in 0..10 {
                        run.step();
                    }
                    // Where a sync has failed nothing is believed again without one.
                    let broken = run.core.broken().is_some();
                    let more = run.model.acknowledged - acknowledged;
                    assert!(!broken || more == 0, "seed {seed}, {fault:?}: {more} more");
                }
                for cut in [Cut::Nothing, Cut::Pages, Cut::Everything] {
                    let disk = run.disk.cut(cut, at);
                    let what = format!("seed {seed}, {fault:?} of {calls}, then {cut:?}");
                    run.model.check(&disk, &options(), &what);
                    states += 1;
                }
                run.disk.set_fault(Fault::None);
                run.finish();
                run.check_alive();
                let what = format!("seed {seed}, {fault:?} of {calls}, all settled");
                run.model
                    .check(&run.disk.cut(Cut::Nothing, at), &options(), &what);
                states += 1;
            }
        }
    }
    println!("{states} states of a disk that is full once or never syncs again");
}

/// Many calls in a row fail: everything is refused in between, and nothing of before or after is lost.
#[test]
fn a_disk_that_is_gone_for_a_while_costs_no_acknowledged_message() {
    for seed in 1..=seeds(60, 12) {
        for from in (5..300).step_by(23) {
            let disk = SimDisk::new(seed);
            let mut run = Run::new(disk, options(), seed).unwrap();
            run.disk.set_fault(Fault::FailFrom(from, from + 60));
            for _ in 0..50 {
                run.step();
            }
            run.check_alive();
            run.disk.set_fault(Fault::None);
            run.finish();
            run.check_alive();
            let what = format!("seed {seed}, gone from {from}");
            run.model
                .check(&run.disk.cut(Cut::Nothing, from), &options(), &what);
        }
    }
}

/// The same with the power going while the journal catches up with what it had to keep in memory.
#[test]
fn a_cut_while_catching_up_costs_no_acknowledged_message() {
    let mut states = 0;
    for seed in 1..=seeds(20, 3) {
        for from in (60..260).step_by(if long() { 7 } else { 41 }) {
            for later in 1..30 {
                let fault = Fault::FailFromThenDie(from, from + 60, from + 60 + later);
                let Some(run) = run(seed, 120, fault) else {
                    continue;
                };
                for cut in [Cut::Nothing, Cut::Everything, Cut::Prefix] {
                    let disk = run.disk.cut(cut, from + later);
                    let what = format!("seed {seed}, gone from {from}, cut {later} later, {cut:?}");
                    run.model.check(&disk, &options(), &what);
                    states += 1;
                }
            }
        }
    }
    println!("{states} states while catching up");
}

/// An id that stands in a file name is not given again, whether or not a record speaks of it: else the claim of one
/// message would be taken for another's, and unlinked.
#[test]
fn an_id_in_a_file_name_is_not_given_again() {
    for (folder, name) in [
        (Folder::Sorttemp, "9.claim"),
        (Folder::Sorttemp, "9.part"),
        (Folder::Queue, "9.body"),
    ] {
        let disk = SimDisk::new(1);
        disk.open(folder, name, Access::Create).unwrap();
        let (core, _) = Core::open(disk, options()).unwrap();
        assert_eq!(core.next_id(), MsgId::from_number(10), "{name}");
    }
}

/// Promise G4: mail is refused with a reason, and a full disk can still note what left, until it is empty.
#[test]
fn a_full_disk_refuses_mail_and_drains() {
    let mut states = 0;
    for seed in 1..=seeds(40, 3) {
        let step = if long() { 1 } else { 3 };
        for capacity in (14..72).step_by(step).map(|kib| kib * 1024) {
            for floor in [0, 8192] {
                let disk = SimDisk::new(seed);
                disk.set_capacity(capacity);
                let options = Options {
                    free_floor: floor,
                    ..options()
                };
                let mut run = Run::new(disk, options.clone(), seed).unwrap();
                for _ in 0..60 {
                    run.step();
                }
                let what = format!("seed {seed}, {capacity} bytes, floor {floor}");
                run.check_alive();
                run.model
                    .check(&run.disk.cut(Cut::Some(50), seed), &options, &what);
                run.drain(&what);
                run.finish();
                run.check_alive();
                run.model
                    .check(&run.disk.cut(Cut::Nothing, seed), &options, &what);
                states += 2;
            }
        }
    }
    println!("{states} states on a full disk");
}

/// A medium with some history on it, everything settled.
fn used_medium(seed: u64) -> Run {
    let mut run = run(seed, 60, Fault::None).unwrap();
    run.finish();
    run.check_alive();
    run
}

/// Promise G2 under rot: one flipped bit costs at most what was written in that place, and that is reported; a header
/// costs nothing. Only in the last batch of all can it not be told from a torn tail.
#[test]
fn a_flipped_bit_costs_one_record_and_is_reported() {
    let mut states = 0;
    for seed in 1..=seeds(10, 2) {
        let run = used_medium(seed);
        let live = ids(&run.core);
        let segments: Vec<String> = run.disk.names().into_iter().map(|n| n.1).collect();
        for name in segments.iter().filter(|name| name.ends_with(".seg")) {
            let len = run.disk.bytes_of(Folder::Queue, name).len();
            for at in (0..len).step_by(if long() { 1 } else { 11 }) {
                let disk = run.disk.killed();
                disk.flip(Folder::Queue, name, at, (at % 8) as u8);
                let (core, recovery) = Core::open(disk.clone(), again(&options())).unwrap();
                let left = ids(&core);
                let lost = live.iter().filter(|id| !left.contains(id)).count();
                let back = left.iter().filter(|id| !live.contains(id)).count();
                let what = format!("seed {seed}, {name} byte {at}: {recovery:?}");
                if at < 512 || at >= len - 512 {
                    assert_eq!((lost, back, recovery.damaged_bytes), (0, 0, 0), "{what}");
                }
                // A lost Done brings its message back; a lost report goes with what it reported.
                assert!(lost <= 1 && back <= 1, "{what}: {lost} lost, {back} back");
                if recovery.damaged_bytes == 0 && lost + back > 0 {
                    assert_eq!(
                        live.last(),
                        live.iter().find(|id| !left.contains(id)),
                        "{what}"
                    );
                }
                states += 1;
            }
        }
    }
    println!("{states} states with a flipped bit");
}

#[test]
fn a_missing_or_doubled_segment_costs_no_other() {
    let run = used_medium(3);
    let live = ids(&run.core);
    let names: Vec<String> = run.disk.names().into_iter().map(|n| n.1).collect();
    for name in names.iter().filter(|name| name.ends_with(".seg")) {
        let disk = run.disk.killed();
        let bytes = disk.bytes_of(Folder::Queue, name);
        let copy = disk
            .open(Folder::Queue, "journal-77.seg", Access::Create)
            .unwrap();
        disk.write_at(&copy, 0, &bytes).unwrap();
        let (core, recovery) = Core::open(disk, again(&options())).unwrap();
        assert_eq!(ids(&core), live, "{name} twice");
        assert_eq!(recovery.damaged_bytes, 0, "{name} twice");

        let disk = run.disk.killed();
        disk.unlink(Folder::Queue, name).unwrap();
        let (mut core, recovery) = Core::open(disk.clone(), again(&options())).unwrap();
        // Nothing speaks of the newest one but itself.
        let number = |name: &String| {
            let bytes = run.disk.bytes_of(Folder::Queue, name);
            Header::read(&bytes[..512]).map_or(0, |header| header.number)
        };
        let segments = names.iter().filter(|name| name.ends_with(".seg"));
        let newest = segments.map(number).max() == Some(number(name));
        let same = ids(&core) == live;
        let missed = same || newest || !recovery.missing.is_empty();
        assert!(missed, "{name} gone and not missed");
        assert_eq!(core.commit(&mut vec![Order::Sync]), [Ok(())]);

        if number(name) > 0 {
            let disk = run.disk.killed();
            disk.flip(Folder::Queue, name, 8, 1);
            disk.flip(Folder::Queue, name, bytes.len() - 512 + 8, 1);
            let newer = Core::open(disk, options()).map(drop).unwrap_err();
            assert!(newer.to_string().contains("later mailroot"), "{newer}");
        }
    }
}

/// The reserve: when mail is refused for want of room, there is still room to note what became of the rest, although
/// nothing has ended yet and other programs take every block that is left.
#[test]
fn mail_is_refused_before_the_room_for_its_progress_is_gone() {
    for seed in 1..4 {
        for kib in [12, 16, 20, 29, 40, 64] {
            let disk = SimDisk::new(seed);
            disk.set_capacity(kib * 1024);
            let mut run = Run::new(disk, options(), seed).unwrap();
            run.fill(150 + 60 * usize::try_from(seed).unwrap());
            run.disk.set_capacity(0);
            let what = format!("seed {seed}, {kib} KiB");
            run.note_all(&what);
            run.check_alive();
            run.model
                .check(&run.disk.cut(Cut::Nothing, seed), &options(), &what);
        }
    }
}
