//! Writes a message as its plan says.

use crate::base::limits;
use crate::mail::adapt::encode::Based;
use crate::mail::adapt::encode::Folded;
use crate::mail::adapt::encode::Quoted;
use crate::mail::adapt::encode::Softened;
use crate::mail::adapt::plan::Charset;
use crate::mail::adapt::plan::Coding;
use crate::mail::adapt::plan::Fate;
use crate::mail::adapt::plan::Plan;
use crate::mail::adapt::walk::Entity;
use crate::mail::adapt::walk::Piece;
use crate::mail::adapt::walk::Sink;
use crate::mail::adapt::walk::Walk;

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
