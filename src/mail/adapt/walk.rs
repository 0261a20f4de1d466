//! Walks the MIME structure of a message in blocks of any size (RFC 2045, RFC 2046): which line is header, which is
//! text of which entity, and which separates them.
//!
//! Trust: none. What is kept is bounded: one line, the fields that matter of one header, and the boundaries around the
//! place where the walk is. What is too deep, or has no boundary, is one entity whose inside is not looked at.

use crate::base::limits;
use crate::mail::adapt::field;
use crate::mail::adapt::field::Encoding;
use crate::mail::adapt::field::Kind;

/// What is known of the entity in which something stands. Complete when its header is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Its number, counted from zero in the order in which headers begin; the message itself is the first.
    pub number: usize,
    /// It is below a `multipart/signed`: not a byte of it may change.
    pub signed: bool,
    /// What it holds.
    pub kind: Kind,
    /// How its text is encoded.
    pub encoding: Encoding,
    /// It has a `Content-Type`.
    pub typed: bool,
    /// It has a `MIME-Version`.
    pub versioned: bool,
}

/// A line, or a piece of one that is too long to be held. Never holds its CRLF.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The bytes.
    pub text: &'a [u8],
    /// The line begins with it.
    pub first: bool,
    /// The line ends with it.
    pub last: bool,
}

impl Piece<'_> {
    /// Whether it belongs to a line that is longer than the standard allows.
    pub fn is_long(&self) -> bool {
        !(self.first && self.last)
    }
}

