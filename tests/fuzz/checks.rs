//! What must hold for any input whatsoever: one check for each reader and each machine.
//!
//! The fuzz targets feed them what the fuzzer makes up; `tests/corpus.rs` feeds them the committed corpus, so that a
//! plain `cargo test` repeats every input that ever told something. A check panics when its promise is broken.
//!
//! The first bytes of an input choose (block size, settings, verdicts), the rest is what the peer sends.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use mailroot::base::{MsgId, Tick, Wall, limits};
use mailroot::config;
use mailroot::dns::message::{self as dns, Query, Reading, Said};
use mailroot::ldap::client::Client as Directory;
use mailroot::ldap::expand::{Expander, Resolution, Rules, Step};
use mailroot::ldap::message::Request;
use mailroot::ldap::schema::Schema;
use mailroot::mail::adapt::{Adapter, Needs, Survey};
use mailroot::mail::envelope::Body;
use mailroot::mail::header::{Facts, Field, Plan, Walker, fields};
use mailroot::mail::{Address, Domain, Envelope, Outcome, Recipient};
use mailroot::net::proxy::{HEAD, Head, REST, Source};
use mailroot::queue::accept::Accept;
use mailroot::queue::progress::Progress;
use mailroot::queue::record;
use mailroot::queue::replay::{Item, Replay, Scan};
use mailroot::smtp::client::settings::{Login, Secret, StartTls};
use mailroot::smtp::client::transfer::Message;
use mailroot::smtp::client::{self, Client};
use mailroot::smtp::command::{Command, Defaults};
use mailroot::smtp::data::{Chunks, Data, Piece, Stuffer};
use mailroot::smtp::fault::Fault;
use mailroot::smtp::line::{Commands, Line, Lines};
use mailroot::smtp::reply::{Reply, ReplyLines};
use mailroot::smtp::sasl::codec;
use mailroot::smtp::sasl::proof::Proof;
use mailroot::smtp::sasl::scram::{Binding, Hash, ScramClient, ScramServer};
use mailroot::smtp::sasl::{self, Verifier};
use mailroot::smtp::server::{self, Server};

/// A check: takes any bytes.
pub type Check = fn(&[u8]);

/// All of them, by the name of their fuzz target and their corpus folder.
pub const ALL: &[(&str, Check)] = &[
    ("adapt", adapt),
    ("bdat", bdat),
    ("client", client),
    ("command", command),
    ("config", config),
    ("data", data),
    ("dns", dns),
    ("gssapi", gssapi),
    ("header", header),
    ("journal", journal),
    ("ldap", ldap),
    ("line", line),
    ("ntlm", ntlm),
    ("proxy", proxy),
    ("reply", reply),
    ("sasl", sasl),
    ("server", server),
];

/// The header of a load balancer: read from its length alone, and what names a client has room for its address.
pub fn proxy(input: &[u8]) {
    let Some((head, rest)) = input.split_first_chunk::<HEAD>() else {
        return;
    };
    let Ok(head) = Head::parse(head) else {
        return;
    };
    assert!(head.rest() <= REST);
    let rest = &rest[..head.rest().min(rest.len())];
    if let Ok(Source::Client(client)) = head.source(rest) {
        assert!(rest.len() >= if client.is_ipv4() { 10 } else { 34 });
        assert_eq!(client.ip(), client.ip().to_canonical());
    }
}

/// What a directory says: the same at every block size, nobody gets mail twice, and no list grows over its limit.
pub fn ldap(input: &[u8]) {
    let mut choices = Choices(input);
    let (step, mode) = (choices.step(), choices.byte());
    let whole = directory(choices.0, usize::MAX, mode);
    let parts = directory(choices.0, step, mode);
    // Whether clear text stood behind StartTLS shows only when it came with it.
    assert!(whole == parts || mode & 1 != 0, "{whole} {parts}");
}

/// Plays the answers of a directory; answers how it ended.
fn directory(mut input: &[u8], step: usize, mode: u8) -> String {
    let mut client = Directory::default();
    let mut ask = |request: &Request<'_>| {
        let question = client.ask(request);
        assert!(mailroot::ldap::message::read(&question).is_err());
        let mut block: &[u8] = &[];
        loop {
            match client.feed(block) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) if input.is_empty() => return Err("closed".to_owned()),
                Ok(None) => {}
                Err(broken) => return Err(broken.to_string()),
            }
            (block, input) = input.split_at(step.min(input.len()));
        }
    };
    if mode & 1 != 0
        && let Err(end) = ask(&Request::StartTls)
    {
        return end;
    }
    match ask(&Request::Anonymous) {
        Ok(answer) if answer.outcome.code != 0 => return answer.outcome.to_string(),
        Ok(_) => {}
        Err(end) => return end,
    }
    let rules = Rules {
        schema: if mode & 2 == 0 {
            Schema::active_directory()
        } else {
            Schema::posix()
        },
        base: "dc=x".to_owned(),
        domains: vec![domain()],
        own: Vec::new(),
        members: 8,
        depth: 3,
    };
    let address = Address::parse("a@mx.example.com").unwrap();
    let mut expander = Expander::new(&rules, &address);
    for _ in 0..200 {
        match expander.next_step() {
            Step::Done(end) => {
                if let Resolution::Known { targets, .. } = &end {
                    assert!((1..=8).contains(&targets.len()));
                    let all: BTreeSet<String> =
                        targets.iter().map(|one| one.address.to_string()).collect();
                    assert_eq!(all.len(), targets.len(), "somebody gets it twice");
                }
                return format!("{end:?}");
            }
            Step::Search(search) => match ask(&Request::Search(&search)) {
                Ok(answer) => {
                    if let Err(outcome) = expander.on_found(&answer.outcome, answer.entries) {
                        return outcome.to_string();
                    }
                }
                Err(end) => return end,
            },
        }
    }
    panic!("searches have no end");
}

