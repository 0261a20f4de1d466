//! Walks a message in blocks of any size: passes it on, learns what its header holds, mends what it must.
//!
//! Trust: none. A field is known by its first [`limits::FIELD_NAME`] bytes; what is learnt and what is kept of the
//! header block is bounded, whatever comes. Never: looks into the body, but for line lengths and 8-bit bytes.

use crate::base::limits;
use crate::mail::header::block::find;
use crate::mail::header::block::is_name;

mod block;
mod facts;
mod field;

pub use block::fields;
pub use block::unfold;
pub use facts::Facts;
pub use facts::Priority;
pub use field::Field;

/// What to do to a message on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// For the local doors: bare LF and bare CR become CRLF, the last line gets its line end, and an mbox `From `
    /// line at the top goes. From the network line ends are right already or the transaction has ended.
    pub repair: bool,
    /// Fields to leave out, wherever they stand in the header.
    pub without: &'static [Field],
    /// Value of a `Date:` for a message without one; `None` leaves it out (the clock may not be known yet).
    pub date: Option<String>,
    /// Value of a `Message-ID:` for a message without one.
    pub message_id: Option<String>,
    /// Value of a `From:` for a message without one.
    pub from: Option<String>,
    /// Value of a `To:` for a message that has neither `To` nor `Cc` in what is passed on.
    pub to: Option<String>,
    /// Keep the header block as it came for [`Walker::block`], up to [`limits::HEADER_BLOCK`] bytes.
    pub capture: bool,
}

/// Where in the message the walker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first byte: an mbox line may stand here.
    Top,
    /// In the first bytes of a header line, which are held until they say what it is.
    Name,
    /// In an mbox line, which nobody needs.
    Mbox,
    /// Behind the name, in a line that is passed on or left out.
    Value { keep: bool },
    /// Behind the header.
    Body,
}

/// The walker. Feed it blocks, then finish it; what is to be passed on is appended to the buffer given.
#[derive(Debug)]
pub struct Walker {
    plan: Plan,
    facts: Facts,
    at: At,
    /// The start of the current line while it is not known: at most `FIELD_NAME` bytes.
    held: Vec<u8>,
    /// Whether the field before was passed on; `None` before the first field.
    before: Option<bool>,
    /// The field whose value is being learnt.
    learning: Option<Field>,
    value: Vec<u8>,
    block: Vec<u8>,
    /// Where the current line starts in `block`.
    block_line: usize,
    /// Bytes of the current line so far.
    line: usize,
    /// The last byte was a CR that has been taken as a line end; an LF right behind belongs to it.
    after_cr: bool,
}

