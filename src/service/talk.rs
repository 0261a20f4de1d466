//! One connection to a control socket: a line in, text out.

use std::time::Duration;

use async_net::unix::UnixStream;
use smol::io::AsyncReadExt;
use smol::io::AsyncWriteExt;

use crate::net::within::within;

/// The first line of an answer that did what was asked.
pub const OK: &str = "ok";

/// The first line of one that did not; the sentence follows.
pub const REFUSED: &str = "refused";

/// The first line of one to somebody who may not ask that; the sentence follows.
pub const FORBIDDEN: &str = "forbidden";

/// The first line of one to somebody who asks for the queue of a server that is stopped: it may be read at rest.
pub const STOPPED: &str = "stopped";

/// Longest request.
const REQUEST: usize = 512;

/// How long a client may take to ask, and to take each piece of the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection of somebody who may be slow, or worse.
#[derive(Debug)]
pub struct Talk(pub UnixStream);

impl Talk {
    /// Says something.
    pub async fn say(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        within(PATIENCE, self.0.write_all(bytes)).await?
    }

    /// Says how it went: the whole answer.
    pub async fn tell(&mut self, result: Result<String, String>) -> std::io::Result<()> {
        let text = match result {
            Ok(text) => format!("{OK}\n{text}"),
            Err(why) => format!("{REFUSED}\n{why}\n"),
        };
        self.say(text.as_bytes()).await
    }

    /// The request, as far as it came.
    pub async fn request(&mut self) -> std::io::Result<String> {
        let mut request = Vec::new();
        let mut room = [0; REQUEST];
        let whole = async {
            while !request.contains(&b'\n') && request.len() < REQUEST {
                let count = self.0.read(&mut room).await?;
                if count == 0 {
                    break;
                }
                request.extend_from_slice(room.get(..count).unwrap_or_default());
            }
            Ok::<_, std::io::Error>(())
        };
        within(PATIENCE, whole).await??;
        Ok(String::from_utf8_lossy(&request).into_owned())
    }
}
