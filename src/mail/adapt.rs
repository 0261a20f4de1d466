//! Brings a message into a form that a peer takes: 8-bit text, bytes and lines that are too long become
//! quoted-printable or base64 (RFC 6152 s3), everything else stays byte for byte.
//!
//! Three passes over the body, none of which holds it: [`Glance`] tells cheaply whether there is anything to do, which
//! is hardly ever the case; [`Survey`] walks the parts and makes a [`Plan`]; [`Adapter`] writes what the plan says. Only
//! parts that need it change, and the fields that describe them.
//!
//! Never: changes what a `multipart/signed` covers. Such a part that the peer cannot take is a fault to be reported;
//! one with a line that is merely too long is sent, since most peers bear it.

use crate::base::limits;
use crate::mail::adapt::encode::Based;
use crate::mail::adapt::encode::Folded;
use crate::mail::adapt::encode::Quoted;
use crate::mail::adapt::encode::Softened;
use crate::mail::adapt::field::Encoding;
use crate::mail::adapt::field::Kind;
use crate::mail::adapt::walk::Entity;
use crate::mail::adapt::walk::Piece;
use crate::mail::adapt::walk::Sink;
use crate::mail::adapt::walk::Walk;

mod encode;
mod field;
mod walk;

/// What the peer does not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// No byte above 127 in a body.
    pub seven: bool,
    /// Lines of bounded length, without NUL and stray CR or LF. False for BINARYMIME only.
    pub lines: bool,
}

/// A quick look at a message.
#[derive(Clone, Debug)]
pub struct Glance {
    /// A byte above 127 in the header of the message.
    pub header_8bit: bool,
    /// One behind it.
    pub body_8bit: bool,
    /// A line over the limit.
    pub long: bool,
    /// NUL, or a CR or LF without the other.
    pub stray: bool,
    /// Bytes of the line so far.
    column: usize,
    cr: bool,
    header: bool,
}

impl Default for Glance {
    fn default() -> Self {
        Self {
            header_8bit: false,
            body_8bit: false,
            long: false,
            stray: false,
            column: 0,
            cr: false,
            header: true,
        }
    }
}

impl Glance {
    /// The next block of the message.
    pub fn push(&mut self, block: &[u8]) {
        let mut rest = block;
        while let Some((&first, _)) = rest.split_first() {
            if self.cr {
                self.cr = false;
                if first == b'\n' {
                    self.header &= self.column > 0;
                    self.column = 0;
                    rest = rest.get(1..).unwrap_or_default();
                    continue;
                }
                self.stray = true;
            }
            // Up to what may end the line, in one go.
            let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n' | 0));
            let (text, behind) = rest
                .split_at_checked(end.unwrap_or(rest.len()))
                .unwrap_or((rest, b""));
            if !text.is_ascii() {
                if self.header {
                    self.header_8bit = true;
                } else {
                    self.body_8bit = true;
                }
            }
            self.column = self.column.saturating_add(text.len());
            self.long |= self.column > limits::TEXT_LINE;
            rest = behind;
            if let Some((&special, after)) = behind.split_first() {
                self.cr = special == b'\r';
                self.stray |= special != b'\r';
                rest = after;
            }
        }
    }

    /// Whether the message is as it should be for this peer.
    pub fn fits(&self, needs: Needs) -> bool {
        let seven = !needs.seven || !self.body_8bit;
        seven && (!needs.lines || !(self.long || self.stray || self.cr))
    }
}

/// What becomes of one entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fate {
    coding: Coding,
    /// It has no `Content-Type`, and what is in it has to be said.
    charset: Option<Charset>,
    /// It has no `MIME-Version`.
    unversioned: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    /// Stays.
    #[default]
    Same,
    /// Its label said more than is true now.
    Relabel,
    /// Becomes quoted-printable.
    Quote,
    /// Becomes base64.
    Base,
    /// Was quoted-printable, with lines that are too long.
    Soften,
    /// Was base64, with lines that are too long.
    Rewrap,
}

/// What text without a `Content-Type` is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charset {
    Ascii,
    Utf8,
    /// RFC 1428.
    Unknown,
}

