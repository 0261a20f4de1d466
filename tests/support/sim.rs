//! A disk that loses, tears and reorders what was not synced, dies at a chosen call, or fails once and then works.
//!
//! It keeps, for every sector of 512 bytes, what is on the platter and every later version that was written and not
//! synced; for every folder, the names on the platter and the changes since. A cut keeps any part of the rest. A
//! failed sync writes some of the dirty sectors and forgets that the others were dirty, as Linux does: the page
//! cache then shows what the platter has not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;

use mailroot::disk::medium::Access;
use mailroot::disk::medium::Folder;
use mailroot::disk::medium::Medium;

use super::dice::Dice;

const SECTOR: usize = 512;

/// What goes wrong, and when. Calls are counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The power goes during this call.
    DieAt(u64),
    /// This call fails, with some of its effect; all others work.
    FailAt(u64),
    /// One call fails, and the power goes at a later one.
    FailThenDie(u64, u64),
    /// All calls from the first up to the second fail, and the power goes at the third.
    FailFromThenDie(u64, u64, u64),
    /// All calls from this one up to the other fail.
    FailFrom(u64, u64),
    /// From this call on no sync works, of a file or of a folder; everything else does.
    NoSyncFrom(u64),
    /// The disk is full at this call; what a write had written before stays. All others work.
    FullAt(u64),
}

/// Sectors that a disk with pages of 4096 bytes keeps or loses together.
const PAGE: usize = 8;

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    Nothing,
    /// All of it.
    Everything,
    /// Every sector and name for itself, this many in a hundred.
    Some(u64),
    /// As `Some(50)`, and sectors may be torn inside.
    Torn,
    /// As `Some(50)`, but whole pages of 4096 bytes.
    Pages,
    /// The front part in the order of writing.
    Prefix,
    /// Names are kept and data is not.
    NamesOnly,
    /// Data is kept and names are not.
    DataOnly,
}

pub const CUTS: &[Cut] = &[
    Cut::Nothing,
    Cut::Everything,
    Cut::Some(50),
    Cut::Some(90),
    Cut::Torn,
    Cut::Pages,
    Cut::Prefix,
    Cut::NamesOnly,
    Cut::DataOnly,
];

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What reads see.
    cache: Vec<u8>,
    /// What is there after a cut.
    platter: Vec<u8>,
    /// Versions of sectors that were written since the last sync, with their time.
    dirty: BTreeMap<usize, Vec<(u64, Vec<u8>)>>,
}

#[derive(Clone, Debug)]
enum Change {
    Link((Folder, String), u64),
    Unlink((Folder, String)),
    Rename((Folder, String), (Folder, String), u64),
}

impl Change {
    fn touches(&self, folder: Folder) -> bool {
        match self {
            Self::Link(at, _) | Self::Unlink(at) => at.0 == folder,
            Self::Rename(from, to, _) => from.0 == folder || to.0 == folder,
        }
    }

    fn apply(&self, names: &mut BTreeMap<(Folder, String), u64>) {
        match self {
            Self::Link(at, inode) => {
                names.insert(at.clone(), *inode);
            }
            Self::Unlink(at) => {
                names.remove(at);
            }
            Self::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
        }
    }
}

#[derive(Clone, Debug)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<(Folder, String), u64>,
    platter_names: BTreeMap<(Folder, String), u64>,
    changes: Vec<(u64, Change)>,
    time: u64,
    calls: u64,
    writes: u64,
    /// Bytes of all writes, in whole sectors.
    written: u64,
    syncs: u64,
    fault: Fault,
    dead: bool,
    dice: Dice,
    /// Bytes that files may take.
    capacity: u64,
    log: Vec<String>,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Rc<RefCell<State>>);

/// A file of it.
#[derive(Clone, Copy, Debug)]
pub struct SimFile(u64);

enum Turn {
    Work,
    Fail,
}