/// The choices at the front of an input.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A block size: small ones are the interesting ones.
    fn step(&mut self) -> usize {
        match self.byte() {
            255 => usize::MAX,
            byte => usize::from(byte) + 1,
        }
    }
}

/// Answers drawn from a seed, so that an input always plays the same way.
struct Dice(u64);

impl Dice {
    /// True once in `sides` on average; never when `sides` is 0.
    fn once_in(&mut self, sides: u64) -> bool {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        sides > 0 && (self.0 >> 33).is_multiple_of(sides)
    }
}

fn domain() -> Domain {
    Domain::parse("mx.example.com").unwrap()
}

fn now(millis: u64) -> Tick {
    Tick::from_millis(millis)
}

// --- readers -----------------------------------------------------------------------------------------------------

/// Lines come out the same at every block size, and as a reader that holds everything would cut them.
pub fn line(input: &[u8]) {
    let mut choices = Choices(input);
    let step = choices.step();
    lines_of::<12>(choices.0, step);
    lines_of::<{ limits::COMMAND_LINE }>(choices.0, step);
    let mut lines = Commands::default();
    lines.clear();
}

fn lines_of<const MOST: usize>(input: &[u8], step: usize) {
    let (mut lines, mut got, mut stray) = (Lines::<MOST>::default(), Vec::new(), false);
    'blocks: for block in input.chunks(step) {
        let mut rest = block;
        loop {
            match lines.take(&mut rest) {
                Ok(Some(Line::Whole(text))) => got.push(Some(text.to_vec())),
                Ok(Some(Line::TooLong)) => got.push(None),
                Ok(None) => break,
                Err(_) => {
                    stray = true;
                    break 'blocks;
                }
            }
        }
        assert!(rest.is_empty(), "input is left");
    }
    let (mut wanted, mut rest) = (Vec::new(), input);
    let bad = loop {
        let Some(end) = rest.iter().position(|b| matches!(b, b'\r' | b'\n' | 0)) else {
            break false;
        };
        match (rest[end], rest.get(end + 1)) {
            (b'\r', Some(b'\n')) => {
                wanted.push((end + 2 <= MOST).then(|| rest[..end].to_vec()));
                rest = &rest[end + 2..];
            }
            (b'\r', None) => break false,
            _ => break true,
        }
    };
    assert_eq!((got, stray), (wanted, bad));
}

/// A command that could be read prints back into one that reads the same, and a refusal is one line of a refusal.
pub fn command(input: &[u8]) {
    let mut choices = Choices(input);
    let (name, more) = (domain(), choices.byte());
    let defaults = Defaults {
        domain: (more & 1 == 1).then_some(&name),
        postmaster: &name,
    };
    let command = match Command::parse(choices.0, defaults) {
        Ok(command) => command,
        Err(fault) => {
            let (code, status) = fault.code();
            assert!((500..560).contains(&code), "{code}");
            assert_eq!(u16::from(status.class()), code / 100);
            let text = fault.text(None).to_string();
            assert!(!text.chars().any(char::is_control) && text.len() < 400);
            return;
        }
    };
    let address = |address: &Address| {
        let text = address.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.len() <= limits::PATH, "{} bytes", text.len());
        assert_eq!(Address::parse(&text).as_ref(), Ok(address));
    };
    let parameter = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        assert!(
            !text.chars().any(|c| c.is_control() || c == ' '),
            "{text:?}"
        );
    };
    match &command {
        Command::Mail(mail) => {
            mail.sender.iter().for_each(address);
            parameter(&mail.envid);
        }
        Command::Rcpt(rcpt) => {
            address(&rcpt.address);
            parameter(&rcpt.orcpt);
        }
        Command::Helo(name) | Command::Ehlo(name) => {
            assert!(!name.is_empty() && name.len() <= limits::HELLO_NAME);
            assert!(!name.chars().any(char::is_control));
        }
        _ => {}
    }
}

/// A body ends at its dot and nowhere else, at any block size; what was stuffed comes back as it was.
pub fn data(input: &[u8]) {
    let mut choices = Choices(input);
    let (step, out_step) = (choices.step(), choices.step());
    let input = choices.0;
    assert_eq!(read_data(input, step), reference_data(input));

    // Any bytes as a body: their lines, with the line ends a journal has.
    let lines = input.split(|b| matches!(b, b'\r' | b'\n' | 0));
    let mut body = Vec::new();
    for line in lines {
        body.extend_from_slice(line);
        body.extend_from_slice(b"\r\n");
    }
    let mut wire = Vec::new();
    let mut stuffer = Stuffer::dots();
    for block in body.chunks(out_step) {
        stuffer.push(block, &mut wire);
    }
    stuffer.end(&mut wire);
    let end = wire.len();
    assert!(end <= 2 * body.len() + 3);
    wire.extend_from_slice(b"QUIT\r\n");
    assert_eq!(read_data(&wire, step), Ok((body, Some(end))));

    // Bytes that should never get so far: still nothing in them may end the body for a strict reader.
    let mut wire = Vec::new();
    let mut stuffer = Stuffer::dots();
    for block in input.chunks(out_step) {
        stuffer.push(block, &mut wire);
    }
    stuffer.end(&mut wire);
    if let Ok((_, end)) = read_data(&wire, step) {
        assert_eq!(end, Some(wire.len()), "the body ends before its dot");
    }
}