/// Why a peer cannot get a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// What has to change is signed.
    Signed,
    /// What has to change is in an encoding or a structure that is not understood.
    Closed,
}

/// What to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    needs: Needs,
    /// By number of the entity; those behind the last stay.
    fates: Vec<Fate>,
    /// A byte above 127 in any header, of a part or of a message inside.
    pub header_8bit: bool,
}

impl Plan {
    fn fate(&self, at: &Entity) -> Fate {
        self.fates.get(at.number).copied().unwrap_or_default()
    }
}

/// Walks a message and finds out what has to change.
#[derive(Debug)]
pub struct Survey {
    walk: Walk,
    seen: Seen,
}

#[derive(Debug)]
struct Seen {
    needs: Needs,
    plan: Plan,
    unfit: Option<Unfit>,
    text: Counts,
}

/// What is in one entity.
#[derive(Clone, Debug, Default)]
struct Counts {
    all: u64,
    /// Bytes above 127.
    eight: u64,
    /// Bytes that quoted-printable writes as three.
    dear: u64,
    long: bool,
    stray: bool,
    utf8: Utf8,
}

impl Survey {
    /// For a peer with these needs.
    pub fn new(needs: Needs) -> Self {
        let plan = Plan {
            needs,
            ..Plan::default()
        };
        Self {
            walk: Walk::default(),
            seen: Seen {
                needs,
                plan,
                unfit: None,
                text: Counts::default(),
            },
        }
    }

    /// The next block of the message.
    pub fn push(&mut self, block: &[u8]) {
        self.walk.push(block, &mut self.seen);
    }

    /// The message is over: what to do.
    pub fn end(mut self) -> Result<Plan, Unfit> {
        self.walk.end(&mut self.seen);
        match self.seen.unfit {
            Some(unfit) => Err(unfit),
            None => Ok(self.seen.plan),
        }
    }
}

impl Seen {
    fn decide(&mut self, at: &Entity, fate: Fate) {
        if at.number >= limits::MIME_PARTS {
            return;
        }
        let fates = &mut self.plan.fates;
        if fates.len() <= at.number {
            fates.resize(at.number.saturating_add(1), Fate::default());
        }
        if let Some(slot) = fates.get_mut(at.number) {
            *slot = fate;
        }
    }

    /// What becomes of an entity in which this was seen.
    fn coding(&mut self, at: &Entity, text: &Counts) -> Coding {
        let seven = self.needs.seven && text.eight > 0;
        if !seven && !(self.needs.lines && (text.long || text.stray)) {
            return self.label(at);
        }
        let closed = at.kind == Kind::Closed || at.encoding == Encoding::Unknown;
        if at.signed || closed || at.number >= limits::MIME_PARTS {
            if seven || (self.needs.lines && text.stray) {
                self.unfit.get_or_insert(if at.signed {
                    Unfit::Signed
                } else {
                    Unfit::Closed
                });
            }
            return Coding::Same;
        }
        match at.encoding {
            Encoding::Quoted => Coding::Soften,
            Encoding::Base64 => Coding::Rewrap,
            // Quoted-printable can be read by eye as long as most of it is ASCII; beyond that base64 is shorter.
            _ if at.kind == Kind::Text && text.dear.saturating_mul(3) <= text.all => Coding::Quote,
            _ => Coding::Base,
        }
    }

    fn label(&self, at: &Entity) -> Coding {
        let more = match at.encoding {
            Encoding::Eight => self.needs.seven,
            Encoding::Binary => self.needs.lines,
            _ => false,
        };
        if more && !at.signed {
            Coding::Relabel
        } else {
            Coding::Same
        }
    }
}

impl Sink for Seen {
    fn field(&mut self, _: &Entity, line: Piece<'_>, _: bool) {
        self.plan.header_8bit |= !line.text.is_ascii();
    }

    fn header_end(&mut self, at: &Entity, _: bool) {
        self.text = Counts::default();
        if matches!(at.kind, Kind::Multipart { .. } | Kind::Message) {
            let fate = Fate {
                coding: self.label(at),
                charset: None,
                unversioned: false,
            };
            self.decide(at, fate);
        }
    }

