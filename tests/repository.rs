//! What the repository says about itself is so: which file uses which, the functions and tests that pages name,
//! where their links lead, that every public item leads to an example, and names that have been given up for better ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ARCHITECTURE: &str = include_str!("../src/architecture.rs");
const README: &str = include_str!("../README.md");

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
    let pages =
        ["architecture", "conformance", "costs", "decisions", "host", "inline", "lib", "nodes", "phases", "tokens"];
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
            let (name, rest) =
                used.split_at(used.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(used.len()));
            // A macro that calls itself.
            if rest.starts_with('!') {
                continue;
            }
            let there = place(name).unwrap_or_else(|| panic!("{path} uses crate::{name}, which is no room"));
            assert!(here <= there, "{path} uses {name}, which stands above it");
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

/// Not the loops that the documentation prints, nor the checks that a macro names.
fn is_for_users(path: &str) -> bool {
    !["src/host/", "src/store_tests/"].iter().any(|dir| path.starts_with(dir))
}

/// An example is a block of code; a link leads to another item, or to the rule that is obeyed.
#[test]
fn every_public_item_has_an_example_or_a_link() {
    let mut items = 0;
    for file in files("src", &["rs"]).iter().filter(|file| is_for_users(&short(file))) {
        let text = read(file);
        let lines: Vec<&str> = text.lines().collect();
        let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub fn ", "pub const "];
        for (number, line) in
            lines.iter().enumerate().filter(|(_, line)| kinds.iter().any(|kind| line.starts_with(kind)))
        {
            let above =
                lines[..number].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with("#["));
            let has_one =
                above.into_iter().any(|line| line.starts_with("/// ```") || line.contains("](") || line.contains("[`"));
            assert!(has_one, "{}: {line}", short(file));
            items += 1;
        }
    }
    assert!(items > 60, "{items} items");
}

#[test]
fn the_readme_has_at_most_a_thousand_words() {
    let words = README.split_whitespace().count();
    assert!(words <= 1000, "{words} words");
}

#[test]
fn pages_lead_to_files_that_are_there() {
    let mut links = 0;
    let mut pages = [".github", "benches", "examples", "tests"].map(|dir| files(dir, &["md"])).concat();
    pages.extend(["README.md", "CHANGELOG.md"].map(|page| root().join(page)));
    for page in pages {
        let text = read(&page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let path = target.split('#').next().expect("a path");
            let file = page.parent().expect("a directory").join(path);
            assert!(file.exists(), "{} leads to {target}", short(&page));
            links += 1;
        }
    }
    assert!(links > 10, "{links} links");
}

/// The package has no examples, and a relative path leads nowhere on docs.rs.
#[test]
fn the_documentation_leads_to_examples_in_the_repository() {
    let start = format!("{}/tree/HEAD/", env!("CARGO_PKG_REPOSITORY"));
    let mut links = 0;
    for page in files("src", &["rs", "md"]) {
        let text = read(&page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(!target.starts_with('.') && !target.starts_with("examples/"), "{} leads to {target}", short(&page));
            if let Some(path) = target.strip_prefix(&start) {
                assert!(root().join(path).exists(), "{} leads to {target}", short(&page));
                links += 1;
            }
        }
    }
    assert!(links > 5, "{links} links");
}

/// The lines of a file that do something: no comments, no imports.
fn lines_of_code(path: &str) -> usize {
    let text = code(&read(&root().join(path)));
    let items = text.split('\n').scan(false, |is_import, line| {
        *is_import |= line.starts_with("use ");
        let counts = !*is_import && !line.trim().is_empty();
        *is_import &= !line.ends_with(';');
        Some(counts)
    });
    items.filter(|counts| *counts).count()
}

/// What a host with typed stanzas has to write is short enough to be copied.
#[test]
fn a_typed_host_is_short() {
    let server = lines_of_code("examples/typed/login.rs") + lines_of_code("examples/typed/session.rs");
    assert!((100..=250).contains(&server), "{server} lines of login and stream management");
    let client = lines_of_code("examples/typed/client.rs");
    assert!((100..=200).contains(&client), "{client} lines of a client's stream");
}