impl Walker {
    /// A walker at the start of a message.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            facts: Facts::default(),
            at: At::Top,
            held: Vec::new(),
            before: None,
            learning: None,
            value: Vec::new(),
            block: Vec::new(),
            block_line: 0,
            line: 0,
            after_cr: false,
        }
    }

    /// Takes the next bytes of the message and appends what is to be passed on to `out`.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut rest = input;
        while !rest.is_empty() {
            if self.at == At::Body && !self.plan.repair {
                return self.body_as_it_is(rest, out);
            }
            if std::mem::take(&mut self.after_cr)
                && let Some(behind) = rest.strip_prefix(b"\n")
            {
                rest = behind;
                continue;
            }
            // In the header every line end counts by itself, since the body may begin behind any of them.
            let end = if self.at == At::Body {
                find(rest, b'\n')
            } else {
                rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))
            };
            let Some((text, behind)) = end.and_then(|at| rest.split_at_checked(at)) else {
                let text = rest.strip_suffix(b"\r").unwrap_or(rest);
                self.line_without_lf(text, out);
                if text.len() < rest.len() {
                    self.line_end(out);
                    self.after_cr = true;
                }
                return;
            };
            self.line_without_lf(text.strip_suffix(b"\r").unwrap_or(text), out);
            if self.at == At::Body && !self.plan.repair {
                // The body began inside this line, which therefore stays as it is.
                return self.body_as_it_is(behind, out);
            }
            self.line_end(out);
            self.after_cr = behind.first() == Some(&b'\r');
            rest = behind.get(1..).unwrap_or_default();
        }
    }

    /// Ends the message: a last line gets its line end, a header without a body its blank line.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.at == At::Body {
            if self.line > 0 && self.plan.repair {
                self.line_end(out);
            }
            return;
        }
        if self.line > 0 {
            self.line_end(out);
        }
        if self.at != At::Body {
            self.end_header(out);
        }
    }

    /// What was learnt so far.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The header block as it came, with CRLF, left-out fields included; empty unless the plan asked for it.
    pub fn block(&self) -> &[u8] {
        &self.block
    }

    /// Sets the `From` value to add, for who learns it from the header itself while it is walked.
    pub fn set_from(&mut self, from: String) {
        self.plan.from = Some(from);
    }

    /// A piece of a line that holds no LF; a CR inside is a line end of its own. With one inside it is a piece of a body
    /// that is mended.
    fn line_without_lf(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if !text.contains(&b'\r') {
            return self.text(text, out);
        }
        let mut pieces = text.split(|&byte| byte == b'\r').peekable();
        while let Some(piece) = pieces.next() {
            self.text(piece, out);
            if pieces.peek().is_some() {
                self.line_end(out);
            }
        }
    }

    /// A piece of a line.
    fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.line = self.line.saturating_add(text.len());
        if self.at == At::Body {
            self.facts.body_8bit |= !text.is_ascii();
            out.extend_from_slice(text);
            return;
        }
        match self.at {
            At::Value { keep } => self.value_text(text, keep, out),
            At::Top | At::Name => self.name_text(text, out),
            At::Mbox | At::Body => {}
        }
    }

    /// A piece of a header line whose name is known.
    fn value_text(&mut self, text: &[u8], keep: bool, out: &mut Vec<u8>) {
        self.facts.header_8bit |= !text.is_ascii();
        self.capture(text);
        if keep {
            out.extend_from_slice(text);
        }
        if self.learning.is_some() {
            let room = limits::FIELD_KEPT.saturating_sub(self.value.len());
            self.value
                .extend_from_slice(text.get(..room).unwrap_or(text));
        }
    }

    /// A piece of a header line whose name is not known yet.
    fn name_text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if self.held.is_empty() && matches!(text.first(), Some(b' ' | b'\t')) {
            return match self.before {
                Some(keep) => {
                    self.at = At::Value { keep };
                    self.value_text(text, keep, out);
                }
                None => self.no_field(text, out),
            };
        }
        let colon = find(text, b':')
            .filter(|at| self.held.len().saturating_add(*at) <= limits::FIELD_NAME)
            .and_then(|at| text.split_at_checked(at));
        if let Some((name, rest)) = colon {
            self.held.extend_from_slice(name);
            return if is_name(self.held.trim_ascii_end()) {
                self.begin_field(rest, out);
            } else {
                self.no_field(rest, out);
            };
        }
        if self.held.len().saturating_add(text.len()) <= limits::FIELD_NAME {
            self.held.extend_from_slice(text);
        } else {
            self.no_field(text, out);
        }
    }

    /// `held` is the name of a field, `rest` starts with its colon.
    fn begin_field(&mut self, rest: &[u8], out: &mut Vec<u8>) {
        self.learn();
        let name = std::mem::take(&mut self.held);
        let field = Field::named(name.trim_ascii_end());
        let keep = field.is_none_or(|field| !self.plan.without.contains(&field));
        if let Some(field) = field {
            self.facts.see(field);
        }
        self.at = At::Value { keep };
        self.before = Some(keep);
        self.value_text(&name, keep, out);
        self.learning = field.filter(|field| {
            matches!(
                field,
                Field::Subject
                    | Field::MessageId
                    | Field::Priority
                    | Field::Importance
                    | Field::XPriority
                    | Field::AutoSubmitted
                    | Field::TlsRequired
            )
        });
        self.value_text(rest, keep, out);
        self.held = name;
        self.held.clear();
    }

    /// `held` and `text` are no field. At the very top this may be an mbox line, else the body has begun.
    fn no_field(&mut self, text: &[u8], out: &mut Vec<u8>) {
        // A long line may be held in part, or not at all.
        let start = || self.held.iter().chain(text);
        let opens = |word: &[u8]| start().take(word.len()).eq(word);
        if self.plan.repair && self.at == At::Top && (opens(b"From ") || opens(b">From ")) {
            self.held.clear();
            self.at = At::Mbox;
            return;
        }
        self.end_header(out);
        let held = std::mem::take(&mut self.held);
        for piece in [held.as_slice(), text] {
            self.facts.body_8bit |= !piece.is_ascii();
            out.extend_from_slice(piece);
        }
    }

    fn line_end(&mut self, out: &mut Vec<u8>) {
        let length = std::mem::take(&mut self.line);
        self.facts.longest_line = self.facts.longest_line.max(length);
        match self.at {
            At::Body => out.extend_from_slice(b"\r\n"),
            At::Value { keep } => {
                self.capture(b"\r\n");
                self.block_line = self.block.len();
                if keep {
                    out.extend_from_slice(b"\r\n");
                }
                self.at = At::Name;
            }
            At::Mbox => self.at = At::Name,
            At::Top | At::Name if length == 0 => self.end_header(out),
            At::Top | At::Name => {
                self.no_field(b"", out);
                if self.at == At::Body {
                    out.extend_from_slice(b"\r\n");
                } else {
                    self.at = At::Name;
                }
            }
        }
    }

    /// Adds what is missing and the blank line.
    fn end_header(&mut self, out: &mut Vec<u8>) {
        self.learn();
        let facts = &self.facts;
        let goes_on = |field: Field| facts.has(field) && !self.plan.without.contains(&field);
        let has_destination = goes_on(Field::To) || goes_on(Field::Cc);
        for (missing, name, value) in [
            (!facts.has(Field::Date), "Date", &self.plan.date),
            (
                !facts.has(Field::MessageId),
                "Message-ID",
                &self.plan.message_id,
            ),
            (!facts.has(Field::From), "From", &self.plan.from),
            (!has_destination, "To", &self.plan.to),
        ] {
            if let (true, Some(value)) = (missing, value) {
                for part in [name, ": ", value, "\r\n"] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
        }
        out.extend_from_slice(b"\r\n");
        self.facts.header_over = true;
        self.at = At::Body;
    }

    /// Writes down the value that has been collected.
    fn learn(&mut self) {
        if let Some(field) = self.learning.take() {
            let value = std::mem::take(&mut self.value);
            self.facts.learn(field, &value);
        }
    }

    fn capture(&mut self, text: &[u8]) {
        if !self.plan.capture || self.facts.cut {
            return;
        }
        if self.block.len().saturating_add(text.len()) > limits::HEADER_BLOCK {
            self.facts.cut = true;
            self.block.truncate(self.block_line);
        } else {
            self.block.extend_from_slice(text);
        }
    }

    /// The body when nothing is to be changed: a copy, and a count of line lengths.
    fn body_as_it_is(&mut self, input: &[u8], out: &mut Vec<u8>) {
        // The LF of a CRLF whose CR ended the block before, in the header.
        let input = if std::mem::take(&mut self.after_cr) {
            input.strip_prefix(b"\n").unwrap_or(input)
        } else {
            input
        };
        out.extend_from_slice(input);
        self.facts.body_8bit |= !input.is_ascii();
        let mut rest = input;
        while let Some((text, behind)) = find(rest, b'\n').and_then(|at| rest.split_at_checked(at))
        {
            // A CR alone in the block before counts as one byte too many: a bound, not a measure.
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            let length = self.line.saturating_add(text.len());
            self.facts.longest_line = self.facts.longest_line.max(length);
            self.line = 0;
            rest = behind.get(1..).unwrap_or_default();
        }
        self.line = self.line.saturating_add(rest.len());
    }
}

