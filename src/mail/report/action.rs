//! What became of a recipient, as reports say it.

/// What became of a recipient (RFC 3464 s2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It will not be tried again.
    Failed,
    /// It is tried still.
    Delayed,
    /// It lies in a local folder.
    Delivered,
    /// A server that does not report took it (RFC 3461 s5.2.2).
    Relayed,
    /// It went on to the members of a list, of whom nobody reports a success (RFC 3461 s5.2.7).
    Expanded,
}

impl Action {
    /// As the report says it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }
}
