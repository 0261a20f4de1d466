//! Brings a message into a form that a peer takes: 8-bit text, bytes and lines that are too long become
//! quoted-printable or base64 (RFC 6152 s3), everything else stays byte for byte.
//!
//! Three passes over the body, none of which holds it: [`Glance`] tells cheaply whether there is anything to do, which
//! is hardly ever the case; [`Survey`] walks the parts and makes a [`Plan`]; [`Adapter`] writes what the plan says. Only
//! parts that need it change, and the fields that describe them.
//!
//! Never: changes what a `multipart/signed` covers. Such a part that the peer cannot take is a fault to be reported;
//! one with a line that is merely too long is sent, since most peers bear it.

mod adapter;
mod encode;
mod field;
mod glance;
mod plan;
mod survey;
mod walk;

pub use adapter::Adapter;
pub use glance::Glance;
pub use plan::Needs;
pub use plan::Plan;
pub use plan::Unfit;
pub use survey::Survey;

#[cfg(test)]
mod tests {
    use super::{Adapter, Glance, Needs, Plan, Survey, Unfit};
    use crate::base::dice::Dice;

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

    /// Whatever the message: what is not to change does not, and what was adapted once is not changed again.
    #[test]
    fn noise_is_changed_once_or_not_at_all() {
        let mut dice = Dice::new(5);
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
            for _ in 0..dice.pick(30) {
                text += bits[dice.pick(bits.len())];
                if dice.pick(40) == 0 {
                    text += &long;
                }
            }
            text += "\r\n";
            for needs in [SEVEN, LINES] {
                let Ok(whole) = adapted(text.as_bytes(), needs, 4096) else {
                    continue;
                };
                assert!(
                    adapted(text.as_bytes(), needs, 1 + dice.pick(9)).unwrap() == whole,
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
        let mut dice = Dice::new(77);
        for _ in 0..400 {
            let mut parts = String::new();
            let count = 1 + dice.pick(4);
            for n in 0..count {
                let (kind, text) = match dice.pick(4) {
                    0 => (
                        "text/plain; charset=utf-8",
                        "na\u{ef}ve words here, \r\nand there=\r\n\r\n.\r\n"
                            .repeat(1 + dice.pick(3)),
                    ),
                    1 => (
                        "application/x-thing",
                        format!("\u{e9}\u{e8}{}\r\n", "q".repeat(dice.pick(3000))),
                    ),
                    2 => ("text/plain; charset=utf-8", "plain ".repeat(dice.pick(400))),
                    _ => (
                        "text/html; charset=utf-8",
                        "\u{3042}\u{3044}<br>\t \r\n".repeat(dice.pick(60)),
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
