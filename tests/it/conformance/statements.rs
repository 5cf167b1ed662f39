//! Which statement is shown by which test: compares the lists of statements with the names of the tests beside this file,
//! and writes the table that says so.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Version of the standard, and the module and the list that it has here.
const VERSIONS: [(&str, &str); 2] = [("5.0", "v5"), ("3.1.1", "v311")];
/// Set to `write`, the table is written instead of compared.
const RENEW: &str = "CONFORMANCE_TABLE";

/// Whom a statement binds.
#[derive(Clone, Copy, PartialEq)]
enum Binds {
    /// Servers: a test shows it, or no client can tell.
    Server,
    Both,
    /// Only clients: nothing to test.
    Client,
}

/// A line of a list.
struct Statement {
    id: String,
    binds: Binds,
    demands: String,
    /// Why no client can tell.
    not_seen: Option<String>,
}

impl Statement {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(" | ");
        let (id, binds, demands) = (fields.next()?, fields.next()?, fields.next()?);
        let binds = match binds {
            "server" => Binds::Server,
            "both" => Binds::Both,
            "client" => Binds::Client,
            _ => return None,
        };
        let not_seen = match fields.next() {
            Some(field) => Some(field.strip_prefix("not seen: ")?.to_owned()),
            None => None,
        };
        let numbered = id.strip_prefix("MQTT-")?.split(['.', '-']).all(|part| part.parse::<u8>().is_ok());
        (numbered && !demands.is_empty() && fields.next().is_none()).then(|| Self {
            id: id.to_owned(),
            binds,
            demands: demands.to_owned(),
            not_seen,
        })
    }

    fn binds_servers(&self) -> bool {
        self.binds != Binds::Client
    }
}

/// The tests of one version by the statement that their names carry.
#[derive(Default)]
struct Tests(BTreeMap<String, Vec<String>>);

impl Tests {
    /// Notes the tests of a source; `module` is its path below the version's module.
    fn read(&mut self, module: &str, source: &str, faults: &mut Vec<String>) {
        let mut attributes = Vec::new();
        for line in source.lines().map(str::trim) {
            if line.starts_with("#[") {
                attributes.push(line);
                continue;
            }
            let name = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            if let Some(name) = name.filter(|name| name.starts_with("mqtt_")) {
                match id_of(name) {
                    Some(id) if attributes == ["#[test]"] => {
                        self.0.entry(id).or_default().push(format!("{module}::{name}"));
                    }
                    Some(_) => faults.push(format!("{module}::{name} is no test that always runs")),
                    None => faults.push(format!("{module}::{name} has no statement's number")),
                }
            }
            attributes.clear();
        }
    }
}

