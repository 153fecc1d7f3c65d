//! The rules of this house that a text search can check; all offenders are listed at once.
//!
//! Decides: which files are read (everything below the root but build output and caches).
//! Deliberately absent: what the compiler or clippy already checks (purity of the core's
//! dependencies, length of functions, `unwrap`).

use std::fs;
use std::path::{Path, PathBuf};

/// Directories that hold what tools have made.
const SKIPPED: [&str; 7] = [
    ".git",
    ".pytest_cache",
    ".venv",
    ".venv-ministack",
    "__pycache__",
    "node_modules",
    "target",
];
const MAX_LINES: usize = 600;
const MAX_ARCHITECTURE_LINES: usize = 200;

/// A text file: its path from the root with `/`, and what it holds.
struct File {
    path: String,
    text: String,
}

impl File {
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|found| found == extension)
    }

    fn below(&self, directories: &[&str]) -> bool {
        directories
            .iter()
            .any(|directory| self.path.starts_with(directory))
    }

    /// Lines with their numbers from 1, line comments cut off.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    /// Where the code holds `needle`, as `path:line: needle`.
    fn find<'a>(&'a self, needle: &'a str) -> impl Iterator<Item = String> + 'a {
        self.code()
            .filter(move |(_, line)| line.contains(needle))
            .map(move |(number, _)| format!("{}:{number}: {needle}", self.path))
    }
}

fn root() -> PathBuf {
    PathBuf::from(std::env!("CARGO_MANIFEST_DIR"))
}

fn read_all() -> Vec<File> {
    let root = root();
    let mut files = Vec::new();
    let mut pending = vec![root.clone()];
    while let Some(directory) = pending.pop() {
        let entries = fs::read_dir(&directory).expect("the tree can be read");
        for entry in entries {
            let path = entry.expect("the tree can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if SKIPPED.contains(&name.as_ref()) {
                continue;
            }
            if path.is_dir() {
                pending.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(&root).unwrap_or(&path);
                let path = path.to_string_lossy().replace('\\', "/");
                files.push(File { path, text });
            }
        }
    }
    assert!(files.len() > 10, "only {} files in the tree", files.len());
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn rust_files() -> Vec<File> {
    let mut files = read_all();
    files.retain(|file| file.is("rs"));
    files
}

/// Fails with the whole list, so that one run shows all there is to mend.
fn none(rule: &str, offenders: &[String]) {
    assert!(
        offenders.is_empty(),
        "{rule}:\n  {}",
        offenders.join("\n  ")
    );
}

#[test]
fn every_rust_file_opens_with_what_it_decides_and_fits_in_the_head() {
    let mut offenders = Vec::new();
    for file in rust_files() {
        let lines = file.text.lines().count();
        if lines > MAX_LINES {
            offenders.push(format!("{}: {lines} lines", file.path));
        }
        if !file.text.starts_with("//!") {
            offenders.push(format!("{}: no `//!` at the top", file.path));
        }
    }
    none(
        &format!("a Rust file opens with `//!` and has at most {MAX_LINES} lines"),
        &offenders,
    );
}

#[test]
fn nothing_is_left_for_later() {
    let rust = ["todo!(", "unimplemented!(", "#[ignore"];
    let python = ["mark.skip", "mark.xfail", "pytest.skip("];
    let marks = ["FIXME", "TODO"];
    let mut offenders = Vec::new();
    for file in read_all() {
        // This file names what it looks for.
        if file.path == "tests/it/tidy.rs" {
            continue;
        }
        if file.is("rs") {
            for needle in rust {
                offenders.extend(file.find(needle));
            }
        }
        if file.is("py") {
            for needle in python {
                offenders.extend(file.find(needle));
            }
        }
        for (index, line) in file.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                offenders.push(format!("{}:{}: {}", file.path, index + 1, line.trim()));
            }
        }
    }
    none("finish it, or say in an issue what is missing", &offenders);
}

