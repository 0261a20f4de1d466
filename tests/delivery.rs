//! The comparison with Postfix names tests that exist.
#![cfg(test)]

use std::fs;
use std::path::Path;

fn code(dir: &Path, out: &mut String) {
    for path in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() && !path.ends_with("corpus") {
            code(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            out.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_cell_of_ours_is_held_by_a_test_that_exists() {
    let mut all = String::new();
    code(Path::new("src"), &mut all);
    code(Path::new("tests"), &mut all);
    let text = fs::read_to_string("src/DELIVERY.md").unwrap();
    let rows: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("| ---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() >= 30, "the table has lost its rows");
    for (at, row) in rows.iter().enumerate() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 7, "{row}");
        assert_eq!(cells[1], (at + 1).to_string(), "{row}");
        assert!(cells[2..5].iter().all(|cell| cell.ends_with('.')), "{row}");
        let names: Vec<&str> = cells[5].split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test holds: {row}");
        for name in names {
            let there = match name.strip_suffix(".talk") {
                Some(_) => Path::new("tests/dialogs/client").join(name).is_file(),
                None => all.contains(&format!("fn {name}(")),
            };
            assert!(there, "there is no test {name}");
        }
    }
}
