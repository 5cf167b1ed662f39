//! House rules that a compiler does not know: who may import whom, where the outside world may be named, how files look.
//!
//! Sources are read as text with comments and literals blanked out. A rule that is broken fails with file, line and
//! reason; the checks themselves are tested below on sources that break each rule.

use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Lower may not import higher; equals may not import each other.
const RANK: [(&str, u8); 27] = [
    ("types", 0),
    ("codec", 1),
    ("topic", 1),
    ("sasl", 1),
    ("throttle", 1),
    ("websocket", 1),
    ("auth", 2),
    ("session", 2),
    ("engine", 3),
    ("mesh", 4),
    ("transport", 4),
    ("store", 4),
    ("access", 4),
    ("cluster", 4),
    ("metrics", 4),
    ("shard", 5),
    ("control", 5),
    ("config", 6),
    ("broker", 7),
    // The program: one module in several files.
    ("main", 7),
    ("cli", 7),
    ("run", 7),
    ("store_cli", 7),
    ("user_cli", 7),
    ("acl_cli", 7),
    ("migrate_cli", 7),
    // Declares the others.
    ("lib", 7),
];

/// Ranks up to this one decide and leave acting to others.
const PURE_RANK: u8 = 3;

/// What code that only decides has no use for: sockets, files, threads, waiting, locks, clocks, chance and logs.
const OUTSIDE: [&str; 30] = [
    "glommio",
    "crossbeam",
    "crossbeam_channel",
    "sled",
    "rustls",
    "tokio",
    "rustix",
    "libc",
    "io_uring",
    "tracing",
    "signal_hook",
    "getrandom",
    "rand",
    "std::net",
    "std::fs",
    "std::os",
    "std::thread",
    "std::process",
    "std::env",
    "std::time",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::Condvar",
    "std::sync::atomic",
    "std::sync::mpsc",
    "RandomState",
    "Instant",
    "SystemTime",
    "println!",
    "eprintln!",
];

/// Names that each have one home (a file, or a folder ending in `/`), so that what they stand for has one owner.
const HOMES: [(&str, &[&str]); 10] = [
    ("Instant::now", &["shard/clock.rs"]),
    ("SystemTime::now", &["shard/clock.rs"]),
    ("clock_gettime", &["shard/clock.rs"]),
    ("glommio", &["broker.rs", "shard/"]),
    ("crossbeam_channel", &["access/", "broker.rs", "mesh/", "shard/"]),
    ("sled", &["store/sled/"]),
    ("rustls", &["transport/tls/"]),
    ("argon2", &["auth/password/"]),
    ("jsonwebtoken", &["auth/token.rs", "auth/token/"]),
    ("toml", &["config/"]),
];

/// Lines without tests from which on a file is listed in the report.
const LONG: usize = 500;
/// Past this many a file is to be taken apart, unless it is a list rather than a mind.
const TOO_LONG: usize = 800;

/// One line of code.
struct Line {
    /// The line's number, from 1.
    number: usize,
    /// Without comments; literals are empty.
    code: String,
    /// Whether it is part of a test.
    test: bool,
}

/// A file below `src` as the rules see it.
struct Source<'a> {
    /// Below `src`, with `/`.
    path: &'a str,
    text: &'a str,
    lines: Vec<Line>,
}

