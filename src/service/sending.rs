//! Writes to a peer: what the machine says, and the body of a message, block by block.

use std::time::Duration;

use smol::io::AsyncWriteExt;

use crate::base::limits;
use crate::disk::stored::StoredMessage;
use crate::net::Stream;
use crate::net::within::Patience;
use crate::service::outgoing::Outgoing;
use crate::smtp::data::Stuffer;

/// Writes, and flushes; false when the peer is gone or does not read.
pub async fn write(
    patience: &mut Patience,
    wait: Duration,
    stream: Option<&mut Stream>,
    bytes: &[u8],
) -> bool {
    let Some(stream) = stream else {
        return false;
    };
    let written = patience.wait(wait, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    });
    matches!(written.await, Ok(Ok(())))
}

/// What came of sending a body.
pub enum Sent {
    /// To its end.
    Whole,
    /// The peer is gone or does not read.
    Lost,
    /// The disk does not give it back as it was.
    Unreadable(String),
}

/// A body on its way.
pub struct Sending<'a> {
    /// For the waits.
    pub patience: &'a mut Patience,
    /// How long the peer may take over a piece.
    pub wait: Duration,
    /// The connection.
    pub stream: &'a mut Stream,
    /// What is to come first; goes with the first block.
    pub out: &'a mut Vec<u8>,
}

impl Sending<'_> {
    /// Streams the body, its end with the last block.
    pub async fn body(
        mut self,
        mut stuffer: Stuffer,
        message: &mut StoredMessage,
        outgoing: &Outgoing,
    ) -> Sent {
        stuffer.push(outgoing.front().as_bytes(), self.out);
        let plain = message.body.inline().filter(|_| outgoing.is_plain());
        if let Some(bytes) = plain {
            stuffer.push(bytes, self.out);
        } else {
            let length = message.body.len();
            let mut blocks = outgoing.blocks(&mut message.body);
            let mut block = Vec::new();
            loop {
                match blocks.next(&mut block).await {
                    Ok(true) => stuffer.push(&block, self.out),
                    Ok(false) => break,
                    Err(error) => return Sent::Unreadable(error.to_string()),
                }
                if self.out.len() >= limits::BODY_STEP && blocks.offset() < length {
                    if !self.write().await {
                        return Sent::Lost;
                    }
                    self.out.clear();
                }
            }
            let known = message.stored.body_crc;
            if known.is_some_and(|known| known != blocks.crc()) {
                // Without the final dot the peer throws away what it has.
                return Sent::Unreadable(String::from("the stored body is damaged"));
            }
        }
        stuffer.end(self.out);
        if self.write().await {
            Sent::Whole
        } else {
            Sent::Lost
        }
    }

    /// Writes, and flushes; false when the peer is gone or does not read.
    pub async fn write(&mut self) -> bool {
        write(self.patience, self.wait, Some(self.stream), self.out).await
    }
}
