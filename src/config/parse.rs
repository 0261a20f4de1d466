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
        let complaint = match error.message() {
            "duplicate key" => Complaint::KeyTwice,
            other => Complaint::Syntax(other.to_owned()),
        };
        reader.blame(error.span().unwrap_or(text.len()..text.len()), complaint);
    }
    let syntax: Vec<usize> = reader.faults.iter().map(|f| line_of(text, f)).collect();
    reader.top(table.get_ref());
    // What the recovery makes of a broken line is not worth a second complaint.
    let mut at = 0;
    reader.faults.retain(|fault| {
        at += 1;
        at <= syntax.len() || !syntax.contains(&line_of(text, fault))
    });
    (reader.settings, reader.faults)
}

fn line_of(text: &str, fault: &Fault) -> usize {
    match &fault.place {
        Place::File(span) => {
            let start = span.start.min(text.trim_end().len());
            text.get(..start).map_or(0, |t| t.matches('\n').count())
        }
        Place::Flag(_) | Place::Default => usize::MAX,
    }
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
            Err((at, why)) => {
                block.spoiled = true;
                self.blame(at, refused(row, why));
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

/// Reads one value. A mistake in a list is blamed on its element.
fn read(kind: &Kind, value: &Spanned<DeValue<'_>>) -> Result<Value, (Range<usize>, BadValue)> {
    let blame = |why| (value.span(), why);
    match (kind, value.get_ref()) {
        (Kind::List(inner), DeValue::Array(array)) => {
            let list: Result<Vec<_>, _> = array.iter().map(|one| read(inner, one)).collect();
            inner.list(list?).map_err(blame)
        }
        (Kind::Bool, DeValue::Boolean(yes)) => Ok(Value::Bool(*yes)),
        (Kind::OrOff(_), DeValue::Boolean(false)) => Ok(Value::Off),
        (Kind::OrOff(inner), _) if value.get_ref().as_str() != Some("off") => read(inner, value),
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
