//! What the client machine asks of whoever drives it.

use crate::base::Tick;
use crate::mail::outcome::Outcome;
use crate::smtp::data::Stuffer;

/// One thing for the driver to do.
#[derive(Debug)]
pub enum Order<'a> {
    /// Write these bytes, in one write. When that fails: `Client::on_write_failed`.
    Send(&'a [u8]),
    /// All input was taken. Read more, or call `Client::on_deadline` at this tick; at the end of the stream
    /// `Client::on_closed`.
    Read(Tick),
    /// Begin the handshake. Answer with `Client::on_tls` or `Client::on_tls_failed`.
    StartTls,
    /// Give the next message with `Client::on_message`, or end with `Client::on_quit`. It may not come when the
    /// peer has said farewell; then [`Order::Close`] comes, and messages not yet given need another connection.
    Ready,
    /// Write `opening`, then the body through the stuffer, then `Stuffer::end`, in as few writes as the buffer
    /// allows: the opening with the first block, the end with the last. Answer with `Client::on_body_sent`,
    /// `Client::on_write_failed` or `Client::on_body_failed`.
    ///
    /// A message with many recipients may be asked for more than once.
    SendBody {
        /// To be written first.
        opening: &'a [u8],
        /// Fresh, for this body.
        stuffer: Stuffer,
    },
    /// The message is through with: one outcome for each recipient, in their order. A `Hold` among them is about
    /// this message's sender or the quota; the connection goes on.
    Finished(Vec<Outcome>),
    /// This connection carries no message: `Later` or `Hold`, about the route. Comes at most once, before the
    /// first [`Order::Ready`].
    Refused(Outcome),
    /// Close the connection. There is no other order after it.
    Close,
}
