//! What peers get that take less than the message is: Postfix's smtp-sink without 8BITMIME, without ESMTP, and as it
//! is, which is without SMTPUTF8. An independent parser finds the same contents before and after.
#![cfg(test)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use common::{Folder, Mailroot, Received, Sink, Talk, as_sunk, have};
use mail_parser::MessageParser;

struct Way {
    sink: Sink,
    box_: Mailroot,
    talk: Talk,
    _folder: Folder,
}

impl Way {
    /// A sink with these options behind a service.
    fn new(name: &str, options: &[&str]) -> Option<Self> {
        if !have("smtp-sink") {
            return None;
        }
        let folder = Folder::new(name);
        let sink = Sink::start(folder.path(), options);
        let box_ = Mailroot::start(&folder.home(), &["--smart-host", &sink.url()]);
        let talk = box_.client("printer.lan");
        Some(Self {
            sink,
            box_,
            talk,
            _folder: folder,
        })
    }

    fn send(&mut self, text: &str) {
        let reply = self
            .talk
            .send("alice@nas.example", &["bob@office.example"], text);
        assert!(reply.starts_with("250"), "{reply}");
    }

    /// What arrived of the message that was just sent.
    fn pass(&mut self, text: &str, count: usize) -> Received {
        let before = self.sink.messages().len();
        assert_eq!(before + 1, count);
        self.send(text);
        self.box_.completed(count);
        let marker = text
            .split("Message-ID: ")
            .nth(1)
            .unwrap()
            .split('\r')
            .next()
            .unwrap();
        let all = self.sink.messages();
        let found = all
            .into_iter()
            .find(|got| got.header("Message-ID").as_deref() == Some(marker));
        found.expect("it arrived")
    }
}

fn head(number: usize) -> String {
    format!(
        "From: Alice <alice@nas.example>\r\nTo: Bob <bob@office.example>\r\nSubject: adapted\r\n\
         Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}@nas.example>\r\n"
    )
}

/// Text, a page and a picture; the picture is larger than what fits into a record of the journal when `large`.
fn mixed(number: usize, large: bool) -> String {
    let picture = "\u{e9}\u{1}pixels\r\n".repeat(if large { 30_000 } else { 10 });
    format!(
        "{}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"cut here\"\r\n\r\npreamble\r\n--cut here\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nB\u{fc}ro \r\n\r\nlast line\r\n\
         --cut here\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         <p>{}</p>\r\n--cut here\r\nContent-Type: image/x-thing\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{picture}\r\n\
         --cut here\r\nContent-Type: text/plain\r\n\r\nplain, and kept  \r\n--cut here--\r\n",
        head(number),
        "caf\u{e9} ".repeat(900),
    )
}

fn contents(text: &[u8]) -> Vec<String> {
    let message = MessageParser::default().parse(text).unwrap();
    let parts = message.parts.iter().skip(1);
    parts
        .map(|part| String::from_utf8_lossy(part.contents()).replace("\r\n", "\n"))
        .collect()
}

#[test]
fn a_peer_without_8bitmime_gets_seven_bits_that_mean_the_same() {
    let Some(mut way) = Way::new("seven", &["-8"]) else {
        return;
    };
    for (count, large) in [(1, false), (2, true)] {
        let text = mixed(count, large);
        let got = way.pass(&text, count);
        assert!(got.text.is_ascii());
        assert!(
            got.text
                .split(|&b| b == b'\n')
                .all(|line| line.len() <= 998)
        );
        assert_eq!(contents(&got.text), contents(text.as_bytes()));
        let kept = "Content-Type: text/plain\n\nplain, and kept  \n--cut here--\n";
        assert!(String::from_utf8_lossy(&got.text).ends_with(kept));
        assert!(!got.mail_args.contains("8BITMIME"), "{}", got.mail_args);
    }
    // Nothing to do: byte for byte.
    let plain = format!("{}\r\nhello\r\n\r\ntrailing  \r\n", head(3));
    assert!(way.pass(&plain, 3).text == as_sunk(plain.as_bytes()));
    // What is signed must not change, so its sender is told.
    let signed = format!(
        "{}MIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol=\"a/b\"; boundary=s\r\n\r\n--s\r\n\r\n\u{e9}\r\n\
         --s\r\nContent-Type: a/b\r\n\r\nMIAG\r\n--s--\r\n",
        head(4)
    );
    way.send(&signed);
    let line = way
        .box_
        .wait_for("it failed", |line| line.contains(" failed id="));
    assert!(line.contains("5.6.2"), "{line}");
}

