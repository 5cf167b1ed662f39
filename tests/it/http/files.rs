//! What is served out of a folder, and what is not.

use super::broker;
use super::client::{Answer, Http};
use crate::support::Broker;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use std::fs::{create_dir, set_permissions, write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use tempfile::TempDir;

/// A folder to serve, `www`, in one with secrets.
fn site() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let www = folder.path().join("www");
    for folder in ["", "docs", "with space", "empty", ".git", ".well-known"] {
        create_dir(www.join(folder)).expect("a folder");
    }
    let files = [
        ("index.html", "<h1>home</h1>"),
        ("docs/index.html", "<h1>docs</h1>"),
        ("letters.txt", "abcdefghijklmnopqrstuvwxyz"),
        ("with space.json", "{}"),
        ("module.wasm", "\0asm"),
        ("nameless", "bytes"),
        (".secret", "hidden"),
        (".git/config", "hidden"),
        (".well-known/security.txt", "open"),
        ("../secret", "outside"),
    ];
    for (name, content) in files {
        write(www.join(name), content).expect("a file");
    }
    symlink("letters.txt", www.join("alphabet.txt")).expect("a link");
    symlink("../secret", www.join("escape")).expect("a link");
    symlink(folder.path(), www.join("outside")).expect("a link");
    folder
}

fn serving(site: &TempDir) -> Broker {
    broker(&format!("static_dir = {:?}\n", site.path().join("www")))
}

#[track_caller]
fn get(broker: &Broker, target: &str, headers: &str) -> Answer {
    Http::open(broker.beside).get(target, headers)
}

#[test]
fn files_come_with_their_type_and_folders_as_their_index() {
    let site = site();
    let broker = serving(&site);
    // All over one connection.
    let mut http = Http::open(broker.beside);
    for (target, kind, body) in [
        ("/", "text/html", "<h1>home</h1>"),
        ("/index.html", "text/html", "<h1>home</h1>"),
        ("/?now=1", "text/html", "<h1>home</h1>"),
        ("/docs/", "text/html", "<h1>docs</h1>"),
        ("/letters.txt", "text/plain", "abcdefghijklmnopqrstuvwxyz"),
        ("/alphabet.txt", "text/plain", "abcdefghijklmnopqrstuvwxyz"),
        ("/with%20space.json", "application/json", "{}"),
        ("/module.wasm", "application/wasm", "\0asm"),
        ("/nameless", "application/octet-stream", "bytes"),
        ("/.well-known/security.txt", "text/plain", "open"),
    ] {
        let answer = http.get(target, "");
        assert_eq!((answer.status, answer.text()), (200, body), "{target}");
        let got = answer.header("content-type").split(';').next();
        assert_eq!(got, Some(kind), "{target}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{target}");
        // HEAD is the same without the body.
        let head = http.head(target, "");
        assert_eq!((head.status, head.header("content-length")), (200, &*body.len().to_string()), "{target}");
        assert_eq!(head.header("content-type"), answer.header("content-type"), "{target}");
    }
    // Links in a page are relative to its folder, so its address has to end like one; and stay on this host.
    for (target, location) in [
        ("/docs", "/docs/"),
        ("/docs?now=1", "/docs/?now=1"),
        ("//docs", "/docs/"),
        ("/with%20space", "/with%20space/"),
    ] {
        let moved = http.get(target, "");
        assert_eq!((moved.status, moved.header("location")), (301, location), "{target}");
    }
}

#[test]
fn what_lies_outside_or_is_hidden_is_not_found() {
    let site = site();
    let broker = serving(&site);
    for target in [
        "/secret",
        "/../secret",
        "/docs/../../secret",
        "/%2e%2e/secret",
        "/%2E%2E%2Fsecret",
        "/..%2fsecret",
        "/..%5csecret",
        "/docs/%2e%2e/%2e%2e/secret",
        "//secret",
        "/escape",
        "/outside/secret",
        "/.secret",
        "/%2esecret",
        "/.git/config",
        "/.git/",
        "/empty/",
        "/letters.txt/",
        "/letters.txt/x",
        "/nothing",
        "/%00",
        "/letters.txt%00.html",
        "/%",
        "/%ff%fe",
    ] {
        let answer = get(&broker, target, "");
        assert_eq!((answer.status, answer.text()), (404, "not found\n"), "{target}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8", "{target}");
    }
    // An absolute path of the machine is one below the folder.
    let secret = site.path().join("secret");
    assert_eq!(get(&broker, secret.to_str().expect("UTF-8"), "").status, 404);
    // A path that is too long for the disk, and one that is too long for anybody.
    assert_eq!(get(&broker, &format!("/{}", "x".repeat(5_000)), "").status, 404);
    broker.serves();
}

