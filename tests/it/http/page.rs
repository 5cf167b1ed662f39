//! A page in a browser, which connects to the broker that it came from.

use crate::support::{Beside, Broker, Browser, installed, publish, until};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use tempfile::TempDir;

/// A folder with the page of tests/clients, and MQTT.js as npm installs it beside a page.
fn site() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/page");
    for file in fs::read_dir(page).expect("a folder").map(|file| file.expect("a file")) {
        fs::copy(file.path(), folder.path().join(file.file_name())).expect("a copy");
    }
    symlink(installed("node/node_modules"), folder.path().join("node_modules")).expect("a link");
    folder
}

fn serving(site: &TempDir) -> String {
    format!("static_dir = {:?}\nbundle = true\n", site.path())
}

/// Publishes over TCP once two pages have subscribed, and waits until they have shown it.
fn messages(broker: &Broker, browser: &Browser, url: &str, picture: &str) {
    let pages = Beside::ready(browser.scenario("messages", url, picture));
    let mut plain = broker.raw();
    plain.connect("thermometer");
    plain.send(&publish(2, "greenhouse/temperature", Some(1), "21.5 °C".as_bytes()));
    plain.expect(&[0x40, 2, 0, 1]);
    pages.ends();
}

#[test]
fn a_page_connects_without_a_url_and_shows_what_arrives() {
    let site = site();
    let broker = super::broker(&serving(&site));
    messages(&broker, &Browser::new(), &format!("http://{}/", broker.beside), "http");
    // By another name it is the same to the page.
    let local = format!("http://localhost:{}/", broker.beside.port());
    messages(&broker, &Browser::new(), &local, "http-localhost");
}

#[test]
fn a_page_over_tls_connects_over_tls() {
    let site = site();
    let (broker, certificates, _folder) = super::encrypted(&serving(&site));
    let browser = Browser::trusting(&certificates);
    messages(&broker, &browser, &format!("https://localhost:{}/", broker.beside.port()), "https");
}

#[test]
fn a_browser_that_does_not_know_the_authority_loads_nothing() {
    let site = site();
    let (broker, ..) = super::encrypted(&serving(&site));
    let url = format!("https://localhost:{}/", broker.beside.port());
    let mut browser = Browser::new().scenario("distrusted", &url, "distrusted");
    assert!(browser.status().expect("the browser starts").success());
    until("it is logged", || broker.log().contains("TLS"));
}

#[test]
fn a_browser_asks_for_what_it_knows_only_whether_it_has_changed() {
    let site = site();
    let broker = super::broker(&serving(&site));
    let url = format!("http://{}/", broker.beside);
    let mut browser = Browser::new().scenario("again", &url, "again");
    assert!(browser.status().expect("the browser starts").success());
}

#[test]
fn a_page_may_name_a_path_or_another_broker() {
    let site = site();
    let broker = super::broker(&serving(&site));
    let mut browser = Browser::new().scenario("urls", &format!("http://{}/", broker.beside), "urls");
    assert!(browser.status().expect("the browser starts").success());
}

/// Serves an empty page to whoever asks, and tells its port.
fn elsewhere() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            // A browser opens connections that it does not use.
            let _ = stream.read(&mut [0; 4_096]).and_then(|_| stream.write_all(page.as_bytes()));
        }
    });
    port
}

#[test]
fn pages_of_other_origins_connect_where_they_are_allowed() {
    let port = elsewhere();
    let broker = super::broker(&format!("origins = [\"http://good.localhost:{port}\"]"));
    let url = format!("http://{}/", broker.beside);
    let connects = |page: &str| {
        let mut browser = Browser::new().scenario("elsewhere", &url, "elsewhere");
        browser.env("PAGE", page).status().expect("the browser starts").success()
    };
    assert!(connects(&format!("http://good.localhost:{port}/")));
    assert!(!connects(&format!("http://evil.localhost:{port}/")));
    until("it is logged", || broker.log().contains("pages of this origin may not connect"));
}
