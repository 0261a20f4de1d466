//! The states and commands of `matrix.txt`.

/// What was said before, by the name of the column. `(tls)` is a handshake.
pub const STATES: &[(&str, &[&str])] = &[
    ("fresh", &[]),
    ("helo", &["HELO x"]),
    ("ehlo", &["EHLO x"]),
    ("needtls", &["EHLO x"]),
    ("needauth", &["EHLO x"]),
    ("tls", &["EHLO x", "STARTTLS", "(tls)"]),
    ("tlsehlo", &["EHLO x", "STARTTLS", "(tls)", "EHLO x"]),
    ("login", &["EHLO x", "AUTH PLAIN AGEAYg=="]),
    ("mail", &["EHLO x", "MAIL FROM:<>"]),
    (
        "binary",
        &["EHLO x", "MAIL FROM:<> BODY=BINARYMIME", "RCPT TO:<a@b>"],
    ),
    ("rcpt", &["EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b>"]),
    (
        "bdat",
        &["EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b>", "BDAT 2", "hi"],
    ),
    (
        "sent",
        &[
            "EHLO x",
            "MAIL FROM:<>",
            "RCPT TO:<a@b>",
            "DATA",
            "text",
            ".",
        ],
    ),
    ("data", &["EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b>", "DATA"]),
    ("auth", &["EHLO x", "AUTH LOGIN"]),
];

/// Each command, one row.
pub const COMMANDS: &[&str] = &[
    "HELO y",
    "EHLO y",
    "STARTTLS",
    "AUTH PLAIN",
    "AUTH PLAIN AGEAYg==",
    "MAIL FROM:<a@b>",
    "MAIL FROM:<a@b> X=1",
    "RCPT TO:<a@b>",
    "RCPT TO:<no@b>",
    "RCPT TO:<postmaster>",
    "DATA",
    "BDAT 0",
    "BDAT 0 LAST",
    "BDAT x",
    "RSET",
    "NOOP",
    "VRFY a",
    "EXPN a",
    "HELP",
    "ETRN b",
    "ATRN b",
    "TURN",
    "LHLO y",
    "QUIT",
    "XYZZY",
    "",
    ".",
    "*",
];