#[test]
fn parts_of_a_file_are_served() {
    let site = site();
    let broker = serving(&site);
    let mut http = Http::open(broker.beside);
    for (range, body, part) in [
        ("0-4", "abcde", "bytes 0-4/26"),
        ("23-", "xyz", "bytes 23-25/26"),
        ("-3", "xyz", "bytes 23-25/26"),
        ("20-100", "uvwxyz", "bytes 20-25/26"),
    ] {
        let answer = http.get("/letters.txt", &format!("Range: bytes={range}\r\n"));
        assert_eq!((answer.status, answer.text()), (206, body), "{range}");
        assert_eq!(answer.header("content-range"), part, "{range}");
        assert_eq!(answer.header("content-type").split(';').next(), Some("text/plain"), "{range}");
    }
    let beyond = http.get("/letters.txt", "Range: bytes=26-\r\n");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */26"));
    // What is no range is not looked at, and neither are several: they could be thousands that overlap.
    for range in ["lines=1-2", "bytes=0-1,3-4", "bytes=0-,0-,0-,0-,0-,0-,0-,0-"] {
        let answer = http.get("/letters.txt", &format!("Range: {range}\r\n"));
        assert_eq!((answer.status, answer.body.len()), (200, 26), "{range}");
    }
    // A part is of use only to who has the rest of the same version.
    let whole = http.get("/letters.txt", "");
    let stale = http.get("/letters.txt", "Range: bytes=0-4\r\nIf-Range: \"another\"\r\n");
    assert_eq!((stale.status, stale.body), (200, whole.body));
}

#[test]
fn who_knows_a_version_is_told_whether_there_is_another() {
    let site = site();
    let broker = serving(&site);
    let mut http = Http::open(broker.beside);
    let known = http.get("/letters.txt", "");
    let (tag, date) = (known.header("etag").to_owned(), known.header("last-modified").to_owned());
    assert!(!tag.is_empty() && !date.is_empty(), "{known:?}");
    // Browsers ask each time, so that what the operator changes is seen at once.
    assert_eq!(known.header("cache-control"), "no-cache");
    for (condition, status) in [
        (format!("If-None-Match: {tag}"), 304),
        (format!("If-None-Match: \"another\", {tag}"), 304),
        ("If-None-Match: *".to_owned(), 304),
        ("If-None-Match: \"another\"".to_owned(), 200),
        (format!("If-Modified-Since: {date}"), 304),
        ("If-Modified-Since: Mon, 01 Jan 2001 00:00:00 GMT".to_owned(), 200),
        // What the tag says counts more: a file may be replaced by an older one.
        (format!("If-None-Match: \"another\"\r\nIf-Modified-Since: {date}"), 200),
    ] {
        let answer = http.get("/letters.txt", &format!("{condition}\r\n"));
        assert_eq!(
            (answer.status, answer.body.len()),
            (status, if status == 200 { 26 } else { 0 }),
            "{condition}"
        );
        assert_eq!(http.head("/letters.txt", &format!("{condition}\r\n")).status, status, "{condition}");
    }
    write(site.path().join("www/letters.txt"), "changed").expect("a file");
    let changed = http.get("/letters.txt", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((changed.status, changed.text()), (200, "changed"));
}

#[test]
fn other_methods_are_not_allowed() {
    let site = site();
    let broker = serving(&site);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
        let mut http = Http::open(broker.beside);
        http.ask(method, "/letters.txt", "Content-Length: 0\r\n");
        let answer = http.answer(true);
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"), "{method}");
    }
}

#[test]
fn nothing_is_served_where_no_folder_is_set() {
    let broker = broker("");
    for target in ["/", "/index.html", "/mqtt.js", "/etc/passwd"] {
        assert_eq!(get(&broker, target, "").status, 404, "{target}");
    }
}

#[test]
fn a_large_file_arrives_whole_at_a_slow_reader() {
    let site = site();
    let content: Vec<u8> = (0..8_000_000_u32).map(|at| u8::try_from(at % 251).expect("a byte")).collect();
    write(site.path().join("www/large.bin"), &content).expect("a file");
    let broker = serving(&site);
    let mut slow = Http::open(broker.beside);
    slow.ask("GET", "/large.bin", "");
    // It reads nothing while others are served.
    broker.serves();
    assert_eq!(get(&broker, "/letters.txt", "").status, 200);
    assert!(slow.answer(true).body == content);
}

#[test]
fn what_the_broker_may_not_read_is_forbidden() {
    let site = site();
    let file = site.path().join("www/letters.txt");
    set_permissions(&file, PermissionsExt::from_mode(0o000)).expect("our file");
    if std::fs::File::open(&file).is_ok() {
        // The superuser may read everything, other than one that cannot get these capabilities.
        for capability in [CapabilitySet::DAC_OVERRIDE, CapabilitySet::DAC_READ_SEARCH] {
            remove_capability_from_bounding_set(capability).expect("the superuser");
        }
    }
    let broker = serving(&site);
    let answer = get(&broker, "/letters.txt", "");
    assert_eq!((answer.status, answer.text()), (403, "the broker may not read it\n"));
    assert_eq!(get(&broker, "/", "").status, 200);
}

#[test]
fn what_is_neither_file_nor_folder_is_not_found_and_not_waited_for() {
    let site = site();
    let www = site.path().join("www");
    mknodat(CWD, www.join("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
    let _socket = UnixListener::bind(www.join("socket")).expect("a socket");
    symlink("/dev/zero", www.join("zeros")).expect("a link");
    let broker = serving(&site);
    // All over one connection, which the first would hold up.
    let mut http = Http::open(broker.beside);
    for target in ["/fifo", "/zeros", "/fifo/"] {
        assert_eq!(http.get(target, "").status, 404, "{target}");
    }
    assert_eq!(http.get("/socket", "").status, 404);
}

#[test]
fn a_folder_may_be_made_while_the_broker_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let www = folder.path().join("www");
    let broker = broker(&format!("static_dir = {www:?}\n"));
    assert_eq!(get(&broker, "/", "").status, 404);
    create_dir(&www).expect("a folder");
    write(www.join("index.html"), "late").expect("a file");
    assert_eq!(get(&broker, "/", "").text(), "late");
}