impl<'a> Source<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        let code = without_comments_and_literals(text);
        let mut lines: Vec<Line> = Vec::new();
        let mut test = false;
        for ((number, code), _) in (1..).zip(code.split('\n')).zip(text.lines()) {
            // Unit tests are the last thing in a file.
            test |= is_gate(lines.last()) && code.starts_with("mod ") && code.contains('{');
            lines.push(Line { number, code: code.to_owned(), test });
        }
        Self { path, text, lines }
    }

    /// Makes it a file of nothing but tests.
    fn all_tests(mut self) -> Self {
        self.lines.iter_mut().for_each(|line| line.test = true);
        self
    }

    /// The modules of tests that have their own files, as paths without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let folder =
            self.path.strip_suffix("mod.rs").map_or_else(|| self.path.replace(".rs", "/"), str::to_owned);
        let declared = self.lines.windows(2).filter(|pair| is_gate(pair.first()));
        declared
            .filter_map(|pair| pair[1].code.split_once("mod ")?.1.strip_suffix(';'))
            .map(|name| format!("{folder}{name}"))
            .collect()
    }

    /// The module at the crate's root that the file belongs to.
    fn module(&self) -> &'a str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn rank(&self) -> Option<u8> {
        rank_of(self.module())
    }

    /// Every line with the names in it; names out of a `use` with braces come one by one, as whole paths.
    fn names(&self) -> impl Iterator<Item = (&Line, String)> {
        let mut names = Vec::new();
        let mut rest = self.lines.iter();
        while let Some(line) = rest.next() {
            let Some(tree) = use_tree(&line.code) else {
                names.push((line, line.code.clone()));
                continue;
            };
            let mut tree = tree.to_owned();
            while !tree.contains(';') {
                let Some(more) = rest.next() else { break };
                tree.push_str(more.code.trim());
            }
            let paths = paths_of(tree.split(';').next().unwrap_or_default());
            names.extend(paths.into_iter().map(|path| (line, path)));
        }
        names.into_iter()
    }

    fn length(&self) -> usize {
        self.lines.iter().filter(|line| !line.test).count()
    }
}

/// Whether what follows is compiled for tests only.
fn is_gate(line: Option<&Line>) -> bool {
    line.is_some_and(|line| line.code.trim() == "#[cfg(test)]")
}

fn rank_of(module: &str) -> Option<u8> {
    RANK.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// What stands behind `use`, if the line is one.
fn use_tree(code: &str) -> Option<&str> {
    let (visibility, tree) = code.trim_start().split_once("use ")?;
    (visibility.is_empty() || visibility.starts_with("pub")).then_some(tree)
}

/// The paths of a `use` tree: `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn paths_of(tree: &str) -> Vec<String> {
    let Some(open) = tree.find('{') else { return vec![tree.trim().to_owned()] };
    let (prefix, inner) = (tree[..open].trim(), &tree[open + 1..]);
    let (mut paths, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let item = paths_of(&inner[start..at]);
                paths.extend(
                    item.into_iter().filter(|path| !path.is_empty()).map(|path| format!("{prefix}{path}")),
                );
                start = at + 1;
            }
            _ => {}
        }
    }
    paths
}

/// Keeps lines and code; comments go, string and character literals become empty.
fn without_comments_and_literals(text: &str) -> String {
    let (mut code, mut rest) = (String::with_capacity(text.len()), text);
    let newlines = |skipped: &str| "\n".repeat(skipped.matches('\n').count());
    while let Some(c) = rest.chars().next() {
        let after_word = code.ends_with(is_word);
        let skip = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => string_length(rest),
            'r' if !after_word => raw_string_length(rest),
            'b' if !after_word && rest.starts_with("br") => raw_string_length(&rest[1..]).saturating_sub(1),
            '\'' => char_length(rest),
            _ => 0,
        };
        if skip > 0 {
            code.push_str(&newlines(&rest[..skip]));
            rest = &rest[skip..];
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    code
}

fn string_length(text: &str) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

/// The length of `r"…"` or `r#"…"#`; 0 when it is neither.
fn raw_string_length(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|&byte| byte == b'#').count();
    let Some(body) = text[1 + hashes..].strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    body.find(&end).map_or(text.len(), |at| text.len() - body.len() + at + end.len())
}