/// The text and where it ended; `Err` for a stray byte.
type Read = Result<(Vec<u8>, Option<usize>), ()>;

fn read_data(input: &[u8], step: usize) -> Read {
    let (mut data, mut text, mut at) = (Data::default(), Vec::new(), 0);
    for block in input.chunks(step) {
        let mut rest = block;
        loop {
            let before = rest.len();
            let piece = data.take(&mut rest).map_err(|_| ())?;
            at += before - rest.len();
            match piece {
                Piece::Text([]) if rest.is_empty() => break,
                Piece::Text(kept) => text.extend_from_slice(kept),
                Piece::End => return Ok((text, Some(at))),
            }
        }
    }
    Ok((text, None))
}

/// RFC 5321 s4.5.2 said once more, slowly.
fn reference_data(input: &[u8]) -> Read {
    let (mut text, mut at) = (Vec::new(), 0);
    loop {
        let rest = &input[at..];
        let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n' | 0));
        let (line, bad) = match end {
            Some(end) if rest[end] == b'\r' => match rest.get(end + 1) {
                Some(b'\n') => (&rest[..end + 2], false),
                Some(_) => (rest, true),
                None => (rest, false),
            },
            Some(_) => (rest, true),
            None => (rest, false),
        };
        if bad {
            return Err(());
        }
        at += line.len();
        match line.strip_prefix(b".") {
            Some(b"\r\n") => return Ok((text, Some(at))),
            // Not known yet whether this is the end.
            Some(b"\r") => {}
            Some(rest) => text.extend_from_slice(rest),
            None => text.extend_from_slice(line),
        }
        if !line.ends_with(b"\r\n") {
            return Ok((text, None));
        }
    }
}

/// Parts of any size: what is stored is what was sent or nothing, and the dialog stays in step (RFC 3030 s2).
pub fn bdat(input: &[u8]) {
    let mut choices = Choices(input);
    let (step, flags) = (choices.step(), choices.byte());
    let (binary, small) = (flags & 1 == 1, flags & 2 == 2);
    let (mut wire, mut body, mut parts) = (Vec::new(), Vec::new(), 0);
    wire.extend_from_slice(b"EHLO x\r\nMAIL FROM:<>");
    wire.extend_from_slice(if binary {
        b" BODY=BINARYMIME\r\n"
    } else {
        b"\r\n"
    });
    wire.extend_from_slice(b"RCPT TO:<a@b>\r\n");
    while !choices.0.is_empty() {
        let length = usize::from(choices.byte()).min(choices.0.len());
        let (part, rest) = choices.0.split_at(length);
        choices.0 = rest;
        let last = if rest.is_empty() { " LAST" } else { "" };
        wire.extend_from_slice(format!("BDAT {length}{last}\r\n").as_bytes());
        wire.extend_from_slice(part);
        body.extend_from_slice(part);
        parts += 1;
    }
    if parts == 0 {
        wire.extend_from_slice(b"BDAT 0 LAST\r\n");
        parts = 1;
    }
    wire.extend_from_slice(b"NOOP\r\n");

    let mut chunks = Chunks::default();
    let clean = body.chunks(step).all(|block| chunks.check(block).is_ok()) && chunks.end().is_ok();
    let crlf_pairs = body.windows(2).filter(|w| w == b"\r\n").count();
    let singles = |byte| body.iter().filter(|b| **b == byte).count();
    let reference = singles(b'\r') == crlf_pairs && singles(b'\n') == crlf_pairs && singles(0) == 0;
    assert_eq!(clean, reference);

    let mut settings = server::settings::Settings::new(domain());
    settings.extensions.binary = true;
    settings.message_size = Some(if small { 100 } else { 1 << 20 });
    settings.errors = usize::MAX;
    let mut play = Play::new(settings, Dice(0), 0);
    play.run(&wire, step, false);
    let fits = !small || body.len() <= 100;
    let wanted = if (clean || binary) && fits {
        vec![body]
    } else {
        vec![]
    };
    assert_eq!(play.stored, wanted);
    let said = String::from_utf8(play.said).unwrap();
    assert!(said.ends_with("250 2.0.0 OK\r\n"), "out of step: {said}");
    let replies = said.lines().filter(|l| l.as_bytes()[3] == b' ').count();
    assert_eq!(replies, 1 + 3 + parts + 1, "{said}");
}

/// Whatever a peer says in a SASL exchange, it is read or refused; what we say is read by ourselves.
pub fn sasl(input: &[u8]) {
    let mut choices = Choices(input);
    let (kind, bytes) = (choices.byte(), choices.0);
    let text = String::from_utf8_lossy(bytes);
    if let Ok((name, password)) = sasl::read_plain(bytes) {
        assert!(!name.is_empty() && !name.contains('\0') && !password.contains('\0'));
        let again = sasl::plain(&name, &password);
        assert_eq!(sasl::read_plain(again.as_bytes()), Ok((name, password)));
    }
    assert_eq!(
        codec::decode(codec::encode(bytes).as_bytes()).as_deref(),
        Ok(bytes)
    );
    if let Ok(text) = codec::decode_text(bytes) {
        assert!(text.len() <= limits::CREDENTIAL && !text.contains('\0'));
    }
    if let Ok(verifier) = Verifier::parse(&text) {
        assert_eq!(Verifier::parse(&verifier.to_text()), Ok(verifier));
    }
    let verifier = Verifier::decoy("user", b"secret");
    let binding = match kind / 3 % 3 {
        0 => Binding::None,
        1 => Binding::Unused,
        _ => Binding::Used([7; 32]),
    };
    match kind % 3 {
        0 => {
            if let Ok(server) = ScramServer::begin(&text, binding) {
                assert!(!server.name().is_empty());
                let (proof, _) = server.challenge(verifier, "server-nonce");
                assert!(
                    proof.check(&text).is_err(),
                    "nobody knows a decoy's password"
                );
            }
        }
        1 => {
            let server = ScramServer::begin("n,,n=user,r=abc", Binding::None).unwrap();
            let (proof, _) = server.challenge(verifier, "server-nonce");
            assert!(
                proof.check(&text).is_err(),
                "nobody knows a decoy's password"
            );
        }
        _ => {
            // More rounds are allowed and only cost time.
            let rounds = text.rsplit_once("i=").map_or(0, |(_, n)| n.trim().len());
            if rounds <= 4 {
                let (client, _) = ScramClient::begin(Hash::Sha256, "user", "abc", binding);
                if let Ok((last, wanted)) = client.answer(&text, "pencil") {
                    assert!(last.starts_with("c=") && last.contains(",r=abc"));
                    assert!(wanted.starts_with("v="));
                }
            }
        }
    }
}

