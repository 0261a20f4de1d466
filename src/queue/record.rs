//! The frame around every record and the header of every segment, byte by byte as FORMAT.md says.
//!
//! Trust: none. A segment is what a power cut, a tired flash chip or a stranger's editor left of it. Nothing here
//! allocates by a length it read.

use std::time::Duration;

use crate::base::MsgId;
use crate::base::Wall;
use crate::queue::field::Fields;
use crate::queue::field::Malformed;

/// First bytes of a segment.
pub const MAGIC: &[u8; 8] = b"mailroot";
/// The version this program writes and reads.
pub const VERSION: u16 = 1;
/// A segment's header has a sector of its own at the front, and a copy in the last sector: a torn sector of
/// records cannot hurt it, and one bad sector cannot cost a whole segment.
pub const SECTOR: usize = 512;
/// The same, for offsets in files.
pub const SECTOR_LEN: u64 = 512;
/// Bytes in front of a payload.
pub const FRAME: usize = 20;

/// This record counts only together with the one right behind it.
pub const JOINED: u8 = 1;
/// Everything in front of this record in its segment was synced before it was written, so what cannot be read
/// there is damage and not a torn tail.
pub const FIRM: u8 = 2;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A message with its body.
    Accept = 1,
    /// A message whose body lies in `queue/<id>.body`.
    AcceptFile = 2,
    /// The state of all its recipients; the newest counts.
    Progress = 3,
    /// The message is dealt with.
    Done = 4,
    /// It waits for the operator, with the reason.
    Hold = 5,
    /// It goes on.
    Release = 6,
    /// Handling was begun; the payload counts how often since the last progress.
    Begin = 7,
    /// A time that is known to have been.
    Clock = 8,
    /// A remark for humans; nothing depends on it.
    Note = 9,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Accept,
            2 => Self::AcceptFile,
            3 => Self::Progress,
            4 => Self::Done,
            5 => Self::Hold,
            6 => Self::Release,
            7 => Self::Begin,
            8 => Self::Clock,
            9 => Self::Note,
            _ => return None,
        })
    }
}

/// A record that was read and whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it says.
    pub kind: Kind,
    /// [`JOINED`] and [`FIRM`].
    pub flags: u8,
    /// About which message; zero for those about none.
    pub id: MsgId,
    /// The rest, by kind.
    pub payload: &'a [u8],
}

/// Bytes that `payload` bytes take on the medium: frame and padding to eight.
pub const fn span(payload: usize) -> usize {
    (FRAME + payload).next_multiple_of(8)
}

/// Starts a record at the end of `out`; its payload is then appended by the caller and closed by [`close`].
pub fn open(out: &mut Vec<u8>, kind: Kind, flags: u8, id: MsgId) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&id.number().to_le_bytes());
    out.extend_from_slice(&[kind as u8, flags, 0, 0]);
    start
}

/// Ends the record that was opened at `start`: writes its length and pads. Says how many bytes it takes.
pub fn close(out: &mut Vec<u8>, start: usize) -> usize {
    let payload = out.len().saturating_sub(start).saturating_sub(FRAME);
    let length = u32::try_from(payload).unwrap_or(u32::MAX);
    if let Some(place) = out
        .get_mut(start.saturating_add(4)..)
        .and_then(<[u8]>::first_chunk_mut::<4>)
    {
        *place = length.to_le_bytes();
    }
    out.resize(start.saturating_add(span(payload)), 0);
    out.len().saturating_sub(start)
}

/// Adds `flags` and writes both checksums into a closed record, for the segment with this salt.
///
/// A record can be sealed again for another segment.
pub fn seal(record: &mut [u8], salt: u32, flags: u8) {
    let Some(length) = record.get(4..8).and_then(|b| b.first_chunk::<4>()) else {
        return;
    };
    let end = usize::try_from(u32::from_le_bytes(*length))
        .unwrap_or(0)
        .saturating_add(FRAME);
    if let Some(byte) = record.get_mut(17) {
        *byte |= flags;
    }
    let check = frame_check(record.get(4..18).unwrap_or_default(), salt);
    if let Some(place) = record
        .get_mut(18..20)
        .and_then(<[u8]>::first_chunk_mut::<2>)
    {
        *place = check.to_le_bytes();
    }
    let sum = checksum(record.get(4..end).unwrap_or_default(), salt);
    if let Some(place) = record.first_chunk_mut::<4>() {
        *place = sum.to_le_bytes();
    }
}