/// The length of a character literal; 0 for a lifetime.
fn char_length(text: &str) -> usize {
    let mut inner = text[1..].chars();
    match (inner.next(), inner.next()) {
        (Some('\\'), Some(_)) => text[3..].find('\'').map_or(0, |end| end + 4),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `code` has `name` as a whole word or path; a lone lower-case word counts only where a path starts with it.
fn mentions(code: &str, name: &str) -> bool {
    let is_crate = !name.contains(':') && name.chars().all(|c| c.is_lowercase() || c == '_');
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        let inside = before.ends_with(is_word) || is_crate && before.ends_with(':');
        let ends =
            if is_crate { after.starts_with("::") || code == name } else { !after.starts_with(is_word) };
        !inside && ends
    })
}

/// Everything about one file that is against the rules.
fn violations(source: &Source<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let mut refuse = |number: usize, why: String| found.push(format!("src/{}:{number}: {why}", source.path));
    let Some(rank) = source.rank() else {
        refuse(1, format!("module {} has no rank: give it one in tests/tidy.rs", source.module()));
        return found;
    };
    if !source.text.starts_with("//! ") {
        refuse(1, "a file opens with what it is: //!".to_owned());
    }
    for line in &source.lines {
        for why in form(source, line) {
            refuse(line.number, why);
        }
    }
    for (line, names) in source.names() {
        for imported in names.match_indices("crate::").map(|(at, found)| &names[at + found.len()..]) {
            let imported = imported.split(|c| !is_word(c)).next().unwrap_or_default();
            let upward = rank_of(imported).is_some_and(|other| other >= rank && other < 7);
            if upward && imported != source.module() {
                refuse(line.number, format!("{} may not import {imported}", source.module()));
            }
        }
        if line.test {
            continue;
        }
        for name in OUTSIDE.iter().filter(|name| rank <= PURE_RANK && mentions(&names, name)) {
            refuse(line.number, format!("{} only decides, and {name} is the outside world", source.module()));
        }
        for (name, homes) in HOMES {
            let at_home = homes
                .iter()
                .any(|home| source.path == *home || home.ends_with('/') && source.path.starts_with(home));
            if mentions(&names, name) && !at_home {
                refuse(line.number, format!("{name} belongs in {}", homes.join(", ")));
            }
        }
    }
    if source.length() > TOO_LONG {
        refuse(TOO_LONG, format!("{} lines: is this a list or a mind?", source.length()));
    }
    found
}

/// What is wrong with how a line is written.
fn form(source: &Source<'_>, line: &Line) -> Vec<String> {
    let code = line.code.as_str();
    let text = source.text.lines().nth(line.number - 1).unwrap_or_default();
    let depth = source.path.matches('/').count() + usize::from(!source.path.ends_with("mod.rs"));
    let rank = source.rank().unwrap_or_default();
    let word = |name: &str| text.split(|c| !is_word(c)).any(|found| found == name);
    [
        (
            code.contains("crate::{"),
            "one `use crate::module::{...}` for each module, so that imports can be read",
        ),
        (!line.test && code.contains("super::super"), "say `crate::module` instead of super::super"),
        (!line.test && depth < 2 && code.contains("super::"), "say `crate::module` instead of super"),
        (
            word("TODO") || word("FIXME") || word("XXX"),
            "finish it, or say in a sentence what would make it wrong",
        ),
        (mentions(code, "mod util") || mentions(code, "mod utils"), "name the module after what it is about"),
        (
            !line.test
                && rank <= PURE_RANK
                && code.split(".await").skip(1).any(|after| !after.starts_with(is_word)),
            "a decision does not wait",
        ),
        (
            code.contains("(unsafe_code") && !header(source.text).contains("unsafe"),
            "the file's header says why it needs unsafe",
        ),
    ]
    .into_iter()
    .filter(|(broken, _)| *broken)
    .map(|(_, why)| why.to_owned())
    .collect()
}

/// The comment that a file opens with.
fn header(text: &str) -> String {
    text.lines().take_while(|line| line.starts_with("//!")).collect()
}

/// Every Rust file below `src`: its path there and its text.
fn files() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut folders) = (Vec::new(), vec![src.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let path = entry.strip_prefix(&src).expect("below it").to_str().expect("UTF-8").to_owned();
                files.push((path, fs::read_to_string(&entry).expect("text")));
            }
        }
    }
    files.sort();
    files
}