/// A peer's replies are the same at every block size, bounded and printable.
pub fn reply(input: &[u8]) {
    let mut choices = Choices(input);
    let step = choices.step();
    let read = |step| {
        let (mut lines, mut reply, mut got) = (ReplyLines::default(), Reply::default(), Vec::new());
        for block in choices.0.chunks(step) {
            let mut rest = block;
            loop {
                match lines.take(&mut rest) {
                    Ok(Some(line)) => {
                        let last = line.last;
                        reply.add(&line);
                        if last {
                            got.push(Ok(reply.clone()));
                            reply.clear();
                        }
                    }
                    Ok(None) => break,
                    Err(bad) => {
                        got.push(Err(bad));
                        return got;
                    }
                }
            }
            assert!(rest.is_empty());
        }
        got
    };
    let got = read(step);
    assert_eq!(got, read(usize::MAX));
    for reply in got.into_iter().flatten() {
        assert!((200..600).contains(&reply.code));
        assert!(reply.text().len() <= limits::REPLY_TEXT);
        assert!(!reply.text().chars().any(char::is_control));
    }
}

/// No block size changes what the walker passes on or learns, and what it mends is mended.
pub fn header(input: &[u8]) {
    let mut choices = Choices(input);
    let (step, flags) = (choices.step(), choices.byte());
    let value = |bit: u8, text: &str| (flags & bit != 0).then(|| text.to_owned());
    let plan = Plan {
        repair: flags & 1 != 0,
        without: if flags & 2 != 0 {
            &[Field::Bcc, Field::To]
        } else {
            &[]
        },
        date: value(4, "Sun, 22 Nov 2026 04:00:00 +0000"),
        message_id: value(8, "<1@nas.lan>"),
        from: value(16, "a@nas.lan"),
        to: value(32, "undisclosed-recipients:;"),
        capture: flags & 64 != 0,
    };
    let walk = |step| {
        let (mut walker, mut out) = (Walker::new(plan.clone()), Vec::new());
        for block in choices.0.chunks(step) {
            walker.feed(block, &mut out);
        }
        walker.finish(&mut out);
        let mut facts: Facts = walker.facts().clone();
        assert!(facts.header_over);
        assert!(facts.subject.len() <= 3 * limits::FIELD_KEPT);
        assert!(walker.block().len() <= limits::HEADER_BLOCK);
        // A bound, not a measure, where a body goes through as it is.
        facts.longest_line = 0;
        (out, facts, walker.block().to_vec())
    };
    let walked = walk(step);
    assert_eq!(walked, walk(usize::MAX));
    let (out, _, block) = walked;
    for (name, _) in fields(&block) {
        assert!(!name.is_empty());
    }
    if plan.repair {
        let pairs = out.windows(2).filter(|w| w == b"\r\n").count();
        let singles = |byte| out.iter().filter(|b| **b == byte).count();
        assert_eq!(
            (singles(b'\r'), singles(b'\n')),
            (pairs, pairs),
            "not mended"
        );
        assert!(out.ends_with(b"\r\n"));
    }
}

/// No block size changes what a message is re-encoded to, it stays within bounds, and it is done once: the result is
/// as the peer wants it.
pub fn adapt(input: &[u8]) {
    let mut choices = Choices(input);
    let (step, flags) = (choices.step(), choices.byte());
    let needs = Needs {
        seven: flags & 1 != 0,
        lines: flags & 2 != 0,
    };
    let adapted = |message: &[u8], step: usize| {
        let mut survey = Survey::new(needs);
        message.chunks(step).for_each(|block| survey.push(block));
        let (mut adapter, mut out) = (Adapter::new(survey.end().ok()?), Vec::new());
        for block in message.chunks(step) {
            adapter.push(block, &mut out);
        }
        adapter.end(&mut out);
        Some(out)
    };
    let message = choices.0;
    let got = adapted(message, step);
    assert_eq!(got, adapted(message, usize::MAX), "by {step}");
    let Some(out) = got else { return };
    // Three bytes for one and soft line ends, and four fields for each entity.
    assert!(
        out.len() <= message.len() * 24 + 400,
        "{} from {}",
        out.len(),
        message.len()
    );
    assert_eq!(
        adapted(&out, usize::MAX).as_ref(),
        Some(&out),
        "not done at once"
    );
    if needs == Needs::default() {
        let mut same = message.to_vec();
        if !out.ends_with(b"\r\n") || out.len() == message.len() {
            assert_eq!(out, same);
        } else {
            // Where the message breaks off in a header or between parts a line end is added.
            same.extend_from_slice(b"\r\n");
            assert_eq!(out, same);
        }
    }
}

