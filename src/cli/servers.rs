//! The files of several virtual servers: which there are, and what each is called.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::cli::load;
use crate::cli::load::Stop;
use crate::config::Config;
use crate::config::Flags;
use crate::config::Settings;

/// A path that was given for one server or several. What was a folder once is not taken for a file when it is away.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    is_folder: bool,
}

impl Source {
    /// Looks what it is.
    pub fn new(path: PathBuf) -> Self {
        let is_folder = path.is_dir();
        Self { path, is_folder }
    }
}

/// The configuration files that these stand for, in their order: a folder stands for each `*.toml` in it by name,
/// hidden ones left out.
pub fn files(sources: &[Source]) -> Result<Vec<PathBuf>, Stop> {
    let mut all = Vec::new();
    for Source { path, is_folder } in sources {
        if !is_folder {
            all.push(path.clone());
            continue;
        }
        let unread = |error| Stop::Unread(path.display().to_string(), error);
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(unread)? {
            let name = entry.map_err(unread)?.file_name();
            let bytes = name.as_encoded_bytes();
            if bytes.ends_with(b".toml") && !bytes.starts_with(b".") {
                found.push(path.join(name));
            }
        }
        found.sort();
        all.append(&mut found);
    }
    Ok(all)
}

/// The configuration of one of several servers. What its file gives no name is called like the file.
pub fn read(file: &Path) -> Result<Config, Stop> {
    load::load(Some(file), &Flags::default()).map(|read| named(file, read))
}

/// The same for who is to run it on this host.
pub fn read_here(file: &Path) -> Result<Config, Stop> {
    load::load_here(Some(file), &Flags::default()).map(|read| named(file, read))
}

fn named(file: &Path, (mut config, given): (Config, Settings)) -> Config {
    let named = given.one("").is_some_and(|top| top.entry("name").is_some());
    if !named && let Some(stem) = file.file_stem() {
        config.name = stem.to_string_lossy().into_owned();
    }
    config
}

#[cfg(test)]
mod tests {
    use super::{Source, files, read};
    use std::fs;

    #[test]
    fn a_folder_stands_for_its_files_and_a_file_without_a_name_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["b.toml", "a.toml", ".c.toml", "d.toml~", "e.txt"] {
            fs::write(at(name), "").unwrap();
        }
        fs::write(at("a.toml"), "name = 'lan'").unwrap();
        let sources = [dir.path().to_owned(), at("none.toml")].map(Source::new);
        let all = files(&sources).unwrap();
        assert_eq!(all, [at("a.toml"), at("b.toml"), at("none.toml")]);
        let names: Vec<String> = all.iter().take(2).map(|f| read(f).unwrap().name).collect();
        assert_eq!(names, ["lan", "b"]);
        drop(dir);
        assert!(files(&sources).is_err());
    }
}
