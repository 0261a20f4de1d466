//! Reads a TOML file into settings. Every mistake is found in one go, each with its place.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use crate::base::limits;
use crate::config::fault::Complaint;
use crate::config::fault::Fault;
use crate::config::fault::Place;
use crate::config::kind::BadValue;
use crate::config::kind::Kind;
use crate::config::kind::Value;
use crate::config::lookup;
use crate::config::schema::Row;
use crate::config::schema::Section;
use crate::config::settings::Block;
use crate::config::settings::Settings;

/// The settings of a file, and what is wrong with it. What is good is there even when something is wrong.
pub fn file(text: &str) -> (Settings, Vec<Fault>) {
    let mut reader = Reader::default();
    if text.len() > limits::CONFIG_FILE {
        reader.blame(0..0, Complaint::TooLarge);
        return (reader.settings, reader.faults);
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().unwrap_or(text.len()..text.len());
        let before = text.get(..at.start).unwrap_or(text).trim_end();
        let complaint = match error.message() {
            "duplicate key" => Complaint::KeyTwice,
            // A value that begins like nothing TOML knows: most often text without its quotes.
            _ if before.ends_with('=') && !at.is_empty() => Complaint::Unquoted,
            other => Complaint::Syntax(other.to_owned()),
        };
        reader.blame(at, complaint);
    }
    let syntax: Vec<usize> = reader.faults.iter().map(|f| line_of(text, f)).collect();
    let lines: Vec<&str> = text.lines().collect();
    let line = |at: usize| lines.get(at).copied().unwrap_or("").trim_start();
    let head = syntax.iter().copied().find(|at| line(*at).starts_with('['));
    reader.top(table.get_ref());
    // What the recovery makes of a broken line is not worth a second complaint; and behind the broken head of a
    // section nobody knows whose a key is.
    let mut at = 0;
    reader.faults.retain(|fault| {
        at += 1;
        let line = line_of(text, fault);
        let lost = head.is_some_and(|head| line > head) && is_unknown(fault);
        at <= syntax.len() || !(syntax.contains(&line) || lost)
    });
    (reader.settings, reader.faults)
}

/// The line a fault stands in, counted from zero.
fn line_of(text: &str, fault: &Fault) -> usize {
    match &fault.place {
        Place::File(span) => {
            let start = span.start.min(text.trim_end().len());
            text.get(..start).map_or(0, |t| t.matches('\n').count())
        }
        Place::Flag(_) | Place::Default => usize::MAX,
    }
}

fn is_unknown(fault: &Fault) -> bool {
    matches!(
        fault.complaint,
        Complaint::UnknownKey { .. } | Complaint::UnknownSection { .. }
    )
}

#[derive(Default)]
struct Reader {
    settings: Settings,
    faults: Vec<Fault>,
}

type Key<'a, 'i> = &'a Spanned<std::borrow::Cow<'i, str>>;

impl Reader {
    fn blame(&mut self, at: Range<usize>, complaint: Complaint) {
        self.faults.push(Fault {
            place: Place::File(at),
            complaint,
        });
    }