// --- formats -----------------------------------------------------------------------------------------------------

/// A segment of any bytes is walked to its end; good records are found again, whatever was done to their neighbours.
pub fn journal(input: &[u8]) {
    const SALT: u32 = 0x5A17;
    let mut choices = Choices(input);
    let (mode, place, change) = (choices.byte(), choices.byte(), choices.byte());
    let mut segment = vec![0xEE; record::SECTOR];
    let mut written = Vec::new();
    if mode & 1 == 1 {
        segment.extend_from_slice(choices.0);
    } else {
        while !choices.0.is_empty() {
            let kind = match choices.byte() % 9 {
                0 => record::Kind::Accept,
                1 => record::Kind::AcceptFile,
                2 => record::Kind::Progress,
                3 => record::Kind::Done,
                4 => record::Kind::Hold,
                5 => record::Kind::Release,
                6 => record::Kind::Begin,
                7 => record::Kind::Clock,
                _ => record::Kind::Note,
            };
            let flags = choices.byte() & (record::JOINED | record::FIRM);
            let id = MsgId::from_number(u64::from(choices.byte()));
            let length = usize::from(choices.byte()).min(choices.0.len());
            let (payload, rest) = choices.0.split_at(length);
            choices.0 = rest;
            let start = record::open(&mut segment, kind, flags, id);
            segment.extend_from_slice(payload);
            record::close(&mut segment, start);
            record::seal(&mut segment[start..], SALT, 0);
            written.push((start, id));
            let _ = Accept::read(payload, kind == record::Kind::AcceptFile);
            let _ = Progress::read(payload);
        }
    }
    let records_end = segment.len();
    let hurt = mode & 2 == 2 && !written.is_empty() && change != 0;
    let hurt_at = if hurt {
        // In the middle of some record.
        let (start, _) = written[usize::from(place) % written.len()];
        segment[start + 4 + usize::from(place) % 14] ^= change;
        Some(start)
    } else {
        None
    };
    segment.resize(segment.len() + record::SECTOR, 0);
    for end in [None, Some(records_end)] {
        let mut scan = Scan::new(&segment, SALT, end);
        let (mut at, mut found) = (record::SECTOR, Vec::new());
        for item in scan.by_ref() {
            let (offset, len) = match item {
                Item::Record {
                    offset,
                    len,
                    record,
                } => {
                    found.push((offset, record.id));
                    (offset, len)
                }
                Item::Damage { offset, len } => {
                    assert!(mode & 1 == 1 || hurt, "damage that nobody did");
                    (offset, len)
                }
            };
            assert!(offset == at && len > 0, "a gap or a circle");
            at = offset + len;
        }
        assert_eq!(scan.offset(), at);
        assert!(at <= records_end.next_multiple_of(8).max(record::SECTOR));
        if mode & 1 == 0 && (end.is_some() || !hurt) {
            let good = written.iter().filter(|(start, _)| Some(*start) != hurt_at);
            assert!(good.eq(found.iter()), "a good record was lost");
        }
        let mut replay = Replay::new(BTreeSet::new());
        assert_eq!(replay.segment(3, &segment, SALT, end), at);
        assert!(replay.damage.len() <= limits::DAMAGE_LISTED);
        assert!(replay.index.messages() <= found.len());
        for (_, id) in found {
            assert!(replay.next_id.number() > id.number() || id.number() == 0);
        }
    }
    let _ = record::Header::read(&segment[record::SECTOR..]);
}

/// An answer is a bounded statement, a fault, or not ours.
pub fn dns(input: &[u8]) {
    let mut choices = Choices(input);
    let mode = choices.byte();
    let kind = match (mode >> 5, mode % 3) {
        (1, _) => dns::Kind::Ptr,
        (2, _) => dns::Kind::Tlsa,
        (3, _) => dns::Kind::Txt,
        (_, 0) => dns::Kind::A,
        (_, 1) => dns::Kind::Aaaa,
        _ => dns::Kind::Mx,
    };
    let query = Query::new(0x1234, &domain(), kind, mode & 8 != 0).unwrap();
    let mut message = choices.0.to_vec();
    if mode & 16 == 0 {
        // The right id, an answer, and our question, so that the rest is looked at.
        let header = message.first_chunk::<8>().copied().unwrap_or_default();
        message.drain(..message.len().min(8));
        let mut made = vec![
            0x12,
            0x34,
            0x80 | (header[0] & 0x05),
            header[1],
            0,
            1,
            0,
            header[2] & 31,
        ];
        made.extend_from_slice(&[0, header[3] & 3, 0, header[4] & 3]);
        made.extend_from_slice(&query.bytes()[12..12 + "mx.example.com".len() + 2 + 4]);
        made.append(&mut message);
        message = made;
    }
    let reading = dns::read(&query, &message);
    assert_eq!(reading, dns::read(&query, &message));
    if let Reading::Answer(answer) = reading {
        match answer.said {
            Said::Addresses(all) => {
                assert!(!all.is_empty() && all.len() <= limits::DNS_ADDRESSES);
            }
            Said::Exchangers(all) => {
                assert!(!all.is_empty() && all.len() <= limits::DNS_EXCHANGERS);
                assert!(all.is_sorted_by_key(|mx| mx.preference));
            }
            Said::Alias { hops, .. } => assert!(hops <= limits::DNS_ALIASES),
            Said::Names(all) => assert!(!all.is_empty() && all.len() <= limits::DNS_NAMES),
            Said::Tlsa(all) => {
                assert!(!all.is_empty() && all.len() <= limits::DNS_TLSA);
                assert!(
                    all.iter()
                        .all(|one| one.data.len() <= limits::DNS_TLSA_DATA)
                );
            }
            Said::Texts(all) => {
                assert!(!all.is_empty() && all.len() <= limits::DNS_TEXTS);
                assert!(all.iter().all(|text| text.len() <= limits::DNS_TEXT));
            }
            Said::NullMx | Said::NoData | Said::NoSuchName => {}
        }
    }
}

