//! The configuration file that an import writes: settings with what they were in IIS beside them, then what was changed
//! for safety and what has no equivalent.

use std::fmt;

use crate::config::kind::Value;
use crate::config::lookup;
use crate::config::sample;
use crate::config::schema::Row;
use crate::config::schema::SECTIONS;

/// One table of the file.
#[derive(Debug)]
struct Table {
    section: &'static str,
    /// Comments, and behind them the setting that they are about.
    lines: Vec<(String, Option<(&'static Row, Value)>)>,
}

/// A table that was begun.
#[derive(Clone, Copy, Debug)]
pub struct Place(usize);

/// The file.
#[derive(Debug, Default)]
pub struct Paper {
    head: String,
    tables: Vec<Table>,
    changed: Vec<String>,
    without: Vec<String>,
}

impl Paper {
    /// A file that begins with this comment.
    pub fn new(head: String) -> Self {
        Self {
            head,
            ..Self::default()
        }
    }

    /// Begins a table of a section that may stand several times.
    pub fn table(&mut self, section: &'static str) -> Place {
        let lines = Vec::new();
        self.tables.push(Table { section, lines });
        Place(self.tables.len().saturating_sub(1))
    }

    /// The table of a section that stands once.
    pub fn once(&mut self, section: &'static str) -> Place {
        let found = self
            .tables
            .iter()
            .position(|table| table.section == section);
        found.map_or_else(|| self.table(section), Place)
    }

    /// Sets a key to what `text` says in the form of flags, with a comment. What the key does not take, and a key that
    /// this program was built without, is named among what has no equivalent. True when it was set.
    pub fn put(&mut self, place: Place, name: &str, text: &str, comment: &str) -> bool {
        let Some(table) = self.tables.get_mut(place.0) else {
            return false;
        };
        let row = lookup::row_in(table.section, name);
        match row.map(|row| (row, row.kind.read(text))) {
            Some((row, Ok(value))) => {
                // Two that came from two properties: the later one counts.
                for (_, setting) in &mut table.lines {
                    if setting
                        .as_ref()
                        .is_some_and(|(known, _)| known.key == row.key)
                    {
                        *setting = None;
                    }
                }
                table.lines.push((comment.to_owned(), Some((row, value))));
                true
            }
            Some((row, Err(_))) => {
                let allowed = row.kind.allowed();
                let key = row.key;
                self.without(format!(
                    "{comment} {key} takes {allowed}, so '{text}' was left out."
                ));
                false
            }
            None => {
                self.without(format!("{comment} There is no key for it."));
                false
            }
        }
    }

    /// The same for a key of a section that stands once; the top of the file is the empty one.
    pub fn set(&mut self, section: &'static str, name: &str, text: &str, comment: &str) -> bool {
        let place = self.once(section);
        self.put(place, name, text, comment)
    }

    /// A number, brought inside the bounds of its key.
    pub fn number(&mut self, place: Place, name: &str, wanted: u64, unit: &str, was: &str) {
        let row = self
            .tables
            .get(place.0)
            .and_then(|table| lookup::row_in(table.section, name));
        let Some(row) = row else {
            self.without(format!("{was} There is no key for it."));
            return;
        };
        let fits = |number: u64| row.kind.read(&format!("{number}{unit}")).is_ok();
        // The nearest that is allowed; the bounds are few doublings away.
        let near = if fits(wanted) {
            Some(wanted)
        } else {
            nearest(wanted, fits)
        };
        match near {
            Some(number) if number == wanted => {
                self.put(place, name, &format!("{number}{unit}"), was);
            }
            Some(number) => {
                let comment = format!("{was} {} takes {}.", row.key, row.kind.allowed());
                self.put(place, name, &format!("{number}{unit}"), &comment);
            }
            None => self.without(format!("{was} {} takes {}.", row.key, row.kind.allowed())),
        }
    }

    /// A comment alone.
    pub fn remark(&mut self, place: Place, comment: &str) {
        if let Some(table) = self.tables.get_mut(place.0) {
            table.lines.push((comment.to_owned(), None));
        }
    }

    /// Names what was changed for safety.
    pub fn changed(&mut self, what: impl Into<String>) {
        self.changed.push(what.into());
    }

    /// Names what has no equivalent.
    pub fn without(&mut self, what: impl Into<String>) {
        self.without.push(what.into());
    }
}

/// The allowed number nearest to one that is not, when there is one between a 64th and all of it, or above it.
fn nearest(wanted: u64, fits: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut good, mut bad) = if wanted == 0 {
        ((1..=1024).find(|number| fits(*number))?, 0)
    } else {
        let below = (1..=40)
            .map(|shift| wanted >> shift)
            .find(|number| fits(*number));
        let above = || {
            (1..=20)
                .filter_map(|shift| wanted.checked_mul(1 << shift))
                .find(|number| fits(*number))
        };
        (below.or_else(above)?, wanted)
    };
    // Halving: one side fits, the other does not.
    while good.abs_diff(bad) > 1 {
        let middle = good.midpoint(bad);
        if fits(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(good)
}

impl fmt::Display for Paper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        comment(f, "# ", &self.head)?;
        list(f, "Changed for safety:", &self.changed)?;
        list(f, "Without an equivalent here:", &self.without)?;
        for section in SECTIONS {
            let tables = self.tables.iter();
            for table in
                tables.filter(|table| table.section == section.name && !table.lines.is_empty())
            {
                writeln!(f)?;
                match (section.name, section.many) {
                    ("", _) => {}
                    (name, true) => writeln!(f, "[[{name}]]")?,
                    (name, false) => writeln!(f, "[{name}]")?,
                }
                for (text, setting) in &table.lines {
                    if !text.is_empty() {
                        comment(f, "# ", text)?;
                    }
                    if let Some((row, value)) = setting {
                        writeln!(f, "{} = {value}", row.name())?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, title: &str, items: &[String]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(f, "#\n# {title}")?;
    items
        .iter()
        .try_for_each(|item| comment(f, "#   ", &format!("- {item}")))
}

/// What comes from the metabase may hold line ends, and would be settings then.
fn comment(f: &mut fmt::Formatter<'_>, front: &str, text: &str) -> fmt::Result {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().map(plain).collect();
    sample::wrapped(f, front, &text)
}

#[cfg(test)]
mod tests {
    use super::Paper;

    #[test]
    fn whatever_a_property_holds_it_becomes_no_setting() {
        let mut paper = Paper::new("head".into());
        let top = paper.once("");
        assert!(paper.put(top, "name", "a\"b", "was\nhome = \"/evil\"\r"));
        assert!(!paper.put(top, "hostname", "no such\nname", "x"));
        assert!(!paper.put(top, "zebra", "1", "Zebra = 1."));
        paper.changed("one\n[limits]");
        let text = paper.to_string();
        let settings: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(settings, ["", "name = \"a\\\"b\""]);
        assert!(
            text.contains("Zebra = 1. There is no key for it."),
            "{text}"
        );
    }

    #[test]
    fn numbers_come_inside_their_bounds() {
        let mut paper = Paper::new(String::new());
        let limits = paper.once("limits");
        paper.number(limits, "recipients", 100, "", "a");
        paper.number(limits, "connections", 2_000_000_000, "", "b");
        paper.number(limits, "command_timeout", 86_400, "s", "c");
        paper.number(limits, "errors", 0, "", "d");
        let text = paper.to_string();
        for line in [
            "recipients = 100",
            "connections = 10000",
            "command_timeout = \"1h\"",
            "errors = 1",
        ] {
            assert!(text.contains(line), "{line} not in {text}");
        }
    }
}
