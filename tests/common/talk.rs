//! A client that speaks SMTP by hand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::PATIENCE;

/// Speaks SMTP by hand: sends each line, and answers the replies in order.
pub struct Talk {
    stream: BufReader<TcpStream>,
}

impl Talk {
    pub fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).unwrap())
    }

    /// The same on a connection that is there.
    pub fn on(stream: TcpStream) -> Self {
        let mut talk = Self::over(stream);
        talk.reply();
        talk
    }

    /// Over this connection, whose greeting has not been read.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Waits for something to be said or for the connection to end, at most so long; true when neither came.
    pub fn hears_nothing_for(&self, wait: Duration) -> bool {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(wait)).unwrap();
        let heard = stream.peek(&mut [0]);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        heard.is_err()
    }

    /// The connection, for who speaks something else on it.
    pub fn into_stream(self) -> BufReader<TcpStream> {
        self.stream
    }

    /// One reply, all its lines.
    pub fn reply(&mut self) -> String {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let last = line.as_bytes().get(3) != Some(&b'-');
            text.push_str(&line);
            if last {
                return text;
            }
        }
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// One command, one reply.
    pub fn say(&mut self, line: &str) -> String {
        self.raw(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Says who we are; answers what the peer offers.
    pub fn greet(&mut self, name: &str) -> String {
        let offer = self.say(&format!("EHLO {name}"));
        assert!(offer.starts_with("250"), "{offer}");
        offer
    }

    /// A whole message; the reply to the final dot. `text` must be dot-stuffed and end in CRLF.
    pub fn send(&mut self, from: &str, to: &[&str], text: &str) -> String {
        let reply = self.say(&format!("MAIL FROM:<{from}>"));
        assert!(reply.starts_with("250"), "{reply}");
        for to in to {
            let reply = self.say(&format!("RCPT TO:<{to}>"));
            assert!(reply.starts_with("250"), "{reply}");
        }
        self.data(text)
    }

    /// The same after MAIL and RCPT.
    pub fn data(&mut self, text: &str) -> String {
        let reply = self.say("DATA");
        assert!(reply.starts_with("354"), "{reply}");
        self.raw(text.as_bytes());
        self.say(".")
    }

    /// Whatever the peer still says until it hangs up.
    pub fn rest(mut self) -> String {
        let mut text = String::new();
        let _ = self.stream.read_to_string(&mut text);
        text
    }
}
