//! What the repository says about itself is so: which file uses which, and the functions that the documentation names.

use std::fs;
use std::path::{Path, PathBuf};

const ARCHITECTURE: &str = include_str!("../src/architecture.rs");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below that is of one of these kinds, and was not built or installed.
fn files(dir: &str, kinds: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            let is_foreign = ["target", "node_modules", "corpus", "artifacts"].contains(&&*name) || name == ".venv";
            if path.is_dir() && !is_foreign {
                dirs.push(path);
            } else if path.extension().is_some_and(|kind| kinds.iter().any(|known| kind == *known)) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{dir}");
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The path as it is written in the repository.
fn short(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned()
}

/// What is compiled into the library: no comments, no tests.
fn code(text: &str) -> String {
    let library = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = library.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The rooms in their order, from the page.
fn rooms() -> Vec<&'static str> {
    let rows = ARCHITECTURE.lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next());
    rows.collect()
}

#[test]
fn every_file_of_the_library_has_its_room() {
    let rooms = rooms();
    let pages = ["architecture", "conformance", "costs", "decisions", "host", "lib", "phases"];
    for file in files("src", &["rs"]) {
        let path = short(&file);
        let room = path["src/".len()..].split(['/', '.']).next().expect("a name");
        assert!(rooms.contains(&room) || pages.contains(&room), "{path} has no room in src/architecture.rs");
    }
    for room in rooms {
        assert!(root().join(format!("src/{room}.rs")).exists(), "src/architecture.rs has a room {room}");
    }
}

#[test]
fn imports_run_downwards_only() {
    let rooms = rooms();
    let place = |name: &str| rooms.iter().position(|room| *room == name);
    let mut imports = 0;
    for file in files("src", &["rs"]) {
        let path = short(&file);
        let room = path["src/".len()..].split(['/', '.']).next().expect("a name");
        let Some(here) = place(room) else { continue };
        for used in code(&read(&file)).split("crate::").skip(1) {
            let used: String = used.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            let there = place(&used).unwrap_or_else(|| panic!("{path} uses crate::{used}, which is no room"));
            assert!(here <= there, "{path} uses {used}, which stands above it");
            imports += usize::from(here != there);
        }
    }
    assert!(imports > 100, "{imports} imports");
}

#[test]
fn the_functions_on_the_two_ways_are_there() {
    let mut named = 0;
    for line in ARCHITECTURE.lines().filter_map(|line| line.strip_prefix("//! ")) {
        let Some((file, rest)) = line.trim_start().split_once(".rs ") else { continue };
        if file.contains(' ') {
            continue;
        }
        let functions = rest.trim_start().split("  ").next().expect("a function");
        let source = code(&read(&root().join(format!("src/{file}.rs"))));
        for function in functions.split(", ") {
            let is_there = ["(", "<"].iter().any(|after| source.contains(&format!("fn {function}{after}")));
            assert!(is_there, "src/{file}.rs has no function {function}");
            named += 1;
        }
    }
    assert!(named > 15, "{named} functions");
}