/// Clears the flags, which speak of the place, before a record is sealed for another one.
pub fn detach(record: &mut [u8]) {
    if let Some(byte) = record.get_mut(17) {
        *byte = 0;
    }
}

/// Reads the record at the front of `bytes`; also says how many bytes it takes. `None`: there is no good one.
pub fn read(bytes: &[u8], salt: u32) -> Option<(Record<'_>, usize)> {
    let head = bytes.get(4..FRAME)?;
    let mut fields = Fields::new(head);
    let length = usize::try_from(fields.u32().ok()?).ok()?;
    let id = MsgId::from_number(fields.u64().ok()?);
    let kind = Kind::from_byte(fields.u8().ok()?)?;
    let flags = fields.u8().ok()?;
    // The frame has a check of its own, salted with what no stranger knows: without it a body full of likely
    // looking frames would make the search for the next good record quadratic.
    if fields.u16().ok()? != frame_check(head.get(..14)?, salt) {
        return None;
    }
    let end = FRAME.checked_add(length)?;
    let sum = bytes.first_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != checksum(bytes.get(4..end)?, salt) {
        return None;
    }
    let record = Record {
        kind,
        flags,
        id,
        payload: bytes.get(FRAME..end)?,
    };
    Some((record, span(length)))
}

fn checksum(bytes: &[u8], salt: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

fn frame_check(bytes: &[u8], salt: u32) -> u16 {
    let sum = checksum(bytes, salt);
    let [a, b, c, d] = sum.to_le_bytes();
    u16::from_le_bytes([a ^ c, b ^ d])
}

/// Appends the payload of a Clock record.
pub fn write_clock(out: &mut Vec<u8>, clock: Wall, running: Duration) {
    out.extend_from_slice(&clock.as_millis().to_le_bytes());
    if running > Duration::ZERO {
        out.extend_from_slice(&millis(running).to_le_bytes());
    }
}

/// Reads the payload of a Clock record. The first ones had no running time.
pub fn read_clock(payload: &[u8]) -> Result<(Wall, Duration), Malformed> {
    let mut fields = Fields::new(payload);
    let clock = Wall::from_millis(fields.u64()?);
    let running = Duration::from_millis(fields.u64().unwrap_or(0));
    Ok((clock, running))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What stands at the front of a segment, and again in its last sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole file.
    pub size: u32,
    /// Counts the uses of all slots; the highest is the newest.
    pub number: u64,
    /// New for every use, so that records of an earlier use can never be read as this one's.
    pub salt: u32,
    /// The segment that was written before this one; zero when there was none.
    pub previous: u64,
    /// Where that one's records end; what lies behind was never acknowledged.
    pub previous_end: u32,
    /// Segments with lower numbers are forgotten, whether overwritten yet or not.
    pub oldest: u64,
    /// No message so far has this id or a higher one.
    pub next_id: MsgId,
    /// The time that was noted last.
    pub clock: Wall,
    /// How long this home has been run in all, to the millisecond, as far as that was noted.
    pub running: Duration,
}

/// Why a sector is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHeader {
    /// Blank, torn or damaged.
    Unreadable,
    /// Written by a later version of this program.
    Newer(u16),
}