/// A file is read, or every mistake in it is shown; never half of both.
pub fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let file = config::File {
        name: "mailroot.toml",
        text: &text,
    };
    if let Err(faults) = config::load(Some(file), &config::Flags::default(), "nas") {
        assert!(faults.count() > 0);
        let shown = faults.to_string();
        assert!(!shown.is_empty());
        let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        assert!(!shown.chars().any(control), "{shown:?}");
    }
}

// --- machines ----------------------------------------------------------------------------------------------------

/// A driver that answers as the dice fall and checks each order.
struct Play {
    server: Server,
    dice: Dice,
    /// How often the driver says no: once in so many answers; 0 is never.
    harsh: u64,
    draft: Option<Vec<u8>>,
    stored: Vec<Vec<u8>>,
    said: Vec<u8>,
    /// Replies of 250 that speak of a stored message.
    commits: usize,
}

impl Play {
    fn new(settings: server::settings::Settings, dice: Dice, harsh: u64) -> Self {
        Self {
            server: Server::new(Rc::new(settings), None, false, now(0)),
            dice,
            harsh,
            draft: None,
            stored: Vec::new(),
            said: Vec::new(),
            commits: 0,
        }
    }

    fn verdict(&mut self) -> Result<(), Fault> {
        if self.dice.once_in(self.harsh) {
            Err(Fault::Ours)
        } else {
            Ok(())
        }
    }

    /// Feeds the input; at its end the peer closes, unless `stay`.
    fn run(&mut self, input: &[u8], step: usize, close: bool) {
        use server::Order;
        let mut blocks = input.chunks(step);
        let (mut block, mut orders) = (&[][..], 0u64);
        loop {
            orders += 1;
            let most = 1000 + 30 * u64::try_from(input.len()).unwrap();
            assert!(orders < most, "it runs in a circle");
            let before = block.len();
            match self.server.next_order(now(orders), &mut block) {
                Order::Send(bytes) => {
                    assert!(!bytes.is_empty() && bytes.len() <= limits::REPLIES_OUT);
                    assert!(bytes.ends_with(b"\r\n"), "half a line");
                    self.said.extend_from_slice(bytes);
                }
                Order::Read(_) => {
                    assert!(block.is_empty(), "reads with input left");
                    match blocks.next() {
                        Some(next) => block = next,
                        None if close => self.server.on_closed(),
                        None => return,
                    }
                }
                Order::Begin { envelope, .. } => {
                    assert!(self.draft.is_none(), "two drafts");
                    assert!(!envelope.recipients.is_empty());
                    let verdict = self.verdict();
                    if verdict.is_ok() {
                        self.draft = Some(Vec::new());
                    }
                    self.server.on_verdict(verdict);
                }
                Order::Body(bytes) => {
                    assert!(!bytes.is_empty() && bytes.len() <= before);
                    self.draft.as_mut().unwrap().extend_from_slice(bytes);
                    if self.dice.once_in(4 * self.harsh) {
                        self.server.on_trouble(Fault::Full);
                    }
                }
                Order::Commit { size, .. } => {
                    let body = self.draft.take().unwrap();
                    assert_eq!(size, u64::try_from(body.len()).unwrap());
                    if self.dice.once_in(self.harsh) {
                        self.server.on_stored(Err(Fault::Ours));
                    } else {
                        self.stored.push(body);
                        self.commits += 1;
                        self.server.on_stored(Ok(MsgId::from_number(7)));
                    }
                }
                Order::Abort => assert!(self.draft.take().is_some(), "nothing to abort"),
                Order::StartTls => {
                    assert!(block.is_empty(), "text before the handshake was kept");
                    if self.dice.once_in(self.harsh) {
                        self.server.on_closed();
                    } else {
                        self.server.on_tls();
                        if self.dice.once_in(2) {
                            self.server.on_exporter([7; 32]);
                        }
                    }
                }
                Order::MakeChallenge => {
                    let now = Wall::from_secs(1);
                    self.server.on_challenge("server-nonce", now);
                }
                Order::CheckProof { name, proof } => {
                    match proof {
                        Proof::Cram { digest, .. } => assert_eq!(digest.len(), 32),
                        #[cfg(feature = "ntlm")]
                        Proof::Ntlm(answer) => assert_eq!(answer.user(), name),
                    }
                    let _ = name;
                    let verdict = self.verdict();
                    self.server.on_verdict(verdict);
                }
                #[cfg(feature = "sso")]
                Order::CheckTicket { .. } => {
                    if self.dice.once_in(2) {
                        self.server.on_verdict(Err(Fault::AuthFailed));
                    } else {
                        self.server.on_ticket(accepted());
                    }
                }
                Order::FindVerifier { name } => {
                    let verifier = Verifier::decoy(name, b"secret");
                    self.server.on_verifier(verifier, "server-nonce");
                }
                Order::Close => {
                    assert!(self.draft.is_none(), "a draft was left behind");
                    break;
                }
                Order::TurnAround => break,
                Order::Pause(_) => {}
                Order::AskMail { .. }
                | Order::AskRcpt { .. }
                | Order::CheckPassword { .. }
                | Order::Etrn { .. }
                | Order::Atrn { .. } => {
                    let verdict = self.verdict();
                    self.server.on_verdict(verdict);
                }
            }
        }
    }
}