    fn text(&mut self, _: &Entity, line: Piece<'_>) {
        let text = &mut self.text;
        text.long |= line.is_long();
        for &byte in line.text {
            text.all = text.all.saturating_add(1);
            text.utf8.push(byte);
            text.eight = text.eight.saturating_add(u64::from(byte > 127));
            let dear = !matches!(byte, b'\t' | b' '..=b'~') || byte == b'=';
            text.dear = text.dear.saturating_add(u64::from(dear));
            text.stray |= matches!(byte, 0 | b'\r' | b'\n');
        }
    }

    fn line_end(&mut self, _: &Entity) {
        self.text.utf8.push(b'\n');
    }

    fn text_end(&mut self, at: &Entity) {
        let text = std::mem::take(&mut self.text);
        let coding = self.coding(at, &text);
        let new = matches!(coding, Coding::Quote | Coding::Base);
        let charset = match (text.eight > 0, text.utf8.is_good()) {
            (false, _) => Charset::Ascii,
            (true, true) => Charset::Utf8,
            (true, false) => Charset::Unknown,
        };
        let fate = Fate {
            coding,
            charset: (new && !at.typed).then_some(charset),
            unversioned: new && at.number == 0 && !at.versioned,
        };
        self.decide(at, fate);
    }

    fn aside(&mut self, _: &Entity, _: Piece<'_>) {}

    fn delimiter(&mut self, _: &[u8], _: bool) {}
}

/// Whether bytes are UTF-8, told one by one. Lenient where it does not matter: to tell it from other charsets.
#[derive(Clone, Copy, Debug, Default)]
struct Utf8 {
    left: u8,
    bad: bool,
}

impl Utf8 {
    fn push(&mut self, byte: u8) {
        match (self.left, byte) {
            (0, 0..=0x7f) => {}
            (0, 0xc2..=0xdf) => self.left = 1,
            (0, 0xe0..=0xef) => self.left = 2,
            (0, 0xf0..=0xf4) => self.left = 3,
            (1.., 0x80..=0xbf) => self.left -= 1,
            _ => self.bad = true,
        }
    }

    fn is_good(self) -> bool {
        !self.bad && self.left == 0
    }
}

/// Writes the message as the plan says.
#[derive(Debug)]
pub struct Adapter {
    walk: Walk,
    writer: Writer,
}

#[derive(Debug)]
struct Writer {
    plan: Plan,
    out: Vec<u8>,
    quoted: Quoted,
    softened: Softened,
    based: Based,
    folded: Folded,
    /// The line end of the last text went into its encoding; the message needs one of its own.
    open: bool,
    /// Bytes of the line between parts.
    column: usize,
}

impl Adapter {
    /// By this plan.
    pub fn new(plan: Plan) -> Self {
        Self {
            walk: Walk::default(),
            writer: Writer {
                plan,
                out: Vec::new(),
                quoted: Quoted::default(),
                softened: Softened::default(),
                based: Based::default(),
                folded: Folded::default(),
                open: false,
                column: 0,
            },
        }
    }

    /// The next block of the message. Appends to `out` what can be written, a little over three times as much at most.
    pub fn push(&mut self, block: &[u8], out: &mut Vec<u8>) {
        self.lend(out, |walk, writer| walk.push(block, writer));
    }

    /// The message is over.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.lend(out, |walk, writer| {
            walk.end(writer);
            if writer.open {
                writer.out.extend_from_slice(b"\r\n");
            }
        });
    }

    /// Lets the writer write into `out`.
    fn lend(&mut self, out: &mut Vec<u8>, work: impl FnOnce(&mut Walk, &mut Writer)) {
        std::mem::swap(&mut self.writer.out, out);
        work(&mut self.walk, &mut self.writer);
        std::mem::swap(&mut self.writer.out, out);
    }
}

impl Writer {
    fn same(&mut self, line: Piece<'_>) {
        self.out.extend_from_slice(line.text);
    }
}