/// The files as sources that know which of them are tests.
fn sources(files: &[(String, String)]) -> Vec<Source<'_>> {
    let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
    let tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    let is_test = |source: &Source<'_>| {
        tests
            .iter()
            .filter_map(|test| source.path.strip_prefix(test))
            .any(|rest| rest.starts_with(['.', '/']))
    };
    sources.into_iter().map(|source| if is_test(&source) { source.all_tests() } else { source }).collect()
}

#[test]
fn the_sources_keep_the_rules() {
    let files = files();
    assert!(files.len() > 10, "found {} files", files.len());
    let found: Vec<String> = sources(&files).iter().flat_map(violations).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_module_of_the_library_is_ranked_and_declared_in_order() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let ranks: Vec<u8> = modules.map(|module| rank_of(module).expect(module)).collect();
    assert!(ranks.is_sorted() && ranks.len() > 5, "modules of lib.rs by rank: {ranks:?}");
}

/// Not a rule: what to look at when there is time. `cargo test --test tidy report -- --nocapture`
#[test]
fn report_on_lengths() {
    let files = files();
    let mut lengths: Vec<(usize, &str)> = sources(&files)
        .iter()
        .map(|source| (source.length(), source.path))
        .filter(|(length, _)| *length > 0)
        .collect();
    lengths.sort_unstable();
    let sum: usize = lengths.iter().map(|(length, _)| length).sum();
    let median = lengths[lengths.len() / 2].0;
    let mut report = format!("{} files, {sum} lines without tests, median {median}\n", lengths.len());
    for (length, path) in lengths.iter().rev().take_while(|(length, _)| *length > LONG) {
        writeln!(report, "{length:5} {path}").expect("a string takes it");
    }
    println!("{report}");
}

mod the_checks {
    use super::*;

    /// What is wrong with a file, without its path and the rule's reason: the lines.
    fn lines(path: &str, code: &str) -> Vec<usize> {
        let text = format!("//! A file.\n{code}");
        lines_of(&violations(&Source::new(path, &text)))
    }

    fn lines_of(found: &[String]) -> Vec<usize> {
        found
            .iter()
            .map(|violation| violation.split(':').nth(1).and_then(|line| line.parse().ok()).unwrap())
            .collect()
    }

    #[test]
    fn importing_upward_or_sideways_is_refused() {
        assert_eq!(lines("codec/mod.rs", "use crate::session::Session;"), [2]);
        assert_eq!(lines("codec/mod.rs", "use crate::topic::TopicName;"), [2]);
        assert_eq!(lines("mesh/link.rs", "\nfn f() { crate::transport::f() }"), [3]);
        assert_eq!(
            lines("codec/varint.rs", "#[cfg(test)]\nmod tests {\n    use crate::engine::Engine;\n}"),
            [4]
        );
        assert_eq!(
            lines("session/mod.rs", "use crate::codec::X;\nuse crate::types::Y;\nuse crate::session::Z;"),
            []
        );
        assert_eq!(lines("broker.rs", "use crate::config::X;\nuse crate::shard::Y;"), []);
    }

    #[test]
    fn roundabout_imports_are_refused() {
        assert_eq!(lines("codec/mod.rs", "use crate::{types::X, topic::Y};"), [2, 2]);
        assert_eq!(lines("codec/a/b.rs", "use super::super::c;"), [2]);
        assert_eq!(lines("codec/mod.rs", "use super::topic;"), [2]);
        assert_eq!(
            lines("codec/varint.rs", "use super::text;\n#[cfg(test)]\nmod tests {\n use super::super::x;\n}"),
            []
        );
    }