/// Whatever a peer says in NTLM, it is read or refused, nobody is let in, and the challenge we make can be read.
#[cfg(feature = "ntlm")]
pub fn ntlm(input: &[u8]) {
    use mailroot::smtp::sasl::ntlm::client;
    use mailroot::smtp::sasl::ntlm::server::{Begun, NtHash};

    let begun = match Begun::read(input) {
        Ok(begun) => begun,
        Err(_) => Begun::read(&client::negotiate()).unwrap(),
    };
    let (challenged, message) = begun.challenge([7; 8], "mx.example.com", Wall::from_secs(1));
    assert!(client::authenticate(&message, "me", "pencil", [1; 8]).is_ok());
    if let Ok(answer) = challenged.answer(input) {
        assert!(answer.user().len() <= limits::CREDENTIAL && !answer.user().contains('\0'));
        assert!(answer.check(&NtHash::derive("nobody's password")).is_err());
    }
    if let Ok(last) = client::authenticate(input, "OFFICE\\me", "pencil", [1; 8]) {
        assert!(last.starts_with(b"NTLMSSP\0\x03"));
    }
}

/// Without the feature there is nothing to check.
#[cfg(not(feature = "ntlm"))]
pub fn ntlm(_: &[u8]) {}

/// Whoever has shown a ticket.
#[cfg(feature = "sso")]
fn accepted() -> sasl::gssapi::accept::Accepted {
    use mailroot::smtp::sasl::gssapi::cipher::{Etype, Key};
    use mailroot::smtp::sasl::gssapi::layer::Context;

    let key = Key::new(Etype::Aes128Sha1, &[7; 16]).unwrap();
    sasl::gssapi::accept::Accepted {
        principal: "tim@OFFICE.EXAMPLE".to_owned(),
        reply: Some(b"reply".to_vec()),
        context: Context::new(key, 1, 1),
    }
}

/// Whatever is in a keytab, a token, or what is encrypted in one: it is read or refused, and nobody is let in.
#[cfg(feature = "sso")]
pub fn gssapi(input: &[u8]) {
    use mailroot::smtp::sasl::gssapi::accept::{accept, is_named, is_own};
    use mailroot::smtp::sasl::gssapi::keytab::Keytab;
    use mailroot::smtp::sasl::gssapi::messages::{Authenticator, Request, Ticket};
    use mailroot::smtp::sasl::gssapi::replay::Replays;

    let mut choices = Choices(input);
    let (kind, bytes) = (choices.byte(), choices.0);
    let named = |principal: &str| {
        assert!(principal.len() <= 2 * limits::PRINCIPAL);
        assert!(!principal.contains(char::is_control) && principal.contains('@'));
        assert!(is_named(&[principal.to_owned()], principal) && is_own(principal, ""));
    };
    match kind % 6 {
        0 => {
            let _ = Keytab::parse(bytes);
        }
        1 => {
            let keys = Keytab::default();
            let (allowed, now) = (["*@OFFICE.EXAMPLE".to_owned()], Wall::from_secs(1));
            let mut seen = Replays::default();
            let refused = accept(bytes, &keys, &allowed, &mut seen, now, [7; 20]).unwrap_err();
            assert!(!refused.to_string().is_empty());
        }
        2 => {
            if let Some(request) = Request::read(bytes) {
                named(&request.service.text());
            }
        }
        3 => {
            if let Some(ticket) = Ticket::read(bytes) {
                named(&ticket.client.text());
            }
        }
        4 => {
            if let Some(one) = Authenticator::read(bytes) {
                named(&one.client.text());
                let key = sasl::gssapi::cipher::Etype::of(17)
                    .and_then(|etype| sasl::gssapi::cipher::Key::new(etype, &[7; 16]));
                assert!(one.reply(&key.unwrap(), 1, [7; 16]).is_some());
            }
        }
        _ => assert!(accepted().context.choice(bytes).is_err()),
    }
}

/// Without the feature there is nothing to check.
#[cfg(not(feature = "sso"))]
pub fn gssapi(_: &[u8]) {}

/// The whole server: no bytes, in no blocks, with no verdicts, make it panic, run in a circle, lose or keep a draft,
/// or say yes to a message that is not stored.
pub fn server(input: &[u8]) {
    let mut choices = Choices(input);
    let (step, flags, more, harsh, seed) = (
        choices.step(),
        choices.byte(),
        choices.byte(),
        choices.byte(),
        choices.byte(),
    );
    let mut settings = server::settings::Settings::new(domain());
    settings.starttls = flags & 1 != 0;
    settings.require_tls = flags & 2 != 0 && flags & 1 != 0;
    settings.auth.plain = flags & 4 != 0;
    settings.auth.login = flags & 4 != 0;
    settings.auth.scram_sha_256 = flags & 8 != 0;
    settings.auth.cram_md5 = flags & 8 != 0;
    settings.auth.gssapi = cfg!(feature = "sso") && flags & 8 != 0;
    settings.auth.ntlm = cfg!(feature = "ntlm") && flags & 8 != 0;
    settings.auth_without_tls = flags & 16 != 0;
    settings.require_auth = flags & 32 != 0 && flags & 12 != 0;
    settings.message_size = (flags & 64 == 0).then_some(300);
    settings.session_size = (flags & 128 != 0).then_some(500);
    settings.extensions.binary = more & 1 != 0;
    settings.extensions.chunking = more & 2 == 0;
    settings.extensions.etrn = more & 4 != 0;
    settings.extensions.atrn = more & 8 != 0;
    settings.extensions.dsn = more & 16 == 0;
    settings.extensions.utf8 = more & 32 == 0;
    settings.tarpit = Duration::from_secs(u64::from(more >> 7));
    settings.default_domain = (more & 64 != 0).then(domain);
    settings.recipients = 5;
    settings.messages = 6;
    let mut play = Play::new(settings, Dice(u64::from(seed)), u64::from(harsh % 16));
    play.run(choices.0, step, true);
    let yes = count(&play.said, b"Queued mail for delivery");
    assert!(yes <= play.commits, "a yes to what is not stored");
    for reply in play.said.split_inclusive(|b| *b == b'\n') {
        let code: u16 = std::str::from_utf8(&reply[..3]).unwrap().parse().unwrap();
        assert!((200..600).contains(&code) && matches!(reply[3], b' ' | b'-'));
        assert!(
            reply.len() <= limits::REPLY_ROOM,
            "a reply of {}",
            reply.len()
        );
    }
}