#[cfg(test)]
mod tests {
    use super::{Facts, Field, Plan, Priority, Walker, fields};
    use crate::base::dice::Dice;
    use crate::base::limits;

    fn local() -> Plan {
        Plan {
            repair: true,
            without: &[Field::Bcc, Field::ResentBcc],
            date: Some("D".into()),
            message_id: Some("<m@h>".into()),
            from: Some("f@h".into()),
            ..Plan::default()
        }
    }

    fn walk(plan: &Plan, message: &[u8], step: usize) -> (Vec<u8>, Facts, Vec<u8>) {
        let mut walker = Walker::new(plan.clone());
        let mut out = Vec::new();
        for block in message.chunks(step) {
            walker.feed(block, &mut out);
        }
        walker.finish(&mut out);
        let block = walker.block().to_vec();
        (out, walker.facts().clone(), block)
    }

    #[test]
    fn local_mail_is_mended_at_every_block_size() {
        let all = "Date: D\r\nMessage-ID: <m@h>\r\nFrom: f@h\r\n";
        for (message, want) in [
            // Nothing missing, nothing changed but the line ends.
            (
                "From: a@b\nDate: x\nMessage-Id: <1@b>\n\nhi\n",
                "From: a@b\r\nDate: x\r\nMessage-Id: <1@b>\r\n\r\nhi\r\n".to_owned(),
            ),
            // What is missing comes right before the blank line; Bcc goes with its folds.
            (
                "Subject: s\nBCC : a@b,\n\tc@d\n e@f\nTo: g@h\n\nhi",
                format!("Subject: s\r\nTo: g@h\r\n{all}\r\nhi\r\n"),
            ),
            // No header at all, no body at all, nothing at all.
            ("just text\n", format!("{all}\r\njust text\r\n")),
            (
                "a line: with colon\n",
                format!("{all}\r\na line: with colon\r\n"),
            ),
            ("\n\nafter two\n", format!("{all}\r\n\r\nafter two\r\n")),
            ("To: a@b\n", format!("To: a@b\r\n{all}\r\n")),
            ("To: a@b", format!("To: a@b\r\n{all}\r\n")),
            ("", format!("{all}\r\n")),
            ("x", format!("{all}\r\nx\r\n")),
            // The header ends where a line is no field.
            (
                "To: a@b\nhello\nCc: c@d\n",
                format!("To: a@b\r\n{all}\r\nhello\r\nCc: c@d\r\n"),
            ),
            (
                " first\nTo: a@b\n",
                format!("{all}\r\n first\r\nTo: a@b\r\n"),
            ),
            // Line ends of every kind.
            (
                "To: a@b\r\r\nx\ry\r\n\r\n",
                format!("To: a@b\r\n{all}\r\nx\r\ny\r\n\r\n"),
            ),
            ("To: a@b\r\rx\r", format!("To: a@b\r\n{all}\r\nx\r\n")),
            // An mbox line with and without a colon.
            (
                "From pi Thu Jan 1 12:00:00 1970\nTo: a@b\n\nx\n",
                format!("To: a@b\r\n{all}\r\nx\r\n"),
            ),
            (
                "From pi\nTo: a@b\n\nx\n",
                format!("To: a@b\r\n{all}\r\nx\r\n"),
            ),
            // One that is longer than what is held of a line.
            (
                "From pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi pi \
                 pi pi pi pi pi pi pi pi pi\nTo: a@b\n\nx\n",
                format!("To: a@b\r\n{all}\r\nx\r\n"),
            ),
            // Dots and NULs are the message's.
            (
                "To: a@b\n\n.\n..\n\0\n",
                format!("To: a@b\r\n{all}\r\n.\r\n..\r\n\0\r\n"),
            ),
        ] {
            for step in 1..=message.len().max(1) {
                let (out, facts, _) = walk(&local(), message.as_bytes(), step);
                assert_eq!(String::from_utf8_lossy(&out), want, "step {step}");
                assert!(facts.header_over);
            }
        }
    }

