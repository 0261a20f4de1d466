#![doc = include_str!("FORMAT.md")]

#[cfg(test)]
mod tests {
    use crate::base::{MsgId, Wall};
    use crate::mail::address::Address;
    use crate::mail::envelope::{Body, Envelope, Notify, Recipient, TlsWish};
    use crate::mail::outcome::Reason;
    use crate::mail::status::Status;
    use crate::queue::accept::{Accept, Dates, Door, Priority};
    use crate::queue::progress::{Progress, Stage, TOLD_DELAY};
    use crate::queue::record::{self, FIRM, Header, JOINED, Kind};
    use std::collections::BTreeMap;
    use std::time::Duration;

    const SALT: u32 = 0x0BAD_CAFE;

    /// The examples of FORMAT.md: blocks marked `example NAME`, hex up to a semicolon on each line.
    fn written() -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open: Option<(String, Vec<u8>)> = None;
        for line in include_str!("FORMAT.md").lines() {
            if let Some(name) = line.strip_prefix("```text example ") {
                open = Some((name.to_owned(), Vec::new()));
            } else if line == "```" {
                found.extend(open.take());
            } else if let Some((_, bytes)) = &mut open {
                let hex = line.split(';').next().unwrap();
                let byte = |text| u8::from_str_radix(text, 16).unwrap();
                bytes.extend(hex.split_whitespace().map(byte));
            }
        }
        found
    }

    fn made(kind: Kind, flags: u8, id: u64, firm: u8, payload: &dyn Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        let start = record::open(&mut out, kind, flags, MsgId::from_number(id));
        payload(&mut out);
        record::close(&mut out, start);
        record::seal(&mut out, SALT, firm);
        out
    }

    fn accept(full: bool) -> Accept {
        let to = Recipient::new(Address::parse("me@example.com").unwrap());
        let mut accept = Accept {
            arrived: Wall::from_millis(1_795_305_600_250),
            door: Door::Pickup,
            origin: "uid 0".to_owned(),
            priority: Priority::High,
            header: Some(15),
            envelope: Envelope {
                sender: Some(Address::parse("root@nas").unwrap()),
                recipients: vec![to],
                body: Body::Eight,
                ..Envelope::default()
            },
            running: Duration::ZERO,
            dates: Dates::Good,
        };
        if full {
            accept.envelope.recipients.push(Recipient {
                address: Address::parse("you@example.com").unwrap(),
                notify: Notify::Never,
                orcpt: Some("rfc822;you".to_owned()),
                host: None,
            });
            accept.envelope.envid = Some("q1".to_owned());
            accept.envelope.sender = None;
        }
        accept
    }

    /// With what joined the format later.
    fn accept_more() -> Accept {
        let mut accept = accept(false);
        accept.running = Duration::from_secs(3600);
        accept.dates = Dates::Missing;
        accept.envelope.tls = TlsWish::Required;
        accept
    }

    fn progress() -> Progress {
        let mut progress = Progress::new(2);
        progress.attempts = 3;
        progress.age = Duration::from_secs(180);
        progress.wait = Duration::from_secs(900);
        progress.told = TOLD_DELAY;
        let said = Reason {
            status: Status::new(4, 2, 2),
            code: Some(452),
            text: "full".to_owned(),
            peer: "mx".to_owned(),
        };
        progress.set(
            0,
            Stage::Delivered,
            Reason::ours(Status::new(2, 0, 0), "ok"),
        );
        progress.set(1, Stage::Waiting, said);
        progress
    }

    /// What the program writes today for each example.
    fn now() -> BTreeMap<String, Vec<u8>> {
        let mut header = Vec::new();
        Header {
            size: 1_048_576,
            number: 7,
            salt: SALT,
            previous: 6,
            previous_end: 1_047_968,
            oldest: 5,
            next_id: MsgId::from_number(42),
            clock: Wall::from_secs(1_795_305_600),
            running: Duration::from_secs(3600),
        }
        .write(&mut header);
        header.truncate(80);
        let first = header.get(..68).unwrap().to_vec();
        let examples = [
            ("header", first),
            ("header-running", header),
            (
                "accept",
                made(Kind::Accept, 0, 33, FIRM, &|out| {
                    accept(false).write(out);
                    out.extend_from_slice(b"Subject: x\r\n\r\nHi\r\n");
                }),
            ),
            (
                "accept-more",
                made(Kind::Accept, 0, 35, 0, &|out| {
                    accept_more().write(out);
                    out.extend_from_slice(b"Subject: x\r\n\r\nHi\r\n");
                }),
            ),
            (
                "accept-file",
                made(Kind::AcceptFile, JOINED, 34, 0, &|out| {
                    accept(true).write(out);
                    out.extend_from_slice(&300_000_u64.to_le_bytes());
                    out.extend_from_slice(&0x1234_5678_u32.to_le_bytes());
                }),
            ),
            (
                "progress",
                made(Kind::Progress, 0, 34, 0, &|out| progress().write(out)),
            ),
            ("done", made(Kind::Done, 0, 33, 0, &|_| {})),
            (
                "hold",
                made(Kind::Hold, 0, 34, 0, &|out| {
                    out.extend_from_slice(b"535 from the smart host");
                }),
            ),
            ("release", made(Kind::Release, 0, 34, 0, &|_| {})),
            ("begin", made(Kind::Begin, 0, 34, 0, &|out| out.push(2))),
            (
                "clock",
                made(Kind::Clock, 0, 0, 0, &|out| {
                    record::write_clock(out, Wall::from_secs(1_795_305_600), Duration::ZERO);
                }),
            ),
            (
                "clock-running",
                made(Kind::Clock, 0, 0, 0, &|out| {
                    let running = Duration::from_secs(3600);
                    record::write_clock(out, Wall::from_secs(1_795_305_600), running);
                }),
            ),
            (
                "note",
                made(Kind::Note, 0, 0, 0, &|out| out.extend_from_slice(b"hello")),
            ),
        ];
        examples
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect()
    }

    /// Old examples are never edited, only joined: a journal of any release is to be read by every later one.
    #[test]
    fn every_example_is_what_is_written_today() {
        let written = written();
        for (name, bytes) in &now() {
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let lines: Vec<String> = hex.chunks(16).map(|line| line.join(" ")).collect();
            assert_eq!(
                written.get(name),
                Some(bytes),
                "{name} is\n{}\n",
                lines.join("\n")
            );
        }
        assert_eq!(written.len(), now().len());
    }

    #[test]
    fn every_example_is_read_whole_or_not_at_all() {
        for (name, bytes) in written() {
            if name.starts_with("header") {
                assert!(Header::read(&bytes).is_ok());
                for cut in 0..68 {
                    assert!(Header::read(&bytes[..cut]).is_err(), "{name} cut at {cut}");
                }
                continue;
            }
            let (found, used) = record::read(&bytes, SALT).unwrap();
            assert_eq!(used, bytes.len(), "{name}");
            match found.kind {
                Kind::Accept if name == "accept-more" => {
                    assert_eq!(Accept::read(found.payload, false).unwrap().0, accept_more());
                }
                Kind::Accept => {
                    assert_eq!(Accept::read(found.payload, false).unwrap().0, accept(false))
                }
                Kind::AcceptFile => {
                    assert_eq!(Accept::read(found.payload, true).unwrap().0, accept(true));
                }
                Kind::Progress => assert_eq!(Progress::read(found.payload), Ok(progress())),
                _ => {}
            }
            let end = record::FRAME + found.payload.len();
            for cut in 0..end {
                assert!(
                    record::read(&bytes[..cut], SALT).is_none(),
                    "{name} cut at {cut}"
                );
            }
        }
    }
}