impl SimDisk {
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            inodes: BTreeMap::new(),
            next_inode: 1,
            names: BTreeMap::new(),
            platter_names: BTreeMap::new(),
            changes: Vec::new(),
            time: 0,
            calls: 0,
            writes: 0,
            written: 0,
            syncs: 0,
            fault: Fault::None,
            dead: false,
            dice: Dice::new(seed),
            capacity: u64::MAX,
            log: Vec::new(),
        })))
    }

    pub fn set_fault(&self, fault: Fault) {
        self.0.borrow_mut().fault = fault;
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.0.borrow_mut().capacity = bytes;
    }

    pub fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// Looks at the disk without faults and without counting.
    pub fn quietly<T>(&self, look: impl FnOnce() -> T) -> T {
        let (fault, calls, lines) = {
            let mut state = self.0.borrow_mut();
            let fault = std::mem::replace(&mut state.fault, Fault::None);
            (fault, state.calls, state.log.len())
        };
        let seen = look();
        let mut state = self.0.borrow_mut();
        state.fault = fault;
        state.calls = calls;
        state.log.truncate(lines);
        seen
    }

    /// The calls that synced a file.
    pub fn syncs(&self) -> Vec<u64> {
        let state = self.0.borrow();
        let syncs = state.log.iter().filter(|line| line.contains("sync inode"));
        let call = |line: &String| line.split(' ').next().unwrap().parse().unwrap();
        syncs.map(call).collect()
    }

    /// Syncs of files, and bytes written in whole sectors, since it was made or cut.
    pub fn wear(&self) -> (u64, u64) {
        let state = self.0.borrow();
        (state.syncs, state.written)
    }

    /// Bytes that all files take.
    pub fn used(&self) -> u64 {
        self.0.borrow().used()
    }

    pub fn is_dead(&self) -> bool {
        self.0.borrow().dead
    }

    /// The last calls, to see what a failed test was at.
    pub fn story(&self) -> String {
        let state = self.0.borrow();
        let from = state.log.len().saturating_sub(40);
        state.log[from..].join("\n")
    }

    pub fn names(&self) -> Vec<(Folder, String)> {
        self.0.borrow().names.keys().cloned().collect()
    }

    /// Flips one bit of what is on the platter and in the cache.
    pub fn flip(&self, folder: Folder, name: &str, offset: usize, bit: u8) {
        let mut state = self.0.borrow_mut();
        let inode = state.names[&(folder, name.to_owned())];
        let inode = state.inodes.get_mut(&inode).unwrap();
        inode.cache[offset] ^= 1 << bit;
        inode.platter[offset] ^= 1 << bit;
    }

    pub fn bytes_of(&self, folder: Folder, name: &str) -> Vec<u8> {
        let state = self.0.borrow();
        state.inodes[&state.names[&(folder, name.to_owned())]]
            .cache
            .clone()
    }

    /// The same disk after the program was killed: nothing that the kernel has is lost.
    pub fn killed(&self) -> Self {
        let mut state = self.0.borrow().clone();
        state.fault = Fault::None;
        state.dead = false;
        state.calls = 0;
        Self(Rc::new(RefCell::new(state)))
    }

    /// The disk after a power cut.
    pub fn cut(&self, cut: Cut, seed: u64) -> Self {
        let old = self.0.borrow();
        let mut dice = Dice::new(seed);
        let until = match cut {
            Cut::Prefix => dice.roll(old.time + 1),
            _ => u64::MAX,
        };
        let mut names = old.platter_names.clone();
        for (time, change) in &old.changes {
            let keep = match cut {
                Cut::Nothing | Cut::DataOnly => false,
                Cut::Everything | Cut::NamesOnly => true,
                Cut::Some(percent) => dice.roll(100) < percent,
                Cut::Torn | Cut::Pages => dice.roll(2) == 0,
                Cut::Prefix => *time <= until,
            };
            if keep {
                change.apply(&mut names);
            }
        }
        let mut inodes = BTreeMap::new();
        for (number, inode) in &old.inodes {
            let mut platter = inode.platter.clone();
            let (mut page, mut page_kept) = (usize::MAX, false);
            for (sector, versions) in &inode.dirty {
                if cut == Cut::Pages && sector / PAGE != page {
                    (page, page_kept) = (sector / PAGE, dice.roll(2) == 0);
                }
                let kept = match cut {
                    Cut::Nothing | Cut::NamesOnly => None,
                    Cut::Everything | Cut::DataOnly => versions.last(),
                    Cut::Some(percent) => {
                        let pick = dice.roll(versions.len() as u64) as usize;
                        (dice.roll(100) < percent).then(|| &versions[pick])
                    }
                    Cut::Torn => (dice.roll(2) == 0).then(|| &versions[versions.len() - 1]),
                    Cut::Pages => page_kept.then(|| &versions[versions.len() - 1]),
                    Cut::Prefix => versions.iter().rev().find(|(time, _)| *time <= until),
                };
                let Some((_, bytes)) = kept else {
                    continue;
                };
                let torn = cut == Cut::Torn && dice.roll(3) == 0;
                let (from, to) = if torn {
                    let at = dice.roll(bytes.len() as u64) as usize;
                    if dice.roll(2) == 0 {
                        (0, at)
                    } else {
                        (at, bytes.len())
                    }
                } else {
                    (0, bytes.len())
                };
                let start = sector * SECTOR;
                if platter.len() < start + to {
                    platter.resize(start + to, 0);
                }
                platter[start + from..start + to].copy_from_slice(&bytes[from..to]);
            }
            if names.values().any(|known| known == number) {
                let inode = Inode {
                    cache: platter.clone(),
                    platter,
                    dirty: BTreeMap::new(),
                };
                inodes.insert(*number, inode);
            }
        }
        Self(Rc::new(RefCell::new(State {
            inodes,
            next_inode: old.next_inode,
            platter_names: names.clone(),
            names,
            changes: Vec::new(),
            time: 0,
            calls: 0,
            writes: 0,
            written: 0,
            syncs: 0,
            fault: Fault::None,
            dead: false,
            dice,
            capacity: old.capacity,
            log: Vec::new(),
        })))
    }

    fn fault(&self) -> Fault {
        self.0.borrow().fault
    }

    fn turn(&self, what: impl FnOnce() -> String) -> io::Result<Turn> {
        let mut state = self.0.borrow_mut();
        if state.dead {
            return Err(io::Error::other("no power"));
        }
        state.calls += 1;
        state.time += 1;
        let call = state.calls;
        let (fails, dies) = match state.fault {
            Fault::None => (false, false),
            Fault::DieAt(at) => (at == call, at == call),
            Fault::FailAt(at) => (at == call, false),
            Fault::FailThenDie(at, end) => (at == call || end == call, end == call),
            Fault::FailFromThenDie(from, to, end) => {
                ((from..to).contains(&call) || end == call, end == call)
            }
            Fault::FailFrom(from, to) => ((from..to).contains(&call), false),
            Fault::NoSyncFrom(_) => (false, false),
            Fault::FullAt(at) => (at == call, false),
        };
        let what = what();
        let unsynced = matches!(state.fault, Fault::NoSyncFrom(from) if call >= from);
        let fails = fails || (unsynced && what.starts_with("sync"));
        let text = format!("{call} {what}{}", if fails { " FAILS" } else { "" });
        state.log.push(text);
        state.dead = dies;
        Ok(if fails { Turn::Fail } else { Turn::Work })
    }
}

