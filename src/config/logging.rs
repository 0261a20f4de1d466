//! Reads the block of the log.

use std::path::Path;
use std::path::PathBuf;

use crate::config::logs::Destination;
use crate::config::logs::Field;
use crate::config::logs::Files;
use crate::config::logs::Form;
use crate::config::logs::Log;
use crate::config::logs::Period;
use crate::config::logs::facility;
use crate::config::settings::Block;

/// The settings of a block; `None` when schema and model disagree.
pub fn log(block: &Block, home: &Path) -> Option<Log> {
    let fields: Vec<&str> = block.get("fields")?;
    let fields: Option<Vec<Field>> = fields.into_iter().map(Field::named).collect();
    Some(Log {
        level: block.get::<&str>("level")?.parse().ok()?,
        form: match block.get::<&str>("form")? {
            "json" => Form::Json,
            "w3c" => Form::W3c,
            "iis" => Form::Iis,
            "ncsa" => Form::Ncsa,
            _ => Form::Text,
        },
        dialogue: block.get("dialogue")?,
        to: match block.get::<&str>("to")? {
            "files" => Destination::Files,
            "syslog" => Destination::Syslog,
            "journald" => Destination::Journald,
            _ => Destination::Stderr,
        },
        syslog: block.get("syslog")?,
        facility: facility(block.get("facility")?),
        files: Files {
            directory: home.join(block.get::<PathBuf>("directory")?),
            period: match block.get::<&str>("rotate")? {
                "hourly" => Period::Hourly,
                "weekly" => Period::Weekly,
                "monthly" => Period::Monthly,
                "never" => Period::Never,
                _ => Period::Daily,
            },
            file_bytes: block.or_off("file_bytes")?,
            total_bytes: block.get("total_bytes")?,
        },
        fields: fields?,
    })
}
