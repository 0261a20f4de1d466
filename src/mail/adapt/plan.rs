//! What has to change in a message before a peer takes it.

use crate::mail::adapt::walk::Entity;

/// What the peer does not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// No byte above 127 in a body.
    pub seven: bool,
    /// Lines of bounded length, without NUL and stray CR or LF. False for BINARYMIME only.
    pub lines: bool,
}

/// What becomes of one entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub coding: Coding,
    /// It has no `Content-Type`, and what is in it has to be said.
    pub charset: Option<Charset>,
    /// It has no `MIME-Version`.
    pub unversioned: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    /// Stays.
    #[default]
    Same,
    /// Its label said more than is true now.
    Relabel,
    /// Becomes quoted-printable.
    Quote,
    /// Becomes base64.
    Base,
    /// Was quoted-printable, with lines that are too long.
    Soften,
    /// Was base64, with lines that are too long.
    Rewrap,
}

/// What text without a `Content-Type` is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Ascii,
    Utf8,
    /// RFC 1428.
    Unknown,
}

/// Why a peer cannot get a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// What has to change is signed.
    Signed,
    /// What has to change is in an encoding or a structure that is not understood.
    Closed,
}

/// What to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub(super) needs: Needs,
    /// By number of the entity; those behind the last stay.
    pub(super) fates: Vec<Fate>,
    /// A byte above 127 in any header, of a part or of a message inside.
    pub header_8bit: bool,
}

impl Plan {
    /// What becomes of this entity.
    pub(super) fn fate(&self, at: &Entity) -> Fate {
        self.fates.get(at.number).copied().unwrap_or_default()
    }
}
