//! Walks the parts of a message and decides what becomes of each.

use crate::base::limits;
use crate::mail::adapt::field::Encoding;
use crate::mail::adapt::field::Kind;
use crate::mail::adapt::plan::Charset;
use crate::mail::adapt::plan::Coding;
use crate::mail::adapt::plan::Fate;
use crate::mail::adapt::plan::Needs;
use crate::mail::adapt::plan::Plan;
use crate::mail::adapt::plan::Unfit;
use crate::mail::adapt::walk::Entity;
use crate::mail::adapt::walk::Piece;
use crate::mail::adapt::walk::Sink;
use crate::mail::adapt::walk::Walk;

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
