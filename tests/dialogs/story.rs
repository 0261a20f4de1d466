//! A `.talk` file, read. What its lines mean stands in `tests/dialogs.rs`.

/// One story.
pub struct Story {
    /// The file's name.
    pub name: String,
    /// Line number, keyword, the rest.
    pub lines: Vec<(usize, String, String)>,
}

impl Story {
    /// Reads it.
    pub fn new(name: &str, text: &str) -> Self {
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(number, line)| {
                let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
                (number + 1, word.to_owned(), rest.to_owned())
            });
        Self {
            name: name.to_owned(),
            lines: lines.collect(),
        }
    }
}

/// Raw bytes from `\\r \\n \\0 \\xNN`, and `\\*NNN`, which repeats the byte before it.
pub fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            out.push(first);
            continue;
        }
        let (&kind, after) = rest.split_first().unwrap();
        rest = after;
        match kind {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b'0' => out.push(0),
            b'x' => {
                let hex = std::str::from_utf8(&rest[..2]).unwrap();
                out.push(u8::from_str_radix(hex, 16).unwrap());
                rest = &rest[2..];
            }
            b'*' => {
                let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                let times: usize = std::str::from_utf8(&rest[..digits])
                    .unwrap()
                    .parse()
                    .unwrap();
                let last = *out.last().unwrap();
                out.extend(std::iter::repeat_n(last, times - 1));
                rest = &rest[digits..];
            }
            other => panic!("unknown escape {}", char::from(other)),
        }
    }
    out
}