fn failed<T>(fault: Fault) -> io::Result<T> {
    Err(match fault {
        Fault::FullAt(_) => io::ErrorKind::StorageFull.into(),
        _ => io::Error::from_raw_os_error(5),
    })
}

impl State {
    fn used(&self) -> u64 {
        let linked: BTreeSet<u64> = self.names.values().copied().collect();
        let size = |inode: &Inode| inode.cache.len().next_multiple_of(SECTOR) as u64;
        linked.iter().map(|number| size(&self.inodes[number])).sum()
    }

    fn write(&mut self, file: u64, offset: usize, bytes: &[u8]) {
        let time = self.time;
        let inode = self.inodes.get_mut(&file).unwrap();
        let end = offset + bytes.len();
        if inode.cache.len() < end {
            inode.cache.resize(end, 0);
        }
        inode.cache[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let start = sector * SECTOR;
            let stop = (start + SECTOR).min(inode.cache.len());
            let now = inode.cache[start..stop].to_vec();
            inode.dirty.entry(sector).or_default().push((time, now));
        }
    }
}

impl Medium for SimDisk {
    type File = SimFile;

    fn list(&self, folder: Folder) -> io::Result<Vec<String>> {
        if let Turn::Fail = self.turn(|| format!("list {folder:?}"))? {
            return failed(self.fault());
        }
        let state = self.0.borrow();
        let here = state.names.keys().filter(|at| at.0 == folder);
        Ok(here.map(|at| at.1.clone()).collect())
    }

    fn open(&self, folder: Folder, name: &str, access: Access) -> io::Result<SimFile> {
        if let Turn::Fail = self.turn(|| format!("open {name} {access:?}"))? {
            return failed(self.fault());
        }
        let mut state = self.0.borrow_mut();
        let at = (folder, name.to_owned());
        let known = state.names.get(&at).copied();
        if access != Access::Create {
            return known.map(SimFile).ok_or(io::ErrorKind::NotFound.into());
        }
        // Truncating an old file is shown as a new one: the old contents may come back.
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.names.insert(at.clone(), inode);
        let time = state.time;
        state.changes.push((time, Change::Link(at, inode)));
        Ok(SimFile(inode))
    }