    #[test]
    fn from_the_network_the_body_is_not_touched() {
        let message = b"From: a@b\r\nBcc: x@y\r\n\r\n\n.\r\nlone \r here\0\nend";
        for step in 1..=message.len() {
            let (out, facts, _) = walk(&Plan::default(), message, step);
            assert_eq!(out, message, "step {step}");
            assert!(facts.has(Field::Bcc) && !facts.has(Field::Date));
        }
    }

    #[test]
    fn the_walker_learns_what_a_relay_needs() {
        let message = "Received: one\r\nreceived : two\r\nSubject: =?utf-8?q?disk?= is\r\n\tfull\r\n\
            Message-ID:\r\n <1@x>\r\nX-Priority: 3\r\nImportance: High\r\nAuto-Submitted: auto-generated\r\n\
            From: j\u{f6}rg@x\r\nTo: a@b\r\n\r\nb\u{f6}dy 1234567890\r\n";
        for step in 1..=message.len() {
            let (_, facts, _) = walk(&local(), message.as_bytes(), step);
            assert_eq!(facts.hops, 2);
            assert_eq!(facts.subject, "=?utf-8?q?disk?= is\tfull");
            assert_eq!(facts.message_id, "<1@x>");
            assert_eq!(facts.priority, Priority::High);
            assert!(facts.automatic && facts.header_8bit && facts.body_8bit);
            assert!(facts.has(Field::ContentType) == message.contains("Content-Type"));
            assert_eq!(facts.longest_line, "Auto-Submitted: auto-generated".len());
        }
    }