    fn top(&mut self, table: &DeTable<'_>) {
        let Some(top) = lookup::section("") else {
            return;
        };
        let mut block = Block::new(top, Place::File(0..0));
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            match lookup::section(key.get_ref()).filter(|section| !section.name.is_empty()) {
                Some(section) if section.many => self.blocks(section, key, value),
                Some(section) => match value.get_ref() {
                    DeValue::Table(table) => {
                        let block = self.block(section, key.span(), table);
                        self.settings.blocks.push(block);
                    }
                    _ => self.blame(key.span(), Complaint::WantsTable(section.name)),
                },
                None => self.entry(&mut block, key, value),
            }
        }
        self.settings.blocks.push(block);
    }

    /// A section that may stand several times.
    fn blocks(
        &mut self,
        section: &'static Section,
        key: Key<'_, '_>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let DeValue::Array(array) = value.get_ref() else {
            return self.blame(key.span(), Complaint::WantsBlocks(section.name));
        };
        if array.is_empty() {
            self.settings.none_of.push(section.name);
        }
        for one in array.iter() {
            match one.get_ref() {
                DeValue::Table(table) => {
                    let block = self.block(section, one.span(), table);
                    self.settings.blocks.push(block);
                }
                _ => self.blame(one.span(), Complaint::WantsBlocks(section.name)),
            }
        }
    }

    fn block(&mut self, section: &'static Section, at: Range<usize>, table: &DeTable<'_>) -> Block {
        let mut block = Block::new(section, Place::File(at));
        for (key, value) in table.iter() {
            self.entry(&mut block, key, value);
        }
        block
    }

    fn entry(&mut self, block: &mut Block, key: Key<'_, '_>, value: &Spanned<DeValue<'_>>) {
        let (section, name) = (block.section.name, key.get_ref().as_ref());
        let Some(row) = lookup::row_in(section, name) else {
            block.spoiled = true;
            return self.blame(key.span(), unknown(section, name, value.get_ref()));
        };
        match read(&row.kind, value) {
            Ok(good) => block.put(row, good, Place::File(value.span())),
            Err(list) => {
                block.spoiled = true;
                for (at, kind, why) in list {
                    let key = row.key;
                    self.blame(at, Complaint::Value { key, kind, why });
                }
            }
        }
    }
}

/// The complaint about a value that its key does not take.
pub fn refused(row: &'static Row, why: BadValue) -> Complaint {
    Complaint::Value {
        key: row.key,
        kind: &row.kind,
        why,
    }
}

/// The complaint about a key or table that is not known.
fn unknown(section: &str, name: &str, value: &DeValue<'_>) -> Complaint {
    let table = match value {
        DeValue::Table(_) => true,
        DeValue::Array(array) => array.iter().any(|one| one.get_ref().is_table()),
        _ => false,
    };
    if section.is_empty() && table {
        return Complaint::UnknownSection {
            name: name.to_owned(),
            near: lookup::near_section(name),
        };
    }
    unknown_key(section, name)
}

/// The complaint about a key that is not known.
pub fn unknown_key(section: &str, name: &str) -> Complaint {
    if ["password", "passwd", "secret", "token"].contains(&name.to_ascii_lowercase().as_str()) {
        return Complaint::InlinePassword;
    }
    Complaint::UnknownKey {
        key: name.to_owned(),
        near: lookup::near_key(section, name),
    }
}

/// A value that is not taken: its place, what may stand there, and why not.
type Refusal = (Range<usize>, &'static Kind, BadValue);

/// Reads one value. Mistakes in a list are blamed on its elements, each of them.
fn read(kind: &'static Kind, value: &Spanned<DeValue<'_>>) -> Result<Value, Vec<Refusal>> {
    let blame = |why| vec![(value.span(), kind, why)];
    match (kind, value.get_ref()) {
        (Kind::List(inner), DeValue::Array(array)) => {
            let (mut list, mut refused) = (Vec::new(), Vec::new());
            for one in array.iter() {
                match read(inner, one) {
                    Ok(good) => list.push(good),
                    Err(more) => refused.extend(more),
                }
            }
            if refused.is_empty() {
                inner.list(list).map_err(blame)
            } else {
                Err(refused)
            }
        }
        (Kind::Bool, DeValue::Boolean(yes)) => Ok(Value::Bool(*yes)),
        (Kind::OrOff(_), DeValue::Boolean(false)) => Ok(Value::Off),
        // Numbers have their own type in TOML; as text they are a slip that would hide others.
        (Kind::Bool | Kind::Int(..), DeValue::String(_)) => {
            Err(blame(BadValue::Type("a text in quotes")))
        }
        (_, DeValue::String(text)) => kind.read(text).map_err(blame),
        (_, DeValue::Integer(number)) => {
            let digits = number.as_str().replace('_', "");
            match u64::from_str_radix(&digits, number.radix()) {
                Ok(number) => kind.number(number).map_err(blame),
                Err(_) => Err(blame(BadValue::Bounds)),
            }
        }
        (_, other) => Err(blame(BadValue::Type(match other {
            DeValue::Boolean(_) => "true or false",
            DeValue::Float(_) => "a number with a point",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            _ => "a table",
        }))),
    }
}
