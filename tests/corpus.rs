//! Replays the committed fuzz corpus through the checks the fuzz targets use: every input that once told something.
#![cfg(test)]

#[path = "fuzz/checks.rs"]
mod checks;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn the_corpus_passes_all_checks() {
    let corpus = Path::new("tests/fuzz/corpus");
    let mut bytes = 0;
    for (name, check) in checks::ALL {
        let inputs =
            fs::read_dir(corpus.join(name)).unwrap_or_else(|_| panic!("{name} has no corpus"));
        let mut count = 0;
        for path in inputs.map(|entry| entry.unwrap().path()) {
            let input = fs::read(&path).unwrap();
            // Shown when the check panics.
            println!("{}", path.display());
            check(&input);
            bytes += input.len();
            count += 1;
        }
        assert!(count > 0, "{name} has an empty corpus");
    }
    assert!(
        bytes < 300 * 1024,
        "the corpus has grown to {bytes} bytes: minimise it"
    );
}

#[test]
fn any_cut_and_any_flipped_bit_of_the_corpus_passes_too() {
    // One input in four; the fuzzer does the rest.
    for (name, check) in checks::ALL {
        let inputs = fs::read_dir(Path::new("tests/fuzz/corpus").join(name)).unwrap();
        for path in inputs.map(|entry| entry.unwrap().path()).step_by(4) {
            let input = fs::read(&path).unwrap();
            println!("{}", path.display());
            let step = (input.len() / 16).max(1);
            for at in (0..input.len()).step_by(step) {
                check(&input[..at]);
                let mut changed = input.clone();
                changed[at] ^= 1 << (at % 8);
                check(&changed);
            }
        }
    }
}

#[test]
fn each_check_has_a_fuzz_target_and_a_corpus() {
    let names = |dir: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(Path::new("tests/fuzz").join(dir)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.trim_end_matches(".rs").to_owned())
            .collect()
    };
    let checks: BTreeSet<String> = checks::ALL
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(names("fuzz_targets"), checks);
    assert_eq!(names("corpus"), checks);
    let manifest = fs::read_to_string("tests/fuzz/Cargo.toml").unwrap();
    for name in checks {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not in Cargo.toml"
        );
    }
}