/// Who is told.
pub trait Sink {
    /// A line of a header; `encoding` when it is of a `Content-Transfer-Encoding`. Its line end follows it.
    fn field(&mut self, at: &Entity, line: Piece<'_>, encoding: bool);
    /// The header is over, with the blank line unless `blank` is false.
    fn header_end(&mut self, at: &Entity, blank: bool);
    /// A line of the body of an entity without entities in it.
    fn text(&mut self, at: &Entity, line: Piece<'_>);
    /// A line end inside such a body.
    fn line_end(&mut self, at: &Entity);
    /// Such a body is over.
    fn text_end(&mut self, at: &Entity);
    /// A line before the first or behind the last part of a multipart, which nobody reads. Its line end follows it.
    fn aside(&mut self, at: &Entity, line: Piece<'_>);
    /// A line that separates parts. `broken`: a line end stands in front of it that belongs to it.
    fn delimiter(&mut self, line: &[u8], broken: bool);
}

/// A multipart around the place where the walk is.
#[derive(Debug)]
struct Level {
    boundary: Vec<u8>,
    signed: bool,
    digest: bool,
}

/// Where the walk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a header; the last field seen.
    Header(Seen),
    /// In the body of a leaf. `broken`: a line end is held back, since it may belong to a delimiter.
    Text { broken: bool },
    /// Between parts.
    Aside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Other,
    Type,
    Encoding,
    Version,
}

/// The walk.
#[derive(Debug)]
pub struct Walk {
    levels: Vec<Level>,
    state: State,
    entity: Entity,
    /// The values of the two fields that matter, unfolded and cut.
    content_type: Vec<u8>,
    encoding: Vec<u8>,
    /// A line whose end was not seen yet.
    held: Vec<u8>,
    /// Pieces of the held line were handed out already.
    midway: bool,
    /// The entity is a part of the innermost multipart, and not a message in a part of it.
    part: bool,
    next: usize,
}

impl Default for Walk {
    fn default() -> Self {
        let mut walk = Self {
            levels: Vec::new(),
            state: State::Header(Seen::Other),
            entity: Entity {
                number: 0,
                signed: false,
                kind: Kind::Text,
                encoding: Encoding::Identity,
                typed: false,
                versioned: false,
            },
            content_type: Vec::new(),
            encoding: Vec::new(),
            held: Vec::new(),
            midway: false,
            part: false,
            next: 0,
        };
        walk.begin_header();
        walk
    }
}

impl Walk {
    /// The next block of the message.
    pub fn push(&mut self, block: &[u8], sink: &mut impl Sink) {
        for &byte in block {
            if byte == b'\n' && self.held.last() == Some(&b'\r') {
                self.held.pop();
                self.hand_out(true, sink);
                self.midway = false;
                continue;
            }
            // A CR stays with what follows it, but not any number of them.
            let most = match byte {
                b'\r' | b'\n' => limits::TEXT_LINE + 2,
                _ => limits::TEXT_LINE,
            };
            if self.held.len() >= most {
                self.hand_out(false, sink);
                self.midway = true;
            }
            self.held.push(byte);
        }
    }

    /// The message is over.
    pub fn end(&mut self, sink: &mut impl Sink) {
        if self.midway || !self.held.is_empty() {
            self.hand_out(true, sink);
            // There was no line end; none is made up.
            if let State::Text { broken } = &mut self.state {
                *broken = false;
            }
        }
        self.headers_over(sink);
        if self.state == (State::Text { broken: true }) {
            sink.line_end(&self.entity);
        }
        if matches!(self.state, State::Text { .. }) {
            sink.text_end(&self.entity);
        }
    }

    fn hand_out(&mut self, last: bool, sink: &mut impl Sink) {
        let held = std::mem::take(&mut self.held);
        let piece = Piece {
            text: &held,
            first: !self.midway,
            last,
        };
        self.line(piece, sink);
        // The room is kept for the next line.
        self.held = held;
        self.held.clear();
    }

    fn line(&mut self, piece: Piece<'_>, sink: &mut impl Sink) {
        if piece.first && piece.last && self.delimited(piece.text, sink) {
            return;
        }
        match self.state {
            State::Header(seen) => self.header_line(seen, piece, sink),
            State::Text { broken } => {
                if broken && piece.first {
                    sink.line_end(&self.entity);
                }
                sink.text(&self.entity, piece);
                self.state = State::Text { broken: piece.last };
            }
            State::Aside => sink.aside(&self.entity, piece),
        }
    }

    fn header_line(&mut self, seen: Seen, piece: Piece<'_>, sink: &mut impl Sink) {
        if piece.first && piece.last && piece.text.is_empty() {
            return self.header_over(true, sink);
        }
        let folded = piece
            .text
            .first()
            .is_some_and(|b| matches!(b, b' ' | b'\t'));
        let seen = if !piece.first || folded {
            seen
        } else {
            let Some(name) = field::name(piece.text) else {
                // A line that is no field: the text began without a blank line.
                self.header_over(false, sink);
                return self.line(piece, sink);
            };
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
            if is("Content-Type") {
                self.content_type.clear();
                self.entity.typed = true;
                Seen::Type
            } else if is("Content-Transfer-Encoding") {
                self.encoding.clear();
                Seen::Encoding
            } else if is("MIME-Version") {
                self.entity.versioned = true;
                Seen::Version
            } else {
                Seen::Other
            }
        };
        let value = if piece.first && !folded {
            field::value(piece.text)
        } else {
            piece.text
        };
        let kept = match seen {
            Seen::Type => Some(&mut self.content_type),
            Seen::Encoding => Some(&mut self.encoding),
            Seen::Other | Seen::Version => None,
        };
        if let Some(kept) = kept {
            let room = limits::MIME_FIELD.saturating_sub(kept.len());
            kept.extend_from_slice(value.get(..room).unwrap_or(value));
        }
        self.state = State::Header(seen);
        sink.field(&self.entity, piece, seen == Seen::Encoding);
    }

    fn begin_header(&mut self) {
        let signed = self.levels.iter().any(|level| level.signed);
        self.entity = Entity {
            number: self.next,
            signed,
            kind: Kind::Text,
            encoding: Encoding::Identity,
            typed: false,
            versioned: false,
        };
        self.next = self.next.saturating_add(1);
        self.part = false;
        self.content_type.clear();
        self.encoding.clear();
        self.state = State::Header(Seen::Other);
    }

    /// The end, or a delimiter, came where a header was expected: it is over, and so is that of a message it announces.
    fn headers_over(&mut self, sink: &mut impl Sink) {
        while matches!(self.state, State::Header(_)) {
            self.header_over(false, sink);
        }
    }

    fn header_over(&mut self, blank: bool, sink: &mut impl Sink) {
        let digest = self.part && self.levels.last().is_some_and(|level| level.digest);
        let (mut kind, boundary) = field::content_type(&self.content_type, digest);
        self.entity.encoding = field::encoding(&self.encoding);
        let inside = matches!(kind, Kind::Multipart { .. } | Kind::Message);
        let open = self.entity.encoding.is_identity()
            && self.levels.len() < limits::MIME_DEPTH
            && self.next < limits::MIME_PARTS
            && (kind == Kind::Message || !boundary.is_empty());
        if inside && !open {
            kind = Kind::Closed;
        }
        self.entity.kind = kind;
        sink.header_end(&self.entity, blank);
        match kind {
            Kind::Multipart { signed, digest } => {
                self.levels.push(Level {
                    boundary,
                    signed,
                    digest,
                });
                self.state = State::Aside;
            }
            Kind::Message => self.begin_header(),
            _ => self.state = State::Text { broken: false },
        }
    }

    /// Takes a line that separates parts of the innermost multipart that it fits.
    fn delimited(&mut self, line: &[u8], sink: &mut impl Sink) -> bool {
        let Some(rest) = line.strip_prefix(b"--") else {
            return false;
        };
        let blank = |text: &[u8]| text.iter().all(|b| matches!(b, b' ' | b'\t'));
        let found = self
            .levels
            .iter()
            .enumerate()
            .rev()
            .find_map(|(at, level)| {
                let behind = rest.strip_prefix(level.boundary.as_slice())?;
                match behind.strip_prefix(b"--") {
                    Some(behind) => blank(behind).then_some((at, true)),
                    None => blank(behind).then_some((at, false)),
                }
            });
        let Some((at, closes)) = found else {
            return false;
        };
        self.headers_over(sink);
        let broken = self.state == (State::Text { broken: true });
        if matches!(self.state, State::Text { .. }) {
            sink.text_end(&self.entity);
        }
        sink.delimiter(line, broken);
        self.levels
            .truncate(if closes { at } else { at.saturating_add(1) });
        if closes {
            self.state = State::Aside;
        } else {
            self.begin_header();
            self.part = true;
        }
        true
    }
}