/// A session's whole life can be read at once.
#[test]
fn the_session_of_the_example_server_is_short() {
    let lines = read(&root().join("examples/server/session.rs")).lines().count();
    assert!(lines <= 250, "{lines} lines");
}

/// The cells of each row of a table.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter_map(|line| line.trim_start_matches("//! ").strip_prefix("| "));
    rows.map(|row| row.trim_end_matches(" |").split(" | ").collect()).collect()
}

/// `[text](target)` without its target.
fn without_links(text: &str) -> String {
    let mut parts = text.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    let all = parts.fold(first, |all, part| all + part.split_once(')').map_or(part, |(_, rest)| rest));
    all.replace('[', "")
}

#[test]
fn what_an_account_can_cost_is_the_same_on_both_pages() {
    let documented = rows(include_str!("../src/costs.rs"));
    let security = rows(include_str!("../.github/SECURITY.md"));
    assert!(documented.len() > 5, "{documented:?}");
    for row in documented.iter().filter(|row| row.iter().all(|cell| *cell != "---")) {
        let what = without_links(row[0]);
        let is_there = security.iter().any(|other| other[0] == what && other[1] == row[2]);
        assert!(is_there, "SECURITY.md has no row like {row:?}");
    }
}

/// Names that stood for several things or for nothing that a reader knows, each with its better one.
const GIVEN_UP: [(&str, &str); 24] = [
    ("Unanswered", "RequestPending, AwaitingServer"),
    ("WhyNot", "NotRecordedWhy"),
    ("QueueFull", "NotRecordedWhy"),
    ("note_answer", "on_ack"),
    ("take_h", "on_ack"),
    ("forget_request", "drop the token"),
    ("go_on", "advance, continue_login"),
    ("give_up", "settle_without_receipt"),
    ("give_session_up", "end_session"),
    ("give_back", "shrink"),
    ("was_blocked", "hearing"),
    ("start_anew", "hearing"),
    ("IntoUnacked", "Undelivered"),
    ("WhyRefused", "NotResumedWhy"),
    ("ResumeError", "NotResumed"),
    ("ReceiptsPending", "ReceiptsOpen"),
    ("OtherStream", "Foreign"),
    ("OtherSession", "Foreign"),
    ("Sid", "Handle"),
    ("fading", "stale"),
    ("bury", "remove"),
    ("in the way", "say what stops it"),
    ("come to rest", "settled"),
    ("What comes most", "drop it"),
];

/// Whether the name stands there as a word of its own.
fn has_word(text: &str, name: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(name)
        .any(|(start, _)| !text[..start].ends_with(is_letter) && !text[start + name.len()..].starts_with(is_letter))
}

#[test]
fn names_that_were_given_up_do_not_come_back() {
    let sources = ["src", "examples", "tests", "benches", "fuzz"].map(|dir| files(dir, &["rs", "md"])).concat();
    let mut found = BTreeSet::new();
    for file in sources.iter().filter(|file| !file.ends_with("tests/repository.rs")) {
        let text = read(file);
        for (name, better) in GIVEN_UP.iter().filter(|(name, _)| has_word(&text, name)) {
            found.insert(format!("{}: {name}, better: {better}", short(file)));
        }
        let name = file.file_name().expect("a name").to_string_lossy();
        if ["handled.rs", "asking.rs", "flow.rs", "action.rs"].contains(&&*name) {
            found.insert(format!("{}: the name says nothing", short(file)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// What a server needs that nobody here wrote is short enough to be read.
#[test]
fn the_glue_for_prosody_is_short() {
    for (kind, comment, most) in [("rs", "//", 300), ("lua", "--", 400)] {
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with(comment);
        let lines = |path: &PathBuf| read(path).lines().filter(is_code).count();
        let lines: usize = files("examples/prosody", &[kind]).iter().map(lines).sum();
        assert!(lines <= most, "{lines} lines of {kind}");
    }
}