#[test]
fn each_aws_service_is_named_in_its_own_rooms_only() {
    let mut offenders = Vec::new();
    for file in rust_files() {
        for (service, rooms) in [
            ("aws_sdk_redshiftdata", &["src/warehouse/"][..]),
            // The lab's are its own: it knows nothing of the daemon's.
            (
                "aws_sdk_kinesis",
                &["src/stream/", "src/setup/", "crates/lab/src/"],
            ),
            ("aws_sdk_sts", &["src/setup/", "crates/lab/src/remote/"]),
            ("aws_sdk_iam", &["src/setup/"]),
            ("aws_sdk_dynamodb", &["src/lease/"]),
        ] {
            if file.below(rooms) || file.below(&["tests/"]) {
                continue;
            }
            // A crate's name alone is also a logging directive.
            offenders.extend(file.find(&format!("{service}::")));
            offenders.extend(file.find(&format!("use {service}")));
        }
    }
    none("this SDK belongs to another room", &offenders);
}

#[test]
fn the_core_reads_no_clock_no_environment_and_no_file() {
    let mut offenders = Vec::new();
    for file in rust_files() {
        if !file.below(&["crates/scheduler/src/"]) {
            continue;
        }
        for needle in [
            "Instant",
            "SystemTime",
            "tokio",
            "std::env",
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
            "HashMap",
            "HashSet",
            "rand::",
        ] {
            offenders.extend(file.find(needle));
        }
    }
    none(
        "the scheduler is pure: time and chance are arguments",
        &offenders,
    );
}

#[test]
fn every_select_says_in_which_order_it_listens() {
    let mut offenders = Vec::new();
    for file in rust_files() {
        let code: Vec<(usize, &str)> = file.code().collect();
        let opening = concat!("select!", " {"); // in two, or it would find itself
        for (position, (number, line)) in code.iter().enumerate() {
            let Some((_, after)) = line.split_once(opening) else {
                continue;
            };
            let rest = code.iter().skip(position + 1).map(|(_, line)| *line);
            let first = std::iter::once(after)
                .chain(rest)
                .map(str::trim)
                .find(|line| !line.is_empty());
            if !first.is_some_and(|line| line.starts_with("biased;")) {
                offenders.push(format!("{}:{number}", file.path));
            }
        }
    }
    none("a select is `biased;`, its order explained", &offenders);
}

#[test]
fn the_architecture_is_short_enough_to_be_read() {
    let text =
        fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let lines = text.lines().count();
    assert!(
        lines <= MAX_ARCHITECTURE_LINES,
        "ARCHITECTURE.md has {lines} lines, more than {MAX_ARCHITECTURE_LINES}"
    );
}

/// The targets of Markdown links in a text, code blocks left out.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, after)) = after.split_once(')') else {
                break;
            };
            found.push(target);
            rest = after;
        }
    }
    found
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let root = root();
    let mut offenders = Vec::new();
    for file in read_all() {
        if !file.is("md") {
            continue;
        }
        for link in links(&file.text) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let here = root.join(&file.path);
            let there = here.parent().unwrap_or(&root).join(target);
            if !there.exists() {
                offenders.push(format!("{}: {link}", file.path));
            }
        }
    }
    none(
        "a relative link names a file of this repository",
        &offenders,
    );
}

/// The string literals of a line that has no escaped quotes.
fn literals(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

#[test]
fn every_metric_carries_the_prefix() {
    let mut offenders = Vec::new();
    for file in rust_files() {
        if !file.path.starts_with("src/metrics") || file.path.ends_with("tests.rs") {
            continue;
        }
        for (number, line) in file.code() {
            for word in literals(line) {
                let is_name = word.len() > 8
                    && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                    && ["_seconds", "_total", "_info", "_ratio"]
                        .iter()
                        .any(|unit| word.ends_with(unit));
                if is_name && !word.starts_with("tidekeeper_") {
                    offenders.push(format!("{}:{number}: {word}", file.path));
                }
            }
        }
    }
    none("metric names begin with `tidekeeper_`", &offenders);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let machine = ["root", "work"].map(|name| format!("/{name}/"));
    let mut offenders = Vec::new();
    for file in read_all() {
        for (index, line) in file.text.lines().enumerate() {
            if machine.iter().any(|path| line.contains(path)) {
                offenders.push(format!("{}:{}: {}", file.path, index + 1, line.trim()));
            }
        }
    }
    none("no path of a developer's machine", &offenders);
}
