//! The page `conformance` says what is true, as far as a machine can tell; and the guide keeps its word.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../../src/conformance.rs");
const DECISIONS: &str = include_str!("../../src/decisions.rs");
const TESTS: &str = include_str!("../README.md");
const GUIDE: &str = include_str!("../../src/lib.md");

/// How often each word stands in XEP-0198, version 1.6.3, without its examples.
const IN_THE_XEP: [(&str, usize); 7] =
    [("MAY", 10), ("MUST", 25), ("MUST NOT", 9), ("RECOMMENDED", 3), ("SHALL", 3), ("SHOULD", 18), ("SHOULD NOT", 4)];

/// The cells of each row that quotes a sentence.
fn rows() -> Vec<Vec<&'static str>> {
    let lines = PAGE.lines().filter_map(|line| line.strip_prefix("//! | "));
    let cells = lines.map(|line| line.trim_end_matches(" |").split(" | ").collect::<Vec<_>>());
    cells.filter(|cells| cells[0].parse::<usize>().is_ok()).collect()
}

/// The names of the tests in a tree of source files.
fn tests_in(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[") {
                    is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                } else if let Some((_, function)) = line.split_once("fn ").filter(|_| is_test) {
                    found.extend(function.split(['(', '<']).next().map(str::to_owned));
                    is_test = false;
                }
            }
        }
    }
}

fn quoted(cell: &str, mark: char) -> impl Iterator<Item = &str> {
    cell.split(mark).skip(1).step_by(2)
}

#[test]
fn every_normative_sentence_has_its_row() {
    let rows = rows();
    let numbers: Vec<usize> = rows.iter().filter_map(|cells| cells[0].parse().ok()).collect();
    assert_eq!(numbers, (1..=58).collect::<Vec<_>>());
    let mut words = BTreeMap::new();
    for cells in &rows {
        assert_eq!(cells.len(), 5, "{cells:?}");
        let in_bold = cells[1].split("**").skip(1).step_by(2).inspect(|word| *words.entry(*word).or_insert(0) += 1);
        assert_ne!(in_bold.count(), 0, "{cells:?}");
    }
    assert_eq!(words, BTreeMap::from(IN_THE_XEP));
}

#[test]
fn every_row_names_its_tests_or_says_whose_it_is() {
    for cells in rows() {
        let tests = quoted(cells[4], '`').count();
        match cells[2] {
            "crate" | "both" => assert_ne!(tests, 0, "{cells:?}"),
            "host" | "no" => assert_eq!(cells[4] == "–", tests == 0, "{cells:?}"),
            _ => panic!("whose is {cells:?}?"),
        }
    }
}

/// The names of all tests.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    for dir in ["src", "tests"] {
        tests_in(&root.join(dir), &mut tests);
    }
    tests
}

#[test]
fn every_test_that_is_named_exists() {
    let tests = tests();
    for page in [PAGE, DECISIONS] {
        let rows = page.lines().filter(|line| line.starts_with("//! | ") && !line.starts_with("//! | ---"));
        let last_cells = rows.filter_map(|line| line.rsplit(" | ").next());
        let named: BTreeSet<&str> = last_cells.flat_map(|cell| quoted(cell, '`')).collect();
        assert!(named.len() > 50, "{named:?}");
        let missing: Vec<_> = named.into_iter().filter(|name| !tests.contains(*name)).collect();
        assert!(missing.is_empty(), "{missing:#?}");
    }
}

#[test]
fn every_decision_names_its_tests() {
    let rows = DECISIONS.lines().filter_map(|line| line.strip_prefix("//! | "));
    let decisions: Vec<_> = rows.filter(|row| !row.starts_with("---") && !row.starts_with("situation")).collect();
    assert!(decisions.len() > 40, "{} decisions", decisions.len());
    for row in decisions {
        let cells: Vec<_> = row.trim_end_matches(" |").split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        assert_ne!(quoted(cells[2], '`').count(), 0, "{row}");
    }
}

/// The number of a fault, where a name or a cell begins with one: `p01`.
fn fault(text: &str) -> Option<&str> {
    let number = text.get(..3)?;
    (number.starts_with('p') && number[1..].parse::<u8>().is_ok()).then_some(number)
}

#[test]
fn every_fault_of_others_has_its_tests_and_every_such_test_its_fault() {
    let tests = tests();
    let rows = TESTS.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<&str> = rows.filter_map(fault).collect();
    let in_table: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(in_table.len(), rows.len(), "{rows:?}");
    let in_tests: BTreeSet<&str> = tests.iter().filter_map(|name| fault(name)).collect();
    assert_eq!(in_table, in_tests);
    assert_eq!(in_table.len(), 29);
}

/// The loops of the documentation, as they are compiled and run by `tests/literal`.
const LOOPS: [(&str, &str); 2] = [
    ("pub async fn serve", include_str!("../../src/host/server.rs")),
    ("pub async fn run", include_str!("../../src/host/client.rs")),
];

/// The function that begins so, with its braces.
fn function<'a>(source: &'a str, begin: &str) -> &'a str {
    let start = source.find(begin).expect("the function is there");
    let end = source[start..].find("\n}\n").expect("it ends");
    &source[start..start + end]
}

#[test]
fn a_hosts_loop_is_short_and_unwraps_nothing() {
    for (begin, source) in LOOPS {
        let body = function(source, begin);
        let lines = body[body.find("    loop {").expect("a loop")..].lines().count();
        assert!(lines <= 40, "{begin}: {lines} lines");
        for forbidden in ["unwrap()", "expect(", "panic", "unreachable", "todo"] {
            assert!(!source.contains(forbidden), "{begin}: {forbidden}");
        }
    }
}

#[test]
fn the_readme_shows_the_same_loop() {
    let (begin, source) = LOOPS[0];
    assert!(include_str!("../../README.md").contains(function(source, begin)));
}

#[test]
fn a_newcomer_reads_a_thousand_words_up_to_the_end_of_the_loop() {
    let (begin, source) = LOOPS[0];
    let end = source.find(begin).unwrap() + function(source, begin).len();
    let words = GUIDE.split_whitespace().count() + source[..end].split_whitespace().count();
    assert!(words <= 1000, "{words} words");
}

#[test]
fn a_newcomer_knows_what_to_write_after_three_thousand_words() {
    let pages = [GUIDE, include_str!("../../src/doc/server.md"), include_str!("../../src/doc/client.md")];
    let sources = LOOPS.map(|(_, source)| source);
    let words: usize = pages.iter().chain(&sources).map(|page| page.split_whitespace().count()).sum();
    assert!(words <= 3000, "{words} words");
}