fn count(text: &[u8], word: &[u8]) -> usize {
    text.windows(word.len()).filter(|w| *w == word).count()
}

/// The whole client: no peer makes it panic, run in a circle, forget a recipient, believe a yes before the message
/// was sent, or send one where TLS or a login is set and missing.
pub fn client(input: &[u8]) {
    use client::order::Order;
    let mut choices = Choices(input);
    let (step, flags, more) = (choices.step(), choices.byte(), choices.byte());
    let mut settings = client::settings::Settings::new(domain(), "peer".to_owned());
    settings.starttls = match flags & 3 {
        0 => StartTls::Required,
        1 => StartTls::IfOffered,
        _ => StartTls::Never,
    };
    let password = Secret::Password("pencil".to_owned());
    let token = Secret::Token("t".repeat(600));
    settings.login = (flags & 4 != 0).then(|| {
        let secret = if flags & 8 != 0 { token } else { password };
        Login::new("user".to_owned(), secret)
    });
    settings.login_without_tls = flags & 16 != 0;
    settings.pipelining = flags & 32 == 0;
    settings.chunking = flags & 64 == 0;
    settings.recipients = 1 + usize::from(more & 3);
    let (needs_tls, needs_login) = (
        settings.starttls == StartTls::Required,
        settings.login.is_some(),
    );
    let mut machine = Client::new(settings, false, "abcdefghijklmnopqrst".to_owned());
    // A peer that answers what it is asked, line by line, gets further than one that says everything at once.
    let mut blocks: Box<dyn Iterator<Item = &[u8]>> = match step {
        usize::MAX => Box::new(choices.0.split_inclusive(|byte| *byte == b'\n')),
        step => Box::new(choices.0.chunks(step)),
    };
    let (mut block, mut orders, mut left) = (&[][..], 0u64, 1 + (more >> 2 & 3));
    let (mut given, mut finished, mut bodies) = (0, 0, 0);
    loop {
        orders += 1;
        let most = 1000 + 30 * u64::try_from(input.len()).unwrap();
        assert!(orders < most, "it runs in a circle");
        match machine.next_order(now(orders), &mut block) {
            Order::Send(bytes) => {
                assert!(bytes.len() < 2 * limits::COMMANDS_OUT && bytes.ends_with(b"\r\n"));
                let secret = count(bytes, b"pencil") + count(bytes, &[b't'; 50]);
                assert_eq!(secret, 0, "a secret in the clear");
                if more & 16 != 0 && orders > 20 {
                    machine.on_write_failed();
                }
            }
            Order::Read(_) => {
                assert!(block.is_empty(), "reads with input left");
                match blocks.next() {
                    Some(next) => block = next,
                    None if more & 32 != 0 => machine.on_deadline(),
                    None => machine.on_closed(),
                }
            }
            Order::Ready if left == 0 => machine.on_quit(),
            Order::Ready => {
                assert!(!needs_tls || machine.is_encrypted(), "without TLS");
                assert!(!needs_login || machine.offer().auth.any, "without a login");
                left -= 1;
                given += 1;
                machine.on_message(message(more & 64 != 0));
            }
            Order::SendBody { opening, stuffer } => {
                assert_eq!(opening.is_empty(), !stuffer.is_bare());
                bodies += 1;
                match more {
                    0..128 => machine.on_body_sent(),
                    128..192 => machine.on_write_failed(),
                    _ => machine.on_body_failed("the disk is broken"),
                }
            }
            Order::Finished(outcomes) => {
                finished += 1;
                assert_eq!(outcomes.len(), 3);
                let done = outcomes.iter().any(|o| matches!(o, Outcome::Done(_)));
                assert!(!done || (bodies > 0 && more < 128), "a yes without a body");
            }
            Order::Refused(outcome) => {
                assert_eq!(given, 0);
                assert!(matches!(outcome, Outcome::Later(_) | Outcome::Hold(_)));
            }
            Order::StartTls => {
                assert!(block.is_empty(), "text before the handshake was kept");
                match more & 8 {
                    0 => {
                        machine.on_tls();
                        if flags & 128 != 0 {
                            machine.on_exporter([7; 32]);
                        }
                    }
                    _ => machine.on_tls_failed("a bad certificate", flags & 128 != 0),
                }
            }
            Order::Close => break,
        }
    }
    assert_eq!(given, finished, "a message without outcomes");
}

fn message(binary: bool) -> Message {
    let to = ["a@b", "\u{fc}@c", "d@e"];
    let envelope = Envelope {
        sender: Address::parse("f@g").ok(),
        recipients: to
            .iter()
            .map(|to| Recipient::new(Address::parse(to).unwrap()))
            .collect(),
        body: if binary { Body::Binary } else { Body::Eight },
        ..Envelope::default()
    };
    Message { envelope, size: 4 }
}