/// A picture as its bytes are: with NUL, and with line ends that are none.
#[test]
fn bytes_that_came_as_binarymime_are_encoded_for_a_peer_without_it() {
    let Some(way) = Way::new("binary", &[]) else {
        return;
    };
    let picture = b"\x89PNG\r\n\x1a\n\0\0.\r.\n\n\r\n.\r\n\xff\xfe end";
    let mut text = head(1).into_bytes();
    text.extend_from_slice(
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n\
          see the picture\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n",
    );
    text.extend_from_slice(picture);
    text.extend_from_slice(b"\r\n--b--\r\n");
    let mut stream = way.talk.into_stream();
    let reply = |stream: &mut BufReader<TcpStream>, want: &str| {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert!(line.starts_with(want), "{line}");
    };
    for line in [
        "MAIL FROM:<alice@nas.example> BODY=BINARYMIME",
        "RCPT TO:<bob@office.example>",
    ] {
        write!(stream.get_mut(), "{line}\r\n").unwrap();
        reply(&mut stream, "250");
    }
    let (first, last) = text.split_at(text.len() - 30);
    for (part, mark) in [(first, ""), (last, " LAST")] {
        write!(stream.get_mut(), "BDAT {}{mark}\r\n", part.len()).unwrap();
        stream.get_mut().write_all(part).unwrap();
        reply(&mut stream, "250");
    }
    way.box_.completed(1);
    let got = &way.sink.messages()[0];
    assert!(got.text.is_ascii() && !got.text.contains(&0));
    let message = MessageParser::default().parse(&got.text).unwrap();
    assert_eq!(message.part(2).unwrap().contents(), picture);
}

#[test]
fn lines_that_no_peer_takes_are_broken_and_the_rest_is_as_it_was() {
    let Some(mut way) = Way::new("long", &[]) else {
        return;
    };
    let long = format!("{}\r\nhost is down: {}\r\n", head(1), "reason ".repeat(500));
    let got = way.pass(&long, 1);
    assert!(got.text.split(|&b| b == b'\n').all(|line| line.len() <= 76));
    assert_eq!(
        got.header("Content-Transfer-Encoding").as_deref(),
        Some("quoted-printable")
    );
    let body = |text: &[u8]| {
        let message = MessageParser::default().parse(text).unwrap();
        message.body_text(0).unwrap().replace("\r\n", "\n")
    };
    assert_eq!(body(&got.text), body(long.as_bytes()));
    // Eight bits are no reason here.
    let wide = mixed(2, true).replace(&"caf\u{e9} ".repeat(900), "caf\u{e9}");
    assert!(way.pass(&wide, 2).text == as_sunk(wide.as_bytes()));
}

#[test]
fn a_peer_without_esmtp_gets_helo_and_seven_bits() {
    let Some(mut way) = Way::new("helo", &["-e"]) else {
        return;
    };
    let text = mixed(1, false);
    let got = way.pass(&text, 1);
    assert!(got.text.is_ascii());
    assert_eq!(contents(&got.text), contents(text.as_bytes()));
}

#[test]
fn smtputf8_is_left_out_where_nothing_needs_it_and_refused_where_something_does() {
    let Some(mut way) = Way::new("utf8", &[]) else {
        return;
    };
    let ascii = format!("{}\r\nhello\r\n", head(1));
    let wide = ascii.replace("Subject: adapted", "Subject: B\u{fc}ro");
    // The first needs nothing; the second has a header, the third a recipient that this peer does not take.
    for (to, text) in [
        ("bob@office.example", &ascii),
        ("bob@office.example", &wide),
        ("b\u{fc}ro@office.example", &ascii),
    ] {
        assert!(
            way.talk
                .say("MAIL FROM:<alice@nas.example> SMTPUTF8")
                .starts_with("250")
        );
        assert!(way.talk.say(&format!("RCPT TO:<{to}>")).starts_with("250"));
        assert!(way.talk.say("DATA").starts_with("354"));
        assert!(way.talk.say(&format!("{text}.")).starts_with("250"));
    }
    let lines = way
        .box_
        .wait_count("two failed", 2, |line| line.contains(" failed id="));
    assert!(lines.iter().all(|line| line.contains("5.6.7")), "{lines:?}");
    way.box_.wait_for("one came through", |line| {
        line.contains(" delivered id=") && line.contains("bob@office.example")
    });
}
