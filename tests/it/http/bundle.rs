//! MQTT.js, as npm installs it.

use super::broker;
use super::client::Http;
use crate::support::installed;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn the_package_is_found_beside_the_folder_that_is_served_or_above_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let www = folder.path().join("a/www");
    fs::create_dir_all(&www).expect("a folder");
    let broker = broker(&format!("static_dir = {www:?}\nbundle = true\n"));
    let mut http = Http::open(broker.beside);
    let missing = http.get("/mqtt.js", "");
    assert_eq!(missing.status, 404);
    let command = format!("npm install --prefix '{}' mqtt@", www.display());
    assert!(missing.text().contains(&command), "{}", missing.text());

    // Installed while the broker runs.
    symlink(installed("node/node_modules"), folder.path().join("node_modules")).expect("a link");
    let found = http.get("/mqtt.js", "");
    assert_eq!(
        (found.status, found.header("content-type").split(';').next()),
        (200, Some("text/javascript"))
    );
    let package = fs::read(installed("node/node_modules/mqtt/dist/mqtt.min.js")).expect("it is installed");
    assert!(found.body.starts_with(&package), "the package comes first, as it is");
    let head = http.head("/mqtt.js", "");
    assert_eq!(head.header("content-length"), found.body.len().to_string());
    let part = http.get("/mqtt.js", "Range: bytes=-10\r\n");
    assert_eq!((part.status, &*part.body), (206, &found.body[found.body.len() - 10..]));
    let known = http.get("/mqtt.js", &format!("If-None-Match: {}\r\n", found.header("etag")));
    assert_eq!((known.status, known.body.len()), (304, 0));
    // The rest of what npm has installed is nobody's business.
    assert_eq!(http.get("/node_modules/mqtt/package.json", "").status, 404);
}

#[test]
fn it_is_not_served_unless_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    symlink(installed("node/node_modules"), folder.path().join("node_modules")).expect("a link");
    let broker = broker(&format!("static_dir = {:?}\n", folder.path()));
    assert_eq!(Http::open(broker.beside).get("/mqtt.js", "").status, 404);
}