    #[test]
    fn a_header_over_the_cap_is_passed_on_and_kept_in_part() {
        let mut message = b"To: first@x\r\n".to_vec();
        while message.len() < limits::HEADER_BLOCK + 1000 {
            message.extend_from_slice(b"X-Filler: 0123456789012345678901234567890123456789\r\n");
        }
        message.extend_from_slice(b"Bcc: late@x\r\n\r\nbody\r\n");
        let plan = Plan {
            capture: true,
            ..local()
        };
        for step in [7, 4096, message.len()] {
            let (out, facts, block) = walk(&plan, &message, step);
            assert!(facts.cut && block.len() <= limits::HEADER_BLOCK);
            assert!(block.ends_with(b"9\r\n") && block.starts_with(b"To: first@x\r\n"));
            assert!(out.ends_with(b"\r\n\r\nbody\r\n"));
            assert!(!out.windows(6).any(|w| w == b"late@x"));
        }
    }

    #[test]
    fn the_block_is_kept_as_it_came() {
        let plan = Plan {
            capture: true,
            ..local()
        };
        let (_, _, block) = walk(&plan, b"From x y\nBcc: a@b\nTo: c@d,\n e@f\n\nbody\n", 3);
        assert_eq!(block, b"Bcc: a@b\r\nTo: c@d,\r\n e@f\r\n");
        let list: Vec<_> = fields(&block).collect();
        assert_eq!(
            list,
            [
                (&b"Bcc"[..], &b" a@b"[..]),
                (&b"To"[..], &b" c@d,\r\n e@f"[..])
            ]
        );
    }

    #[test]
    fn no_line_however_long_is_held() {
        let mut walker = Walker::new(local());
        let mut out = Vec::new();
        for _ in 0..1000 {
            walker.feed(&[b'x'; 1000], &mut out);
            assert!(walker.held.len() <= limits::FIELD_NAME);
            out.clear();
        }
        assert!(walker.facts().header_over);
    }

    #[test]
    fn the_block_size_never_matters() {
        // Pieces that mean something, put together at random.
        const PIECES: [&[u8]; 16] = [
            b"\r",
            b"\n",
            b"\r\n",
            b"\r\n\r\n",
            b":",
            b" ",
            b"\t",
            b"Bcc: a@b",
            b"To",
            b"From x",
            b"Subject: s",
            b".",
            b"\0",
            b"\xff",
            b"Received: r",
            b"word",
        ];
        let mut dice = Dice::new(1);
        for _ in 0..2_000 {
            let message: Vec<u8> = (0..dice.pick(24))
                .flat_map(|_| PIECES[dice.pick(PIECES.len())].iter().copied())
                .collect();
            for plan in [
                local(),
                Plan {
                    capture: true,
                    ..Plan::default()
                },
            ] {
                let whole = walk(&plan, &message, message.len().max(1));
                for step in [1, 2, 3, 5] {
                    let mut parts = walk(&plan, &message, step);
                    if !plan.repair {
                        // A bound in this mode, and looser the smaller the blocks.
                        parts.1.longest_line = whole.1.longest_line;
                    }
                    assert_eq!(parts, whole, "{message:?} in steps of {step}");
                }
                if plan.repair {
                    let text = whole.0;
                    assert!(text.ends_with(b"\r\n"));
                    let lf = text.iter().filter(|&&b| b == b'\n').count();
                    let cr = text.iter().filter(|&&b| b == b'\r').count();
                    let both = text.windows(2).filter(|w| w == b"\r\n").count();
                    assert!(lf == cr && lf == both, "{message:?}");
                }
            }
        }
    }
}
