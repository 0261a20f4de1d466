//! What the journal is asked to write down, and what its owner may set.

use std::time::Duration;

use crate::base::MsgId;
use crate::base::Wall;
use crate::base::limits;
use crate::queue::accept::Accept;
use crate::queue::progress::Progress;

/// What the owner and the tests may set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a new segment.
    pub segment: u32,
    /// Bodies up to this many bytes go into their record.
    pub inline: usize,
    /// `limits.queue_bytes`.
    pub queue_bytes: u64,
    /// `limits.queue_messages`.
    pub queue_messages: usize,
    /// Free space on the disk, in bytes, that mail coming in leaves alone; records of what left may use it.
    pub free_floor: u64,
    /// Files that others can still make on it (free inodes), which mail coming in leaves alone, too.
    pub files_floor: u64,
    /// How long what is to be made durable waits for others to share its sync; none when it is not to wait.
    pub batch: Option<Duration>,
    /// Secret behind the salts: another one at every start in life, fixed in tests.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment: limits::SEGMENT,
            inline: limits::INLINE_BODY,
            queue_bytes: u64::MAX,
            queue_messages: usize::MAX,
            free_floor: 0,
            files_floor: 0,
            batch: None,
            seed: 0,
        }
    }
}

/// A body that is ready to be accepted.
#[derive(Debug)]
pub enum Body {
    /// Its bytes.
    Inline(Vec<u8>),
    /// It is durable in `queue/<id>.body`.
    File {
        /// Bytes.
        len: u64,
        /// CRC-32 of all of them.
        crc: u32,
    },
}

/// What is written together with an accepted message: both count, or neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The new state of the message that it reports on.
    Progress(MsgId, Progress),
    /// The message that it reports on is dealt with.
    Done(MsgId),
}

impl Joined {
    /// The message that is reported on.
    pub const fn about(&self) -> MsgId {
        match self {
            Self::Progress(id, _) | Self::Done(id) => *id,
        }
    }
}

/// A message to be accepted.
#[derive(Debug)]
pub struct Submission {
    /// Its name.
    pub id: MsgId,
    /// How it came, and its envelope.
    pub accept: Accept,
    /// Its body.
    pub body: Body,
    /// What goes with it.
    pub joined: Option<Joined>,
}

impl Submission {
    /// One whose body is not there yet. Boxed before anything is waited for: what waits with it in a future is copied
    /// as often as that moves, and takes its room in every layer.
    pub(super) fn begin(id: MsgId, accept: Accept, joined: Option<Joined>) -> Box<Self> {
        Box::new(Self {
            id,
            accept,
            body: Body::Inline(Vec::new()),
            joined,
        })
    }
}

/// One thing to write down. [`Order::Accept`], [`Order::Sync`] and [`Order::Seen`] are answered, in order.
#[derive(Debug)]
pub enum Order {
    /// Make a message durable.
    Accept(Box<Submission>),
    /// New state of a message.
    Progress(MsgId, Progress),
    /// The message is dealt with.
    Done(MsgId),
    /// Handling begins.
    Begin(MsgId),
    /// It waits for the operator, for this reason.
    Hold(MsgId, String),
    /// It goes on.
    Release(MsgId),
    /// A time that is known to have been, and how long this home has been run in all.
    Clock(Wall, Duration),
    /// A remark for humans.
    Note(String),
    /// Make everything so far durable.
    Sync,
    /// Say when everything so far is in the index.
    Seen,
}

impl Order {
    /// Whether it is worth little when it is written late: what may end the program comes right behind it.
    pub const fn is_pressing(&self) -> bool {
        matches!(self, Self::Begin(_))
    }

    /// The message whose entry it changes, for those that are not answered.
    pub fn about(&self) -> Option<MsgId> {
        match self {
            Self::Progress(id, _)
            | Self::Done(id)
            | Self::Begin(id)
            | Self::Hold(id, _)
            | Self::Release(id) => Some(*id),
            Self::Accept(_) | Self::Clock(..) | Self::Note(_) | Self::Sync | Self::Seen => None,
        }
    }
}