impl Sink for Writer {
    fn field(&mut self, at: &Entity, line: Piece<'_>, encoding: bool) {
        let coding = self.plan.fate(at).coding;
        if encoding && matches!(coding, Coding::Quote | Coding::Base | Coding::Relabel) {
            return;
        }
        if line.is_long() && self.plan.needs.lines && !at.signed {
            self.folded.text(line.text, &mut self.out);
            if line.last {
                self.folded.end(&mut self.out);
            }
        } else {
            self.same(line);
        }
        if line.last {
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn header_end(&mut self, at: &Entity, blank: bool) {
        let fate = self.plan.fate(at);
        let mut put = |line: &str| self.out.extend_from_slice(line.as_bytes());
        if fate.unversioned {
            put("MIME-Version: 1.0\r\n");
        }
        match fate.charset {
            Some(Charset::Ascii) => put("Content-Type: text/plain; charset=us-ascii\r\n"),
            Some(Charset::Utf8) => put("Content-Type: text/plain; charset=utf-8\r\n"),
            Some(Charset::Unknown) => put("Content-Type: text/plain; charset=unknown-8bit\r\n"),
            None => {}
        }
        match fate.coding {
            Coding::Quote => put("Content-Transfer-Encoding: quoted-printable\r\n"),
            Coding::Base => put("Content-Transfer-Encoding: base64\r\n"),
            Coding::Relabel if self.plan.needs.seven => {
                put("Content-Transfer-Encoding: 7bit\r\n");
            }
            Coding::Relabel => put("Content-Transfer-Encoding: 8bit\r\n"),
            Coding::Same | Coding::Soften | Coding::Rewrap => {}
        }
        if blank || fate != Fate::default() {
            self.out.extend_from_slice(b"\r\n");
        }
        self.quoted = Quoted::default();
        self.softened = Softened::default();
        self.based = Based::default();
        self.open = false;
    }

    fn text(&mut self, at: &Entity, line: Piece<'_>) {
        match self.plan.fate(at).coding {
            Coding::Same | Coding::Relabel => self.same(line),
            Coding::Quote => self.quoted.text(line.text, &mut self.out),
            Coding::Base => self.based.bytes(line.text, &mut self.out),
            Coding::Soften => self.softened.text(line.text, line.is_long(), &mut self.out),
            Coding::Rewrap => self.based.again(line.text, &mut self.out),
        }
    }

    fn line_end(&mut self, at: &Entity) {
        match self.plan.fate(at).coding {
            Coding::Same | Coding::Relabel => self.out.extend_from_slice(b"\r\n"),
            Coding::Quote => self.quoted.line_end(&mut self.out),
            Coding::Base => self.based.bytes(b"\r\n", &mut self.out),
            Coding::Soften => {
                self.softened.line_end();
                self.out.extend_from_slice(b"\r\n");
            }
            Coding::Rewrap => {}
        }
    }

    fn text_end(&mut self, at: &Entity) {
        match self.plan.fate(at).coding {
            Coding::Quote => self.quoted.end(&mut self.out),
            Coding::Base => self.based.end(&mut self.out),
            _ => {}
        }
        self.open = matches!(self.plan.fate(at).coding, Coding::Base | Coding::Rewrap);
    }

    fn aside(&mut self, at: &Entity, line: Piece<'_>) {
        if at.signed {
            self.same(line);
        } else {
            for &byte in line.text {
                if self.plan.needs.lines && self.column == limits::TEXT_LINE {
                    self.out.extend_from_slice(b"\r\n");
                    self.column = 0;
                }
                let seven = self.plan.needs.seven && byte > 127;
                self.out.push(if seven { b'?' } else { byte });
                self.column += 1;
            }
        }
        if line.last {
            self.out.extend_from_slice(b"\r\n");
            self.column = 0;
        }
    }

    fn delimiter(&mut self, line: &[u8], broken: bool) {
        if broken {
            self.out.extend_from_slice(b"\r\n");
        }
        self.out.extend_from_slice(line);
        self.out.extend_from_slice(b"\r\n");
        self.open = false;
    }
}

#[cfg(test)]
mod tests {
    use super::{Adapter, Glance, Needs, Plan, Survey, Unfit};

    const SEVEN: Needs = Needs {
        seven: true,
        lines: true,
    };
    const LINES: Needs = Needs {
        seven: false,
        lines: true,
    };

    fn plan(message: &[u8], needs: Needs, step: usize) -> Result<Plan, Unfit> {
        let mut survey = Survey::new(needs);
        message.chunks(step).for_each(|block| survey.push(block));
        survey.end()
    }

    fn adapted(message: &[u8], needs: Needs, step: usize) -> Result<Vec<u8>, Unfit> {
        let plan = plan(message, needs, step)?;
        let (mut adapter, mut out) = (Adapter::new(plan), Vec::new());
        for block in message.chunks(step) {
            adapter.push(block, &mut out);
        }
        adapter.end(&mut out);
        Ok(out)
    }

    fn glance(message: &[u8], step: usize) -> Glance {
        let mut glance = Glance::default();
        message.chunks(step).for_each(|block| glance.push(block));
        glance
    }

    /// Adapts at several block sizes and insists that they make no difference, and that the result fits.
    fn check(message: &str, needs: Needs) -> String {
        let whole = adapted(message.as_bytes(), needs, usize::MAX).unwrap();
        for step in [1, 2, 3, 7, 64, 999] {
            assert!(
                adapted(message.as_bytes(), needs, step).unwrap() == whole,
                "by {step}"
            );
        }
        assert!(
            glance(&whole, 5).fits(needs),
            "{}",
            String::from_utf8_lossy(&whole)
        );
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn a_glance_tells_whether_there_is_anything_to_do() {
        let long = format!("a: b\r\n\r\n{}\r\n", "x".repeat(999));
        let edge = format!("a: b\r\n\r\n{}\r\n", "x".repeat(998));
        for (message, seven, lines) in [
            ("Subject: x\r\n\r\nhi\r\n", true, true),
            ("Subject: \u{e9}\r\n\r\nhi\r\n", true, true),
            ("Subject: x\r\n\r\n\u{e9}\r\n", false, true),
            (&long, false, false),
            (&edge, true, true),
            ("a: b\r\n\r\na\nb\r\n", false, false),
            ("a: b\r\n\r\na\rb\r\n", false, false),
            ("a: b\r\n\r\na\0b\r\n", false, false),
            ("a: b\r\n\r\na\r", false, false),
            ("", true, true),
        ] {
            for step in 1..=message.len().clamp(1, 40) {
                let glance = glance(message.as_bytes(), step);
                let got = (glance.fits(SEVEN), glance.fits(LINES));
                assert_eq!(got, (seven, lines), "{message:?} by {step}");
                assert_eq!(glance.header_8bit, message.starts_with("Subject: \u{e9}"));
            }
            assert!(
                glance(message.as_bytes(), 3).fits(Needs::default())
                    || message.contains('\u{e9}')
                    || !lines
            );
        }
    }

    #[test]
    fn text_without_mime_gets_the_fields_it_needs() {
        let got = check("Subject: x\r\nTo: a@b\r\n\r\ncaf\u{e9} \r\n.\r\n", SEVEN);
        assert_eq!(
            got,
            "Subject: x\r\nTo: a@b\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9=20\r\n.\r\n"
        );
        let latin = [b"Subject: x\r\n\r\nall is well with caf\xe9\r\n".as_slice()].concat();
        let got = String::from_utf8(adapted(&latin, SEVEN, 9).unwrap()).unwrap();
        assert!(
            got.contains("charset=unknown-8bit\r\n")
                && got.ends_with("\r\n\r\nall is well with caf=E9\r\n"),
            "{got}"
        );
        let long = format!("Subject: x\r\n\r\n{}\r\n", "word ".repeat(600));
        let got = check(&long, LINES);
        assert!(got.contains("us-ascii") && got.lines().all(|line| line.len() <= 76));
        // No blank line, and yet a body.
        let got = check(
            "Subject: x\r\n\u{e9}t\u{e9}, and a lot of other words\r\n",
            SEVEN,
        );
        assert!(
            got.ends_with("quoted-printable\r\n\r\n=C3=A9t=C3=A9, and a lot of other words\r\n"),
            "{got}"
        );
    }

    const MIXED: &str = "From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"b 1\"\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\npre\u{e9}amble\r\n--b 1\r\n\r\nplain ASCII stays  \r\n--b 1 \r\n\
        Content-Type: text/html; charset=utf-8\r\ncontent-transfer-encoding:\r\n 8bit\r\nX-Own: kept\r\n\r\n\
        <p>caf\u{e9} and a little more of it</p>\r\n\r\n--b 1\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
        \u{e9}\u{e9}\r\nend\r\n--b 1\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\n\
        gr\u{fc}n is what the inside of this message is\r\n--b 1--\r\nepilogue\r\n";

    #[test]
    fn only_the_parts_that_need_it_change() {
        assert_eq!(
            check(MIXED, SEVEN),
            "From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"b 1\"\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\npre??amble\r\n--b 1\r\n\r\nplain ASCII stays  \r\n--b 1 \r\n\
             Content-Type: text/html; charset=utf-8\r\nX-Own: kept\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
             <p>caf=C3=A9 and a little more of it</p>\r\n\r\n--b 1\r\nContent-Type: image/png\r\n\
             Content-Transfer-Encoding: base64\r\n\r\nw6nDqQ0KZW5k\r\n--b 1\r\nContent-Type: message/rfc822\r\n\r\n\
             Subject: inner\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
             gr=C3=BCn is what the inside of this message is\r\n--b 1--\r\nepilogue\r\n"
        );
        assert_eq!(check(MIXED, LINES), MIXED);
    }

    #[test]
    fn what_is_signed_stays_or_is_reported() {
        let signed = |text: &str| {
            format!(
                "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=s; protocol=\"x/y\"\r\n\r\n\
                 --s\r\nContent-Type: text/plain\r\n\r\n{text}\r\n--s\r\nContent-Type: x/y\r\n\r\nMIAG\r\n--s--\r\n"
            )
        };
        assert_eq!(
            plan(signed("\u{e9}").as_bytes(), SEVEN, 4),
            Err(Unfit::Signed)
        );
        let long = signed(&"x".repeat(3000));
        assert_eq!(
            adapted(long.as_bytes(), SEVEN, 10).unwrap(),
            long.as_bytes()
        );
        let odd = "MIME-Version: 1.0\r\nContent-Transfer-Encoding: x-uue\r\n\r\n\u{e9}\r\n";
        assert_eq!(plan(odd.as_bytes(), SEVEN, 4), Err(Unfit::Closed));
        let closed = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed\r\n\r\n\u{e9}\r\n";
        assert_eq!(plan(closed.as_bytes(), SEVEN, 4), Err(Unfit::Closed));
    }

    #[test]
    fn lines_that_are_too_long_are_broken_where_they_mean_nothing() {
        let base = "MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n";
        let got = check(&format!("{base}{}==\r\n", "QUJD".repeat(500)), LINES);
        assert!(got.starts_with(base) && got.lines().all(|line| line.len() <= 76));
        assert!(
            got.ends_with("==\r\n") && !got.ends_with("\r\n\r\n"),
            "{got}"
        );
        let quoted = base
            .replace("image/png", "text/plain")
            .replace("base64", "quoted-printable");
        let got = check(
            &format!("{quoted}{}\r\nshort =\r\nline\r\n", "=41 ".repeat(500)),
            LINES,
        );
        assert!(
            got.lines().all(|line| line.len() <= 76) && got.ends_with("\r\nshort =\r\nline\r\n")
        );
        let header = format!(
            "To: {}x@y.example\r\nSubject: x\r\n\r\nhi\r\n",
            "someone@a.example, ".repeat(80)
        );
        let got = check(&header, LINES);
        assert_eq!(got.replacen("\r\n ", " ", 100), header);
    }

    #[test]
    fn bytes_become_base64_and_text_keeps_its_stray_line_ends() {
        let binary = "MIME-Version: 1.0\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\na\0b\nc\r\n";
        let got = check(binary, LINES);
        assert!(
            got.ends_with("\r\nContent-Transfer-Encoding: base64\r\n\r\nYQBiCmMNCg==\r\n"),
            "{got}"
        );
        assert_eq!(got.matches("Transfer").count(), 1);
        let text = binary
            .replace("application/x", "text/plain")
            .replace("a\0b", "a and b and what else there is");
        let got = check(&text, LINES);
        assert!(
            got.ends_with("quoted-printable\r\n\r\na and b and what else there is=0Ac\r\n"),
            "{got}"
        );
    }

    /// A small generator, so that every run is the same.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % sides as u64).unwrap()
        }
    }

    /// Whatever the message: what is not to change does not, and what was adapted once is not changed again.
    #[test]
    fn noise_is_changed_once_or_not_at_all() {
        let mut dice = Dice(5);
        let bits = [
            "--x\r\n",
            "--x--\r\n",
            "--y\r\n",
            "--y--\r\n",
            "\r\n",
            "word ",
            "caf\u{e9} ",
            "=",
            ".",
            "--",
            "\r\n\r\n",
            "Content-Type: multipart/mixed; boundary=y\r\n\r\n",
            "Content-Type: text/html; charset=utf-8\r\n",
            "Content-Type: image/png\r\n",
            "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n",
            "Content-Transfer-Encoding: 8bit\r\n",
            "Content-Transfer-Encoding: base64\r\n\r\nQUJD\r\n",
            "Content-Type: multipart/digest; boundary=y\r\n\r\n",
            "Content-Type: multipart/signed; boundary=y\r\n\r\n",
        ];
        let long = "z".repeat(1500);
        let mut done = 0;
        for _ in 0..3000 {
            let mut text = String::from(
                "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n",
            );
            for _ in 0..dice.roll(30) {
                text += bits[dice.roll(bits.len())];
                if dice.roll(40) == 0 {
                    text += &long;
                }
            }
            text += "\r\n";
            for needs in [SEVEN, LINES] {
                let Ok(whole) = adapted(text.as_bytes(), needs, 4096) else {
                    continue;
                };
                assert!(
                    adapted(text.as_bytes(), needs, 1 + dice.roll(9)).unwrap() == whole,
                    "{text:?}"
                );
                if glance(text.as_bytes(), 99).fits(needs) && !text.contains("8bit") {
                    assert!(whole == text.as_bytes(), "changed for nothing: {text:?}");
                }
                // Once adapted it stays as it is.
                let again = adapted(&whole, needs, 50);
                assert!(again.is_ok_and(|again| again == whole), "{text:?}");
                done += 1;
            }
        }
        assert!(done > 3000, "{done}");
    }

    /// Generated, well-formed trees: an independent parser finds the same contents before and after.
    #[test]
    fn contents_survive() {
        use mail_parser::MessageParser;
        let mut dice = Dice(77);
        for _ in 0..400 {
            let mut parts = String::new();
            let count = 1 + dice.roll(4);
            for n in 0..count {
                let (kind, text) = match dice.roll(4) {
                    0 => (
                        "text/plain; charset=utf-8",
                        "na\u{ef}ve words here, \r\nand there=\r\n\r\n.\r\n"
                            .repeat(1 + dice.roll(3)),
                    ),
                    1 => (
                        "application/x-thing",
                        format!("\u{e9}\u{e8}{}\r\n", "q".repeat(dice.roll(3000))),
                    ),
                    2 => ("text/plain; charset=utf-8", "plain ".repeat(dice.roll(400))),
                    _ => (
                        "text/html; charset=utf-8",
                        "\u{3042}\u{3044}<br>\t \r\n".repeat(dice.roll(60)),
                    ),
                };
                parts += &format!(
                    "--b\r\nContent-Type: {kind}\r\nContent-ID: <{n}>\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n"
                );
            }
            let text = format!(
                "From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{parts}--b--\r\n"
            );
            let after = check(&text, SEVEN);
            let contents = |text: &str| -> Vec<Vec<u8>> {
                let message = MessageParser::default().parse(text.as_bytes()).unwrap();
                message
                    .parts
                    .iter()
                    .skip(1)
                    .map(|part| part.contents().to_vec())
                    .collect()
            };
            let (before, now) = (contents(&text), contents(&after));
            assert_eq!(before.len(), count);
            assert!(before == now, "{text:?}\n{after:?}");
        }
    }
}
