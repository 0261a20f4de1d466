//! `src/RFC.md` and the citations in the code say the same.
#![cfg(test)]
#![allow(clippy::string_slice)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

struct Row {
    how_far: String,
    files: Vec<String>,
    notes: String,
}

fn table() -> BTreeMap<u32, Row> {
    let mut table = BTreeMap::new();
    for line in fs::read_to_string("src/RFC.md").unwrap().lines() {
        let Some(row) = line.strip_prefix("| RFC ") else {
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{line}");
        let files = cells[2].split_whitespace().map(|file| {
            let name = file.strip_prefix('`').and_then(|f| f.strip_suffix('`'));
            name.unwrap_or_else(|| panic!("a file stands in backticks: {line}"))
                .to_owned()
        });
        let row = Row {
            how_far: cells[1].to_owned(),
            files: files.collect(),
            notes: cells[3].to_owned(),
        };
        let number = cells[0].parse().unwrap();
        let twice = table.insert(number, row).is_some();
        assert!(!twice, "RFC {number} stands twice in src/RFC.md");
    }
    assert!(table.len() > 40, "src/RFC.md has lost its table");
    table
}

/// The numbers behind each `RFC ` in a text.
fn cited(text: &str) -> BTreeSet<u32> {
    text.split("RFC ")
        .skip(1)
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

/// What each file cites, by its path below `src/`.
fn citations(dir: &Path, out: &mut BTreeMap<String, BTreeSet<u32>>) {
    for path in fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if path.is_dir() {
            citations(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let name = path.strip_prefix("src").unwrap().to_str().unwrap();
            let text = fs::read_to_string(&path).unwrap();
            // One form, so that one search finds them all.
            let odd = text
                .lines()
                .find(|l| l.contains("RFC") && cited(l).is_empty() && !l.contains("RFC.md"));
            assert!(odd.is_none(), "{name}: cite as `RFC 5321 s4.5.2`: {odd:?}");
            out.insert(name.to_owned(), cited(&text));
        }
    }
}

#[test]
fn the_table_of_standards_and_the_code_agree() {
    let (table, mut code) = (table(), BTreeMap::new());
    citations(Path::new("src"), &mut code);
    for (file, numbers) in &code {
        for number in numbers {
            assert!(
                table.contains_key(number),
                "{file} cites RFC {number}, which has no row in src/RFC.md"
            );
        }
    }
    for (number, row) in &table {
        let known = ["yes", "partly", "no"].contains(&row.how_far.as_str());
        assert!(known, "RFC {number}: {:?} is no answer", row.how_far);
        let done = row.how_far != "no";
        assert!(!done || !row.files.is_empty(), "RFC {number}: where?");
        assert!(
            row.how_far == "yes" || !row.notes.is_empty(),
            "RFC {number}: what is missing?"
        );
        for file in &row.files {
            let cites = code
                .get(file)
                .unwrap_or_else(|| panic!("RFC {number}: there is no src/{file}"));
            assert!(
                cites.contains(number),
                "src/{file} does not cite RFC {number}"
            );
        }
    }
}
