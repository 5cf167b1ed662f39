//! A broker whose files are wrong does not start, and says which and why.

use super::site::Site;
use std::process::Command;

#[test]
fn it_ends_before_it_listens() {
    let site = Site::new();
    std::fs::remove_file(site.path("server.key")).expect("a file");
    let listener = format!("[[listener]]\nurl = \"tls://127.0.0.1:0\"\n{}", site.listener());
    let config = site.folder.write("pantala.toml", listener);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pantala"));
    let output = command.args(["--no-store", "--shards", "1", "--config"]).arg(config).output();
    let output = output.expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{:?}", output.status);
    let said = format!("{}: there is no such file; correct the path", site.path("server.key").display());
    assert!(errors.contains(&said), "{errors}");
    assert!(errors.contains("127.0.0.1:0"), "which listener: {errors}");
}