    fn len(&self, file: &SimFile) -> io::Result<u64> {
        if let Turn::Fail = self.turn(|| "len".to_owned())? {
            return failed(self.fault());
        }
        Ok(self.0.borrow().inodes[&file.0].cache.len() as u64)
    }

    fn read_at(&self, file: &SimFile, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if let Turn::Fail = self.turn(|| format!("read {offset} {}", buf.len()))? {
            return failed(self.fault());
        }
        let state = self.0.borrow();
        let cache = &state.inodes[&file.0].cache;
        let from = (offset as usize).min(cache.len());
        let count = buf.len().min(cache.len() - from);
        buf[..count].copy_from_slice(&cache[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, file: &SimFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let turn = self.turn(|| format!("write inode {} at {offset}: {}", file.0, bytes.len()))?;
        let mut state = self.0.borrow_mut();
        state.writes += 1;
        let offset = offset as usize;
        let sectors = (offset + bytes.len()).div_ceil(SECTOR) - offset / SECTOR;
        state.written += (sectors * SECTOR) as u64;
        let end = (offset + bytes.len()).next_multiple_of(SECTOR);
        let now = state.inodes[&file.0].cache.len().next_multiple_of(SECTOR);
        let more = end.saturating_sub(now) as u64;
        if more > 0 && state.used() + more > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Turn::Fail = turn {
            let part = state.dice.roll(bytes.len() as u64 + 1) as usize;
            state.write(file.0, offset, &bytes[..part]);
            return failed(state.fault);
        }
        state.write(file.0, offset, bytes);
        Ok(())
    }

    fn sync(&self, file: &SimFile) -> io::Result<()> {
        let turn = self.turn(|| format!("sync inode {}", file.0))?;
        let mut state = self.0.borrow_mut();
        state.syncs += 1;
        let mut dice = state.dice.clone();
        let dying = state.dead;
        let inode = state.inodes.get_mut(&file.0).unwrap();
        let fails = matches!(turn, Turn::Fail);
        if fails && dying {
            // What of it reached the platter is for the cut to say.
            return failed(state.fault);
        }
        let len = inode.cache.len();
        for (sector, versions) in std::mem::take(&mut inode.dirty) {
            if fails && dice.roll(2) == 0 {
                continue;
            }
            let (_, bytes) = &versions[versions.len() - 1];
            let start = sector * SECTOR;
            if inode.platter.len() < start + bytes.len() {
                inode.platter.resize(start + bytes.len(), 0);
            }
            inode.platter[start..start + bytes.len()].copy_from_slice(bytes);
        }
        if inode.platter.len() < len && !fails {
            inode.platter.resize(len, 0);
        }
        state.dice = dice;
        if fails { failed(state.fault) } else { Ok(()) }
    }

    fn rename(&self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()> {
        if let Turn::Fail = self.turn(|| format!("rename {} {}", from.1, to.1))? {
            return failed(self.fault());
        }
        let mut state = self.0.borrow_mut();
        let (from, to) = ((from.0, from.1.to_owned()), (to.0, to.1.to_owned()));
        let inode = state.names.get(&from).copied();
        let inode = inode.ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        let change = Change::Rename(from, to, inode);
        change.apply(&mut state.names);
        let time = state.time;
        state.changes.push((time, change));
        Ok(())
    }

    fn unlink(&self, folder: Folder, name: &str) -> io::Result<()> {
        if let Turn::Fail = self.turn(|| format!("unlink {name}"))? {
            return failed(self.fault());
        }
        let mut state = self.0.borrow_mut();
        let at = (folder, name.to_owned());
        if state.names.remove(&at).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let time = state.time;
        state.changes.push((time, Change::Unlink(at)));
        Ok(())
    }

    fn sync_folder(&self, folder: Folder) -> io::Result<()> {
        if let Turn::Fail = self.turn(|| format!("sync folder {folder:?}"))? {
            return failed(self.fault());
        }
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        let names = &mut state.platter_names;
        state.changes.retain(|(_, change)| {
            let here = change.touches(folder);
            if here {
                change.apply(names);
            }
            !here
        });
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        if let Turn::Fail = self.turn(|| "free".to_owned())? {
            return failed(self.fault());
        }
        let state = self.0.borrow();
        Ok(state.capacity.saturating_sub(state.used()))
    }
}