    #[test]
    fn the_outside_world_is_refused_where_code_only_decides() {
        for outside in [
            "use std::net::TcpStream;",
            "use std::{fmt, net::TcpStream};",
            "use std::{\n    fmt,\n    fs,\n};",
            "pub(crate) use rustix::fd::OwnedFd;",
            "use rustix;",
            "fn f() { std::thread::yield_now() }",
            "use std::time::Duration;",
            "fn f() -> Instant { x }",
            "fn f() { tracing::info!() }",
            "fn f() { println!() }",
            "fn f() { x.await }",
        ] {
            assert_eq!(lines("engine/mod.rs", outside), [2], "{outside}");
            assert_eq!(lines("shard/mod.rs", outside), [], "{outside}");
        }
    }

    #[test]
    fn mere_words_are_not_the_outside_world() {
        for code in [
            "// std::net\nfn f() {}",
            "/* std::net\n std::fs */ fn f() {}",
            "const A: &str = \"std::net \\\" std::fs\";",
            "const A: &str = r#\"std::net \" std::fs\"#;",
            "const A: [char; 2] = ['\"', '\\''];\nfn f<'a>(x: &'a str) {}",
            "fn sledge(rand: u8, instant: u8) {}",
            "fn f() { x.awaiting }",
            "use std::{fmt, mem};",
            "#[cfg(test)]\nmod tests {\n    use std::fs;\n}",
        ] {
            assert_eq!(lines("engine/mod.rs", code), [], "{code}");
        }
        // A quote in a character literal does not hide what follows.
        assert_eq!(lines("engine/mod.rs", "const A: char = '\"';\nuse std::net::X; // \""), [3]);
    }

    #[test]
    fn files_of_tests_are_tests() {
        let file = |path: &str, code: &str| (path.to_owned(), format!("//! A file.\n{code}"));
        let files = [
            file("topic/mod.rs", "#[cfg(test)]\nmod shadow;\nmod trie;\nuse std::fs;"),
            file("topic/shadow.rs", "use std::fs;"),
            file("topic/shadow/deep.rs", "use std::fs;"),
            file("topic/shadows.rs", "use std::fs;"),
            file("topic/trie.rs", "use std::fs;\n#[cfg(test)]\nmod tests;"),
            file("topic/trie/tests.rs", "use std::fs;\nuse crate::engine::X;"),
        ];
        let found: Vec<_> = sources(&files).iter().map(|source| lines_of(&violations(source))).collect();
        assert_eq!(found, [vec![5], vec![], vec![], vec![2], vec![2], vec![3]]);
    }

    #[test]
    fn names_with_a_home_are_refused_elsewhere() {
        assert_eq!(lines("shard/conn.rs", "fn f() { std::time::Instant::now() }"), [2]);
        assert_eq!(lines("shard/clock.rs", "fn f() { std::time::Instant::now() }"), []);
        assert_eq!(lines("mesh/mod.rs", "use glommio::Task;\nuse crossbeam_channel::Sender;"), [2]);
        assert_eq!(lines("store/worker.rs", "use sled::Db;"), [2]);
        assert_eq!(lines("store/sled/database.rs", "use sled::Db;"), []);
        assert_eq!(lines("config/raw.rs", "use toml::de::DeTable;"), []);
        assert_eq!(lines("broker.rs", "use toml::de::DeTable;"), [2]);
    }

    #[test]
    fn form_is_checked() {
        assert_eq!(violations(&Source::new("types/x.rs", "fn f() {}")).len(), 1, "no header");
        assert_eq!(lines("types/x.rs", "// TODO: later"), [2]);
        assert_eq!(lines("types/mod.rs", "mod util;"), [2]);
        assert_eq!(lines("helpers/mod.rs", ""), [1], "no rank");
        assert_eq!(lines("types/x.rs", "#![expect(unsafe_code, reason = \"\")]"), [2]);
        assert_eq!(lines("types/x.rs", &"\n".repeat(TOO_LONG)), [TOO_LONG]);
        assert_eq!(
            lines("types/x.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}", "\n".repeat(TOO_LONG))),
            []
        );
    }
}
