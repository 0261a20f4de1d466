//! The settings that were given, before they become a [`Config`](crate::config::model::Config): each with its row,
//! its value and its place.

use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::endpoint::At;
use crate::config::endpoint::Directory;
use crate::config::endpoint::Host;
use crate::config::endpoint::Tls;
use crate::config::fault::Place;
use crate::config::kind::Value;
use crate::config::lookup;
use crate::config::receiver::Receiver;
use crate::config::schema::Row;
use crate::config::schema::SECTIONS;
use crate::config::schema::Section;
use crate::mail::Address;
use crate::mail::Domain;
use crate::policy::access::Network;
use crate::policy::route::Pattern;

/// One key that was given.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which.
    pub row: &'static Row,
    /// Its value.
    pub value: Value,
    /// Where it stands.
    pub place: Place,
}

/// One table of the file, or what flags put together like one.
#[derive(Clone, Debug)]
pub struct Block {
    /// Which.
    pub section: &'static Section,
    /// Where its head stands.
    pub place: Place,
    /// Its keys.
    pub entries: Vec<Entry>,
    /// Whether a key of it was refused, so that what it lacks is no news.
    pub spoiled: bool,
}

impl Block {
    /// An empty block.
    pub fn new(section: &'static Section, place: Place) -> Self {
        Self {
            section,
            place,
            entries: Vec::new(),
            spoiled: false,
        }
    }

    /// Gives a key its value, in place of one that it had.
    pub fn put(&mut self, row: &'static Row, value: Value, place: Place) {
        self.entries.retain(|entry| entry.row.key != row.key);
        self.entries.push(Entry { row, value, place });
    }

    /// The entry of a key, if it was given.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.row.name() == name)
    }

    /// Where the key stands, or the block if it was not given.
    pub fn place_of(&self, name: &str) -> Place {
        self.entry(name)
            .map_or(&self.place, |entry| &entry.place)
            .clone()
    }

    /// The value of a key, given or default, as what the model wants. `None` when it has neither, or when schema
    /// and model disagree about its kind.
    pub fn get<T: FromValue>(&self, name: &str) -> Option<T> {
        let value = match self.entry(name) {
            Some(entry) => entry.value.clone(),
            None => default_of(lookup::row_in(self.section.name, name)?)?,
        };
        T::from_value(value)
    }

    /// The same for a key that may be `"off"`, which is the inner `None`.
    pub fn or_off<T: FromValue>(&self, name: &str) -> Option<Option<T>> {
        match self.get::<Value>(name)? {
            Value::Off => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// The default of a row.
pub fn default_of(row: &Row) -> Option<Value> {
    row.kind.read(row.default?).ok()
}

/// All settings that were given.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// In the order of the file; a section that stands once has at most one.
    pub blocks: Vec<Block>,
    /// Sections that were given as an empty list: no block, not even a default one.
    pub none_of: Vec<&'static str>,
}

impl Settings {
    /// The blocks of a section.
    pub fn all(&self, section: &str) -> impl Iterator<Item = &Block> {
        self.blocks
            .iter()
            .filter(move |block| block.section.name == section)
    }

    /// The block of a section that stands once; an empty one if it was not given.
    pub fn one(&self, section: &str) -> Option<Block> {
        match self.all(section).next() {
            Some(block) => Some(block.clone()),
            None => Some(Block::new(lookup::section(section)?, Place::Default)),
        }
    }

    /// The block of a section that stands once, made when it is not there.
    pub fn one_mut(&mut self, section: &'static Section, place: &Place) -> Option<&mut Block> {
        let found = |block: &Block| block.section.name == section.name;
        if !self.blocks.iter().any(found) {
            self.blocks.push(Block::new(section, place.clone()));
        }
        self.blocks.iter_mut().find(|block| found(block))
    }

    /// As TOML: what was given, and with `all` everything else with the value it has.
    pub fn print(&self, all: bool) -> Print<'_> {
        Print {
            settings: self,
            all,
        }
    }
}

/// See [`Settings::print`]. Holds no secrets: settings name the places of passwords, never passwords.
pub struct Print<'a> {
    settings: &'a Settings,
    all: bool,
}

impl fmt::Display for Print<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.settings.none_of {
            writeln!(f, "{name} = []")?;
        }
        for section in SECTIONS {
            let mut blocks: Vec<Block> = self.settings.all(section.name).cloned().collect();
            // A block of these that says nothing would be a mistake.
            let none = self.settings.none_of.contains(&section.name)
                || matches!(section.name, "route" | "dkim" | "domain" | "hook");
            if blocks.is_empty() && self.all && !none {
                blocks.push(Block::new(section, Place::Default));
            }
            for block in blocks {
                self.block(f, &block)?;
            }
        }
        Ok(())
    }
}

impl Print<'_> {
    fn block(&self, f: &mut fmt::Formatter<'_>, block: &Block) -> fmt::Result {
        let name = block.section.name;
        match (name, block.section.many) {
            ("", _) => {}
            (_, true) => writeln!(f, "\n[[{name}]]")?,
            (_, false) => writeln!(f, "\n[{name}]")?,
        }
        for row in lookup::rows_of(name) {
            match (block.entry(row.name()), default_of(row)) {
                (Some(entry), _) => writeln!(f, "{} = {}", row.name(), entry.value)?,
                (None, Some(value)) if self.all => writeln!(f, "{} = {value}", row.name())?,
                (None, None) if self.all => writeln!(f, "# {} is not set", row.name())?,
                (None, _) => {}
            }
        }
        Ok(())
    }
}

/// What the model can take from a value.
pub trait FromValue: Sized {
    /// The value as this type; `None` when it is of another kind.
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty: $($variant:ident)|+;)*) => {$(
        impl FromValue for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    $(Value::$variant(inner) => inner.try_into().ok(),)+
                    _ => None,
                }
            }
        }
    )*};
}

from_value! {
    bool: Bool;
    u8: Int;
    u16: Int;
    u32: Int;
    u64: Size;
    Duration: Wait;
    String: Text;
    &'static str: Word;
    Address: Address;
    Domain: Domain;
    Pattern: Pattern;
    SocketAddr: Socket;
    At: At;
    Host: Host;
    Directory: Directory;
    IpAddr: Ip;
    Network: Network;
    Tls: Tls;
    PathBuf: Path;
    Receiver: Receiver;
}

impl FromValue for Value {
    fn from_value(value: Value) -> Option<Self> {
        Some(value)
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::List(list) => list.into_iter().map(T::from_value).collect(),
            _ => None,
        }
    }
}