/// `mqtt_3_3_1_13_what_it_shows` is about MQTT-3.3.1-13.
fn id_of(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix("mqtt_")?.split('_');
    let mut number = || parts.next()?.parse::<u8>().ok();
    let (chapter, section, part, statement) = (number()?, number()?, number()?, number()?);
    parts.next()?;
    Some(format!("MQTT-{chapter}.{section}.{part}-{statement}"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/conformance")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn statements(module: &str, faults: &mut Vec<String>) -> Vec<Statement> {
    let mut statements: Vec<Statement> = Vec::new();
    let list = read(&folder().join(module).with_extension("txt"));
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        match Statement::parse(line) {
            None => faults.push(format!("{module}.txt: not understood: {line}")),
            Some(statement) if statements.iter().any(|known| known.id == statement.id) => {
                faults.push(format!("{module}.txt: {} is there twice", statement.id));
            }
            Some(statement) => statements.push(statement),
        }
    }
    statements
}

fn tests(version: &str, faults: &mut Vec<String>) -> Tests {
    let mut tests = Tests::default();
    let files = fs::read_dir(folder().join(version)).expect("a folder");
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    for file in files {
        let module = file.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        tests.read(module, &read(&file), faults);
    }
    tests
}

/// One version's part of the table, and the line that counts it.
fn part(version: &str, module: &str, faults: &mut Vec<String>) -> (String, String) {
    let (statements, mut tests) = (statements(module, faults), tests(module, faults));
    let (mut bound, mut tested, mut unseen) = (0, 0, 0);
    let mut rows = format!("\n## {version}\n\n| statement | demands | shown by |\n|---|---|---|\n");
    for statement in &statements {
        let shown_by = tests.0.remove(&statement.id).unwrap_or_default();
        bound += usize::from(statement.binds_servers());
        let cell = match (&statement.not_seen, shown_by.is_empty()) {
            (_, false) if statement.not_seen.is_some() || !statement.binds_servers() => {
                faults.push(format!("{version}: {} has a test, and is said to have none", statement.id));
                continue;
            }
            (_, false) => {
                tested += 1;
                shown_by.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(", ")
            }
            (Some(reason), true) => {
                unseen += usize::from(statement.binds_servers());
                format!("not seen from outside: {reason}")
            }
            (None, true) if statement.binds_servers() => {
                faults.push(format!("{version}: {} has neither a test nor a reason", statement.id));
                continue;
            }
            (None, true) => "binds only clients".to_owned(),
        };
        writeln!(rows, "| {} | {} | {cell} |", statement.id, statement.demands).expect("a string takes it");
    }
    for (id, names) in tests.0 {
        faults.push(format!("{version}: {id} is no statement; tested by {}", names.join(", ")));
    }
    let count = format!(
        "{version}: {tested} of {bound} statements that bind a server are tested, {unseen} cannot be seen from outside\n"
    );
    (count, rows)
}

#[test]
fn every_statement_that_binds_a_server_has_a_test_and_the_table_says_which() {
    let mut faults = Vec::new();
    let mut table =
        "# Conformance, statement by statement\n\nWritten by `statements.rs` from the statements and from \
                     the names of the tests, which it compares.\n\n"
            .to_owned();
    let parts = VERSIONS.map(|(version, module)| part(version, module, &mut faults));
    parts.iter().for_each(|(count, _)| table.push_str(count));
    parts.iter().for_each(|(_, rows)| table.push_str(rows));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    let path = folder().join("TABLE.md");
    if std::env::var(RENEW).is_ok_and(|value| value == "write") {
        fs::write(&path, &table).expect("the table is writable");
    }
    let renew = format!("{RENEW}=write cargo nextest run --test it statements");
    assert!(
        fs::read_to_string(&path).is_ok_and(|now| now == table),
        "TABLE.md is not what the tests say; renew it with `{renew}`"
    );
}

#[test]
fn names_and_lists_are_understood() {
    assert_eq!(id_of("mqtt_3_10_4_2_no_new_message").as_deref(), Some("MQTT-3.10.4-2"));
    assert_eq!(id_of("mqtt_3_10_4_2"), None, "what it shows is missing");
    assert_eq!(id_of("mqtt_3_10_4_no_new_message"), None);
    assert!(Statement::parse("MQTT-1.5.4-1 | both | strings are well-formed").is_some());
    let unseen =
        Statement::parse("MQTT-1.5.4-1 | server | strings | not seen: a reason").expect("a statement");
    assert_eq!(unseen.not_seen.as_deref(), Some("a reason"));
    for line in ["", "MQTT-1.5.4-1 | both", "MQTT-1.5.4-x | both | x", "MQTT-1.5.4-1 | all | x"] {
        assert!(Statement::parse(line).is_none(), "{line}");
    }
    assert!(Statement::parse("MQTT-1.5.4-1 | server | strings | seen: a reason").is_none());
}

#[test]
fn only_tests_that_run_count() {
    let (mut tests, mut faults) = (Tests::default(), Vec::new());
    let source = "#[test]\nfn mqtt_1_5_4_1_a() {}\nfn mqtt_1_5_4_2_b() {}\n#[test]\n#[ignore]\nfn mqtt_1_5_4_3_c() {}\n\
                  #[test]\nfn mqtt_about_nothing() {}\nfn helper() {}";
    tests.read("m", source, &mut faults);
    assert_eq!(
        tests.0.into_iter().collect::<Vec<_>>(),
        [("MQTT-1.5.4-1".to_owned(), vec!["m::mqtt_1_5_4_1_a".to_owned()])]
    );
    assert_eq!(faults.len(), 3, "{faults:?}");
}
