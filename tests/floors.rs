//! The README's map is the law: who may import whom, and who may touch the world.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What only a folder that touches the world may say.
const WORLD: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "std::process::Command",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "clock_gettime",
    "smol::",
    "async_net",
    "async fn",
    ".await",
];

/// What nobody may say, and who is excused.
const NEVER: &[(&str, &[&str])] = &[
    ("SystemTime", &[]),
    ("AtomicU64", &[]),
    ("AtomicI64", &[]),
    ("smol::unblock", &[]),
    ("smol::fs", &[]),
    ("clock_gettime", &["net::clock"]),
    ("Instant::now", &["net::clock"]),
];

struct Floor {
    row: usize,
    may_use: BTreeSet<String>,
    world: bool,
}

fn map() -> BTreeMap<String, Floor> {
    let readme = fs::read_to_string("README.md").unwrap();
    let mut map = BTreeMap::new();
    let table = readme
        .lines()
        .skip_while(|line| !line.starts_with("| folder | may use | world |"))
        .skip(2)
        .take_while(|line| line.starts_with("| `"));
    for (row, line) in table.enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let may_use = match cells[2] {
            "all above" => map.keys().cloned().collect(),
            words => words
                .split_whitespace()
                .filter(|word| *word != "-")
                .map(str::to_owned)
                .collect(),
        };
        let world = match cells[3] {
            "yes" => true,
            "no" => false,
            other => panic!("world is yes or no, not {other:?}"),
        };
        let name = cells[1].trim_matches('`').to_owned();
        map.insert(
            name,
            Floor {
                row,
                may_use,
                world,
            },
        );
    }
    assert!(map.len() >= 11, "the README has lost its map");
    map
}

fn files(dir: &Path, out: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let name = path.strip_prefix("src").unwrap().with_extension("");
            let name = name.to_str().unwrap().replace('/', "::");
            let code = fs::read_to_string(&path).unwrap();
            out.insert(name.trim_end_matches("::mod").to_owned(), code);
        }
    }
}

/// The part before the tests, which may do as they like.
fn shipped(code: &str) -> &str {
    code.split("#[cfg(test)]").next().unwrap()
}

/// Each `crate::a::b::C`, cut down to the longest prefix that is a file.
fn imports(code: &str, all: &BTreeMap<String, String>) -> BTreeSet<String> {
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .filter_map(|path| {
            assert!(
                !path.starts_with('{'),
                "write one `use crate::...` path a line"
            );
            let ends = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
            let parts: Vec<&str> = path.split(ends).next().unwrap().split("::").collect();
            (1..=parts.len())
                .rev()
                .map(|n| parts[..n].join("::"))
                .find(|name| all.contains_key(name))
        })
        .collect()
}

#[test]
fn the_code_follows_the_map() {
    let (map, mut all) = (map(), BTreeMap::new());
    files(Path::new("src"), &mut all);
    all.retain(|name, _| name != "lib" && name != "main");
    for (name, floor) in &map {
        let above = floor
            .may_use
            .iter()
            .find(|other| map[*other].row >= floor.row);
        assert!(above.is_none(), "the map lets {name} look up at {above:?}");
    }
    let folder = |name: &str| name.split("::").next().unwrap().to_owned();

    let mut graph = BTreeMap::new();
    for (name, code) in &all {
        let floor = map
            .get(&folder(name))
            .unwrap_or_else(|| panic!("{name} is not on the map"));
        assert!(
            code.starts_with("//! ") || code.starts_with("#![doc"),
            "{name} does not say its duty in its first line"
        );
        assert!(code.is_ascii(), "{name} is not ASCII");
        let code = shipped(code);
        let said = WORLD
            .iter()
            .find(|word| code.lines().any(|l| says(l, word)));
        assert!(
            floor.world || said.is_none(),
            "{name} may not touch the world but says {said:?}"
        );
        for (word, excused) in NEVER {
            let said = code.lines().any(|l| says(l, word));
            assert!(
                !said || excused.contains(&name.as_str()),
                "{name} says {word}"
            );
        }
        let wanted = imports(code, &all);
        for other in &wanted {
            let allowed = folder(other) == folder(name) || floor.may_use.contains(&folder(other));
            assert!(allowed, "{name} may not use {other}");
        }
        graph.insert(name.as_str(), wanted);
    }
    for name in map.keys() {
        assert!(
            all.contains_key(name),
            "{name} is on the map but not in src/"
        );
    }

    // Peel off files whose imports are all peeled; what stays is a circle.
    while let Some(free) = graph.iter().find(|(me, w)| {
        w.iter()
            .all(|w| w == *me || !graph.contains_key(w.as_str()))
    }) {
        let free = *free.0;
        graph.remove(free);
    }
    assert!(graph.is_empty(), "circular: {:?}", graph.keys());
}

/// Whether the line says it in code, not in a comment.
fn says(line: &str, word: &str) -> bool {
    !line.trim_start().starts_with("//") && line.contains(word)
}

#[test]
fn the_top_level_stays_as_the_owner_fixed_it() {
    let out = std::process::Command::new("git")
        .args(["ls-tree", "--name-only", "HEAD"])
        .output();
    let Ok(out) = out.map(|out| String::from_utf8(out.stdout).unwrap()) else {
        println!("skipped: no git here");
        return;
    };
    let fixed = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "build.rs",
        "src",
        "targets",
        "tests",
    ];
    for name in out.lines() {
        assert!(
            name.starts_with('.') || fixed.contains(&name),
            "{name} may not stand at the top"
        );
    }
}

#[test]
fn nothing_that_ships_pulls_in_another_executor() {
    let lock = fs::read_to_string("Cargo.lock").unwrap();
    for banned in ["tokio", "async-std", "openssl-sys", "aws-lc-rs"] {
        let line = format!("name = \"{banned}\"");
        assert!(!lock.lines().any(|l| l == line), "{banned} is in the tree");
    }
}

/// Every test that PROMISES.md names is there, so that a promise cannot lose its attacker unnoticed.
#[test]
fn every_promise_names_tests_that_exist() {
    let mut code = BTreeMap::new();
    files(Path::new("src"), &mut code);
    let mut all: String = code.into_values().collect();
    let mut folders = vec![Path::new("tests").to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                all.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let text = fs::read_to_string("src/queue/PROMISES.md").unwrap();
    let mut named = 0;
    for name in text.split('`').skip(1).step_by(2) {
        let is_test = name.matches('_').count() > 2 && !name.contains(['.', '/', ':', ' ']);
        if is_test {
            named += 1;
            assert!(
                all.contains(&format!("fn {name}(")),
                "there is no test {name}"
            );
        }
    }
    assert!(named > 15, "PROMISES.md names its tests");
}
