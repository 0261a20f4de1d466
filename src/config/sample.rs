//! The commented file that `mailroot init` writes, and the manual's chapter on settings: both made from the schema.

use std::fmt;
use std::fmt::Write;

use crate::config::lookup;
use crate::config::schema::Row;
use crate::config::schema::SECTIONS;
use crate::config::schema::Section;
use crate::config::settings::Block;
use crate::config::settings::Settings;
use crate::config::settings::default_of;

/// Width of the text in comments.
const WIDTH: usize = 96;

const HEAD: &str = "\
This file is one mail server. It is TOML: text in quotes, lists in brackets. Each setting stands below its \
explanation; one that begins with # has its default, and taking the # away changes nothing until the value is \
changed. Waits are written 90s, 15m, 4h or 2d; sizes 10MB (powers of 1000) or 64KiB (powers of 1024).";

const CHECK: &str = "`mailroot check FILE` finds every mistake; SIGHUP makes the running service read the file again.";

/// The sample: every setting with its explanation, those that were given as given, all others as comments.
pub struct Sample<'a>(pub &'a Settings);

impl fmt::Display for Sample<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        comment(f, HEAD)?;
        comment(f, CHECK)?;
        for name in &self.0.none_of {
            writeln!(f, "\n{name} = []")?;
        }
        for section in SECTIONS {
            let blocks: Vec<&Block> = self.0.all(section.name).collect();
            self.section(f, section, &blocks)?;
        }
        Ok(())
    }
}

impl Sample<'_> {
    fn section(
        &self,
        f: &mut fmt::Formatter<'_>,
        section: &Section,
        blocks: &[&Block],
    ) -> fmt::Result {
        writeln!(f)?;
        let (first, more) = match blocks.split_first() {
            Some((first, more)) => (Some(*first), more),
            None => (None, blocks),
        };
        // An empty [[route]], [[dkim]] or [[hook]] would be a mistake, an empty [[listen]] a listener.
        let off = if section.many && first.is_none() {
            "#"
        } else {
            ""
        };
        if !section.name.is_empty() {
            writeln!(f)?;
            comment(f, section.help)?;
            let (open, close) = brackets(section);
            writeln!(f, "{off}{open}{}{close}", section.name)?;
        }
        for (at, row) in lookup::rows_of(section.name).enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            explained(f, row)?;
            match first.and_then(|block| block.entry(row.name())) {
                Some(entry) => writeln!(f, "{} = {}", row.name(), entry.value)?,
                None => writeln!(f, "#{} = {}", row.name(), usual(row))?,
            }
        }
        for block in more {
            writeln!(f, "\n[[{}]]", section.name)?;
            for entry in &block.entries {
                writeln!(f, "{} = {}", entry.row.name(), entry.value)?;
            }
        }
        Ok(())
    }
}

fn brackets(section: &Section) -> (&'static str, &'static str) {
    if section.many {
        ("[[", "]]")
    } else {
        ("[", "]")
    }
}

/// The default of a row, or its example, as TOML.
fn usual(row: &Row) -> String {
    default_of(row)
        .or_else(|| row.kind.read(row.example).ok())
        .map(|value| value.to_string())
        .unwrap_or_default()
}

fn explained(f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    comment(f, row.help)?;
    let example = if row.default.is_none() {
        " For example:"
    } else {
        ""
    };
    match row.iis {
        Some((name, value)) => comment(
            f,
            &format!(
                "Takes {}. In IIS: {name}, {value}.{example}",
                row.kind.allowed()
            ),
        ),
        None => comment(f, &format!("Takes {}.{example}", row.kind.allowed())),
    }
}

/// The text as comment lines.
fn comment(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    wrapped(f, "# ", text)
}

/// The text in lines of at most `WIDTH` characters, each behind `front`.
pub fn wrapped(f: &mut dyn Write, front: &str, text: &str) -> fmt::Result {
    let mut column = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let len = word.chars().count();
        if column > 0 && column + 1 + len > WIDTH {
            writeln!(f)?;
            column = 0;
        }
        write!(f, "{}{word}", if column == 0 { front } else { " " })?;
        column += len + 1;
    }
    writeln!(f)
}

/// The manual's chapter: each key with what it takes, its default, what it does, and what it was in IIS.
pub struct Manual;

