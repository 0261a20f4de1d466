//! Settings from the command line: enough to run without a file, and to change any setting of one.

use crate::config::fault::Complaint;
use crate::config::fault::Fault;
use crate::config::fault::Place;
use crate::config::kind::Value;
use crate::config::lookup;
use crate::config::parse;
use crate::config::schema::Row;
use crate::config::settings::Block;
use crate::config::settings::Settings;
use crate::config::url;

/// A flag that sets something: its name, what its value is called, and what it does.
pub type FlagRow = (&'static str, &'static str, &'static str);

/// Every such flag.
pub const FLAGS: &[FlagRow] = &[
    (
        "home",
        "DIR",
        "the folder that holds pickup, queue, drop and badmail",
    ),
    (
        "listen",
        "ADDR:PORT",
        "where SMTP is spoken; may be repeated",
    ),
    (
        "smart-host",
        "URL",
        "where mail goes: smtp://user@host:587 (STARTTLS) or smtps://user@host:465; the password comes from the \
         variable MAILROOT_PASSWORD or ?password_file=FILE",
    ),
    (
        "hostname",
        "NAME",
        "the name of this host in greeting, EHLO and Received",
    ),
    (
        "default-domain",
        "DOMAIN",
        "what addresses without a domain get",
    ),
    (
        "local",
        "DOMAIN",
        "a domain whose mail stays in the drop folder; may be repeated",
    ),
    (
        "set",
        "KEY=VALUE",
        "any key of the configuration, such as limits.message_bytes=10MB; may be repeated",
    ),
];

/// The flags that were given, in order.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    given: Vec<(&'static str, String)>,
}

impl Flags {
    /// Takes `--name value`. False when there is no such flag.
    pub fn push(&mut self, name: &str, value: &str) -> bool {
        match FLAGS.iter().find(|(known, ..)| *known == name) {
            Some((known, ..)) => {
                self.given.push((known, value.to_owned()));
                true
            }
            None => false,
        }
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Puts them over the settings of a file. The first `--listen` or `--smart-host` takes the place of all such
    /// blocks of the file; later ones add to it.
    pub fn apply(&self, settings: &mut Settings) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (name, value) in &self.given {
            let result = match *name {
                "listen" => listen(settings, value),
                "smart-host" => smart_host(settings, value),
                "local" => local(settings, value),
                "default-domain" => put(settings, "default_domain", value, "--default-domain"),
                "set" => set(settings, value),
                key => put(settings, key, value, &format!("--{key}")),
            };
            if let Err(complaint) = result {
                let place = match (*name, value.split_once('=')) {
                    ("set", Some((key, _))) => Place::Flag(format!("--set {}", key.escape_debug())),
                    _ => Place::Flag(format!("--{name}")),
                };
                faults.push(Fault { place, complaint });
            }
        }
        faults
    }
}

fn row(key: &str) -> Result<&'static Row, Complaint> {
    lookup::row(key).ok_or_else(|| {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        match lookup::section(section) {
            Some(_) => parse::unknown_key(section, name),
            None => parse::unknown_key("", key),
        }
    })
}

/// Sets a key of a section that stands once.
fn put(settings: &mut Settings, key: &str, text: &str, flag: &str) -> Result<(), Complaint> {
    let row = row(key)?;
    let value = row
        .kind
        .read(text)
        .map_err(|why| parse::refused(row, why))?;
    let place = Place::Flag(flag.to_owned());
    let section = lookup::section(row.section()).ok_or(Complaint::Schema)?;
    let block = settings.one_mut(section, &place).ok_or(Complaint::Schema)?;
    block.put(row, value, place);
    Ok(())
}

/// A new block; blocks of the file give way to those of flags.
fn fresh<'a>(
    settings: &'a mut Settings,
    section: &str,
    flag: &str,
) -> Result<&'a mut Block, Complaint> {
    let section = lookup::section(section).ok_or(Complaint::Schema)?;
    settings.none_of.retain(|name| *name != section.name);
    settings.blocks.retain(|block| {
        block.section.name != section.name || matches!(block.place, Place::Flag(_))
    });
    let place = Place::Flag(flag.to_owned());
    settings.blocks.push(Block::new(section, place));
    settings.blocks.last_mut().ok_or(Complaint::Schema)
}

fn listen(settings: &mut Settings, text: &str) -> Result<(), Complaint> {
    let row = row("listen.address")?;
    let value = row
        .kind
        .read(text)
        .map_err(|why| parse::refused(row, why))?;
    let block = fresh(settings, "listen", "--listen")?;
    block.put(row, value, block.place.clone());
    Ok(())
}

fn smart_host(settings: &mut Settings, text: &str) -> Result<(), Complaint> {
    let list = url::route(text).map_err(Complaint::Url)?;
    let block = fresh(settings, "route", "--smart-host")?;
    for (row, value) in list {
        block.put(row, value, block.place.clone());
    }
    Ok(())
}

fn local(settings: &mut Settings, text: &str) -> Result<(), Complaint> {
    let row = row("local.domains")?;
    let more = row
        .kind
        .read(text)
        .map_err(|why| parse::refused(row, why))?;
    let section = lookup::section("local").ok_or(Complaint::Schema)?;
    let place = Place::Flag("--local".to_owned());
    let block = settings.one_mut(section, &place).ok_or(Complaint::Schema)?;
    let mut list = block.get::<Vec<Value>>("domains").unwrap_or_default();
    if let Value::List(more) = more {
        for one in more {
            if !list.contains(&one) {
                list.push(one);
            }
        }
    }
    block.put(row, Value::List(list), place);
    Ok(())
}

/// `section.key=value`, `key=value`, or `section.2.key=value` for one of several blocks.
fn set(settings: &mut Settings, text: &str) -> Result<(), Complaint> {
    let (path, value) = text.split_once('=').ok_or(Complaint::SetForm)?;
    let path = path.trim();
    let flag = format!("--set {path}");
    let (key, number) = match path.split('.').collect::<Vec<_>>().as_slice() {
        [section, number, name] => match number.parse::<usize>() {
            Ok(number) => (format!("{section}.{name}"), Some(number)),
            Err(_) => (path.to_owned(), None),
        },
        _ => (path.to_owned(), None),
    };
    let row = row(&key)?;
    let section = lookup::section(row.section()).ok_or(Complaint::Schema)?;
    if !section.many {
        return put(settings, &key, value, &flag);
    }
    let value = row
        .kind
        .read(value)
        .map_err(|why| parse::refused(row, why))?;
    let count = settings.all(section.name).count();
    let place = Place::Flag(flag);
    if count == 0 && matches!(number, None | Some(1)) {
        settings.none_of.retain(|name| *name != section.name);
        settings.blocks.push(Block::new(section, place.clone()));
    } else if count > 1 && number.is_none() {
        return Err(Complaint::WhichBlock(section.name));
    }
    let at = number.unwrap_or(1).checked_sub(1);
    let block = settings
        .blocks
        .iter_mut()
        .filter(|block| block.section.name == section.name)
        .nth(at.unwrap_or(usize::MAX))
        .ok_or(Complaint::NoBlock {
            section: section.name,
            count,
        })?;
    block.put(row, value, place);
    Ok(())
}
