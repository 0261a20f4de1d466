//! Messages that break careless programs.

/// A message with what breaks careless relays: leading dots, a line of the greatest length, trailing blanks, 8-bit text, tabs, and an
/// empty line at the end.
pub fn awkward() -> String {
    let long = "x".repeat(998);
    format!(
        "From: Alice <alice@nas.example>\r\nTo: Bob <bob@office.example>\r\nSubject: =?UTF-8?Q?B=C3=BCro?=\r\n\
         Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <awkward@nas.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\
         X-Folded: one\r\n\ttwo\r\n   three\r\n\r\n\
         .\r\n..\r\n.dot\r\n\r\n{long}\r\nB\u{fc}ro \u{2603}\r\ntrailing  \t\r\n\ttab\r\nFrom here\r\n\r\n"
    )
}

/// Some 300 kB: a body that does not fit into a journal record.
pub fn large() -> String {
    let mut text = awkward();
    for n in 0..4000 {
        text.push_str(&format!("line {n} {}\r\n", "0123456789".repeat(7)));
    }
    text
}