impl Header {
    /// Appends the sector.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.previous_end.to_le_bytes());
        out.extend_from_slice(&self.previous.to_le_bytes());
        out.extend_from_slice(&self.oldest.to_le_bytes());
        out.extend_from_slice(&self.next_id.number().to_le_bytes());
        out.extend_from_slice(&self.clock.as_millis().to_le_bytes());
        let sum = checksum(out.get(start..).unwrap_or_default(), 0);
        out.extend_from_slice(&sum.to_le_bytes());
        if self.running > Duration::ZERO {
            let running = millis(self.running).to_le_bytes();
            out.extend_from_slice(&running);
            out.extend_from_slice(&checksum(&running, sum).to_le_bytes());
        }
        out.resize(start.saturating_add(SECTOR), 0);
    }

    /// Reads a sector.
    pub fn read(sector: &[u8]) -> Result<Self, NoHeader> {
        let bad = |_| NoHeader::Unreadable;
        let mut fields = Fields::new(sector);
        if fields.bytes(8).map_err(bad)? != MAGIC {
            return Err(NoHeader::Unreadable);
        }
        let version = fields.u16().map_err(bad)?;
        if version > VERSION {
            return Err(NoHeader::Newer(version));
        }
        fields.u16().map_err(bad)?;
        let size = fields.u32().map_err(bad)?;
        let number = fields.u64().map_err(bad)?;
        let salt = fields.u32().map_err(bad)?;
        let previous_end = fields.u32().map_err(bad)?;
        let previous = fields.u64().map_err(bad)?;
        let oldest = fields.u64().map_err(bad)?;
        let next_id = MsgId::from_number(fields.u64().map_err(bad)?);
        let clock = Wall::from_millis(fields.u64().map_err(bad)?);
        let sum = fields.u32().map_err(bad)?;
        let right = version == VERSION
            && number > 0
            && checksum(sector.get(..64).unwrap_or_default(), 0) == sum;
        if !right {
            return Err(NoHeader::Unreadable);
        }
        // It joined the format later, so it has a check of its own, and without it nothing is wrong.
        let running = fields.bytes(8).unwrap_or_default();
        let known = fields.u32() == Ok(checksum(running, sum));
        let running = Fields::new(running).u64().unwrap_or(0);
        Ok(Self {
            size,
            number,
            salt,
            previous,
            previous_end,
            oldest,
            next_id,
            clock,
            running: Duration::from_millis(if known { running } else { 0 }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRM, Header, Kind, NoHeader, SECTOR, close, detach, open, read, seal};
    use crate::base::{MsgId, Wall};
    use std::time::Duration;

    fn sample(salt: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let start = open(&mut out, Kind::Hold, 0, MsgId::from_number(7));
        out.extend_from_slice(b"why");
        assert_eq!(close(&mut out, start), 24);
        seal(&mut out, salt, 0);
        out
    }

    #[test]
    fn a_record_is_read_whole_or_not_at_all() {
        let good = sample(99);
        let (record, used) = read(&good, 99).unwrap();
        assert_eq!(
            (record.kind, record.id.number(), record.payload, used),
            (Kind::Hold, 7, &b"why"[..], 24)
        );
        for cut in 0..23 {
            assert!(read(&good[..cut], 99).is_none(), "cut at {cut}");
        }
        for at in 0..23 {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(read(&bad, 99).is_none(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn another_salt_never_fits() {
        let good = sample(99);
        for salt in 0..5000 {
            assert_eq!(read(&good, salt).is_some(), salt == 99, "salt {salt}");
        }
    }

    #[test]
    fn a_record_can_be_sealed_again_elsewhere() {
        let mut record = sample(1);
        seal(&mut record, 1, FIRM);
        assert_eq!(read(&record, 1).unwrap().0.flags, FIRM);
        detach(&mut record);
        seal(&mut record, 2, 0);
        assert_eq!(read(&record, 2).unwrap().0.flags, 0);
    }

    #[test]
    fn headers_come_back_and_flips_are_seen() {
        let header = Header {
            size: 4096,
            number: 3,
            salt: 0xDEAD_BEEF,
            previous: 2,
            previous_end: 512,
            oldest: 1,
            next_id: MsgId::from_number(44),
            clock: Wall::from_secs(1_795_305_600),
            running: Duration::from_millis(77),
        };
        let mut sector = Vec::new();
        header.write(&mut sector);
        assert_eq!(sector.len(), SECTOR);
        assert_eq!(Header::read(&sector), Ok(header));
        for at in 0..68 {
            let mut bad = sector.clone();
            bad[at] ^= 0x10;
            assert!(Header::read(&bad).is_err(), "byte {at}");
        }
        let without = Header {
            running: Duration::ZERO,
            ..header
        };
        for at in 68..80 {
            let mut bad = sector.clone();
            bad[at] ^= 0x10;
            assert_eq!(Header::read(&bad), Ok(without), "byte {at}");
        }
        let mut old = sector.clone();
        old[68..].fill(0);
        assert_eq!(Header::read(&old), Ok(without));
        sector[8] = 2;
        assert_eq!(Header::read(&sector), Err(NoHeader::Newer(2)));
        assert_eq!(Header::read(&[0; SECTOR]), Err(NoHeader::Unreadable));
    }
}
