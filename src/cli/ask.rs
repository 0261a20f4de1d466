//! Asks the running service over its control socket.

use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::service::talk;

/// What came of asking.
pub enum Answer {
    /// The service did it, or said it.
    Said(String),
    /// The service would not.
    Refused(String),
    /// No service runs on this home, or it is stopped.
    NotRunning,
    /// We may not ask, or not that; the service said why, unless the socket itself kept us out.
    NotAllowed(Option<String>),
}

/// Sends one request to the socket and reads the whole answer.
pub fn ask(socket: &Path, words: &[&str]) -> io::Result<Answer> {
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                return Ok(Answer::NotRunning);
            }
            io::ErrorKind::PermissionDenied => return Ok(Answer::NotAllowed(None)),
            _ => return Err(error),
        },
    };
    // Who is refused is not even asked what he wants: then the pipe is closed, and the answer lies there.
    let sent = stream.write_all(format!("{}\n", words.join(" ")).as_bytes());
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        sent.and(read)?;
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(match text.split_once('\n') {
        Some((talk::OK, rest)) => Answer::Said(rest.to_owned()),
        Some((talk::FORBIDDEN, rest)) => Answer::NotAllowed(Some(rest.trim_end().to_owned())),
        Some((talk::STOPPED, _)) => Answer::NotRunning,
        Some((talk::REFUSED, rest)) => Answer::Refused(rest.trim_end().to_owned()),
        _ => Answer::Refused(String::from("the service hung up without an answer")),
    })
}