impl fmt::Display for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in SECTIONS {
            let (open, close) = brackets(section);
            match section.name {
                "" => writeln!(f, "At the top of the file")?,
                name => writeln!(f, "\n{open}{name}{close}")?,
            }
            wrapped(f, "    ", section.help)?;
            for row in lookup::rows_of(section.name) {
                match default_of(row) {
                    Some(value) => writeln!(f, "\n  {} = {value}", row.key)?,
                    None => writeln!(f, "\n  {} (not set)", row.key)?,
                }
                wrapped(f, "    ", row.help)?;
                wrapped(f, "    ", &format!("Takes {}.", row.kind.allowed()))?;
                if let Some((name, value)) = row.iis {
                    wrapped(f, "    ", &format!("In IIS: {name}, {value}."))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Manual, Sample};
    use crate::config::schema::{ROWS, SECTIONS};
    use crate::config::{Config, File, Flags, Settings, load};

    fn read(text: &str) -> (Config, Settings) {
        let file = File {
            name: "sample",
            text,
        };
        load(Some(file), &Flags::default(), "box").unwrap_or_else(|why| panic!("{why}"))
    }

    fn sample() -> String {
        Sample(&Settings::default()).to_string()
    }

    #[test]
    fn the_sample_is_the_defaults() {
        assert_eq!(read(&sample()).0, read("").0);
    }

    #[test]
    fn taking_every_mark_away_is_the_defaults_too() {
        let mut text = sample();
        // Blocks that would be a mistake without something in them.
        for name in ["domain", "route", "dkim", "hook"] {
            let (front, back) = text.split_once(&format!("\n#[[{name}]]")).unwrap();
            let (_, back) = back.split_once("\n\n\n").unwrap();
            text = format!("{front}\n{back}");
        }
        let unset: Vec<_> = ROWS.iter().filter(|row| row.default.is_none()).collect();
        let lines: Vec<&str> = text
            .lines()
            .filter_map(|line| match line.strip_prefix('#') {
                Some(setting) if !setting.starts_with(' ') => Some(setting),
                Some(_) => None,
                None => Some(line),
            })
            .filter(|line| {
                !unset
                    .iter()
                    .any(|row| line.starts_with(&format!("{} =", row.name())))
            })
            .collect();
        assert_eq!(read(&lines.join("\n")).0, read("").0);
    }

    #[test]
    fn the_route_of_the_sample_can_be_used() {
        let text = sample().replace("#[[route]]", "[[route]]");
        let text = text.replace("#hosts = []", "hosts = [\"smtp.example.com\"]");
        assert_eq!(read(&text).0.routes.len(), 1);
    }

    #[test]
    fn every_key_stands_in_sample_and_manual() {
        let (sample, manual) = (sample(), Manual.to_string());
        for section in SECTIONS {
            assert!(sample.contains(section.name) && manual.contains(section.name));
        }
        for row in ROWS {
            assert!(
                sample.contains(&format!("\n#{} = ", row.name())),
                "{}",
                row.key
            );
            assert!(manual.contains(&format!("\n  {} ", row.key)), "{}", row.key);
        }
        let widest = sample.lines().chain(manual.lines()).map(str::len).max();
        assert!(widest < Some(110), "{widest:?}");
    }

    #[test]
    fn what_was_given_stands_in_the_sample_and_in_the_print() {
        let mut flags = Flags::default();
        for (name, value) in [
            ("home", "/data/mail"),
            ("hostname", "nas.example.com"),
            ("listen", "127.0.0.1:25"),
            ("listen", "[::1]:25"),
            ("smart-host", "smtp://me%40example.com@smtp.example.com:587"),
            ("local", "nas.lan"),
            ("set", "limits.message_bytes=10MB"),
            ("set", "delivery.retry=1m,2m,2m"),
            ("set", "name=a \"quoted\" \\ name"),
        ] {
            assert!(flags.push(name, value));
        }
        let (config, settings) = load(None, &flags, "box").unwrap();
        for text in [
            Sample(&settings).to_string(),
            settings.print(false).to_string(),
            settings.print(true).to_string(),
        ] {
            assert_eq!(read(&text).0, config, "{text}");
        }
        assert!(!flags.push("zebra", ""));
    }
}
