//! `pantala user`, beside Debian's `mosquitto_passwd` and `mosquitto`.

use super::{Folder, done, failed, pantala};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

fn user(action: &str, file: &str, name: &str, input: &str) -> super::Outcome {
    pantala(&["user", action, "--file", file, name], input)
}

fn mosquitto_passwd(arguments: &[&str]) {
    let status = Command::new("mosquitto_passwd").args(arguments).stderr(Stdio::null()).status();
    assert!(status.expect("mosquitto_passwd is there; run tests/run, which installs it").success());
}

#[test]
fn a_user_is_added_verified_listed_and_removed() {
    let folder = Folder::new();
    let file = folder.name("users");
    assert_eq!(user("add", &file, "ann", "secret\n"), done("ann is added\n"));
    let mode = std::fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600, "for nobody else to read");
    assert!(folder.text("users").starts_with("ann:$argon2id$v=19$m=47104,t=1,p=1$"));

    assert_eq!(user("verify", &file, "ann", "secret\n"), done("this is ann's password\n"));
    let wrong = format!("pantala: {file}: this is not ann's password\n");
    assert_eq!(user("verify", &file, "ann", "Secret\n"), failed(1, &wrong));
    let nobody = format!("pantala: {file}: no user \"bob\"\n");
    assert_eq!(user("verify", &file, "bob", "secret\n"), failed(1, &nobody));

    let password = folder.write("password", "other\r\nsecret\n");
    let from_file = ["user", "add", "--file", &file, "--password-file", &password, "--scram", "ann"];
    assert_eq!(pantala(&from_file, ""), done("ann has a new password\n"));
    assert_eq!(user("verify", &file, "ann", "other"), done("this is ann's password\n"));
    assert_eq!(pantala(&["user", "list", "--file", &file], ""), done("argon2id+scram       ann\n"));

    assert_eq!(user("del", &file, "ann", ""), done(""));
    assert_eq!(folder.text("users"), "");
    assert_eq!(user("del", &file, "ann", ""), failed(1, &format!("pantala: {file}: no user \"ann\"\n")));
}

#[test]
fn files_of_mosquitto_passwd_are_used_and_kept() {
    let folder = Folder::new();
    let file = folder.name("users");
    mosquitto_passwd(&["-b", "-c", &file, "ann", "ann's own"]);
    mosquitto_passwd(&["-b", "-H", "sha512", &file, "bob", "bob's own"]);
    let written = folder.text("users");
    assert!(written.contains("ann:$7$") && written.contains("bob:$6$"), "{written}");
    for name in ["ann", "bob"] {
        assert_eq!(
            user("verify", &file, name, &format!("{name}'s own")),
            done(&format!("this is {name}'s password\n"))
        );
    }
    assert_eq!(user("add", &file, "cara", "x"), done("cara is added\n"));
    assert!(folder.text("users").starts_with(&written), "the other lines are as they were");
    assert_eq!(
        pantala(&["user", "list", "--file", &file], ""),
        done("pbkdf2-sha512        ann\nsha512               bob\nargon2id             cara\n")
    );
}

#[test]
fn mosquitto_passwd_keeps_verifiers_of_others_and_drops_that_of_whom_it_gives_a_password() {
    let folder = Folder::new();
    let file = folder.name("users");
    for name in ["ann", "bob"] {
        let added = pantala(&["user", "add", "--scram", "--file", &file, name], "x");
        assert_eq!(added, done(&format!("{name} is added\n")));
    }
    mosquitto_passwd(&["-b", &file, "ann", "y"]);
    assert_eq!(
        pantala(&["user", "list", "--file", &file], ""),
        done("pbkdf2-sha512        ann\nargon2id+scram       bob\n")
    );
}

/// A broker that ends with the test.
struct Mosquitto(Child);

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[test]
fn mosquitto_lets_in_whose_line_has_a_verifier() {
    let folder = Folder::new();
    let file = folder.name("users");
    mosquitto_passwd(&["-b", "-c", &file, "ann", "secret"]);
    // Mosquitto 2.0 cannot read Argon2, so the verifier is put behind a hash of its own.
    assert_eq!(pantala(&["user", "add", "--scram", "--file", &file, "bob"], "x"), done("bob is added\n"));
    let text = folder.text("users");
    let (ann, bob) = text.split_once('\n').expect("two lines");
    let (_, verifier) = bob.split_once(":SCRAM").expect("a verifier");
    folder.write("users", &format!("{ann}:SCRAM{verifier}"));
    assert_eq!(pantala(&["user", "list", "--file", &file], ""), done("pbkdf2-sha512+scram  ann\n"));

    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let settings = folder.write(
        "conf",
        &format!("listener {port} 127.0.0.1\nallow_anonymous false\nuser root\npassword_file {file}\n"),
    );
    let broker = Command::new("/usr/sbin/mosquitto").args(["-c", &settings]).stderr(Stdio::null()).spawn();
    let _broker = Mosquitto(broker.expect("mosquitto is there; run tests/run, which installs it"));
    let publish = |password: &str| {
        let mut client = Command::new("mosquitto_pub");
        client.args(["-p", &port.to_string(), "-u", "ann", "-P", password, "-t", "t", "-m", "m"]);
        let output = client.output().expect("mosquitto_pub is there; run tests/run, which installs it");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let mut said = publish("secret");
    while said.contains("Connection refused") {
        said = publish("secret");
    }
    assert_eq!(said, "");
    assert!(publish("wrong").contains("not authorised"));
}

#[test]
fn a_file_with_faults_is_named_with_its_lines_and_stays_as_it_is() {
    let folder = Folder::new();
    let text = "ann:secret\nbob\n";
    let file = folder.write("users", text);
    let told = format!(
        "{file}: line 1: user \"ann\": expected $argon2id$..., $7$... or $6$... after the colon, as \
         mosquitto_passwd and pantala user write it\n{file}: line 2: expected NAME:HASH; a comment starts with #\n"
    );
    for action in ["add", "del", "verify"] {
        assert_eq!(user(action, &file, "cara", "x"), failed(2, &told));
    }
    assert_eq!(folder.text("users"), text);
}

#[test]
fn passwords_and_names_that_nobody_could_log_in_with_are_refused() {
    let folder = Folder::new();
    let file = folder.name("users");
    assert_eq!(user("add", &file, "ann", "\n"), failed(2, "pantala: the password is empty\n"));
    assert_eq!(
        user("add", &file, "ann", &"x".repeat(65_536)),
        failed(2, "pantala: the password is longer than MQTT's 65,535 bytes\n")
    );
    assert_eq!(
        user("add", &file, "a:b", "x"),
        failed(2, "pantala: given \"a:b\", expected a name without a colon and without control characters\n")
    );
    let scram = pantala(&["user", "add", "--scram", "--file", &file, "a\u{ad}b"], "x");
    assert!(scram.err.contains("--scram: given \"a\\u{ad}b\", expected a name without"), "{}", scram.err);
    assert!(!folder.path("users").exists(), "nothing is written");
    let missing = user("del", &file, "ann", "");
    assert_eq!((missing.code, missing.err.starts_with(&format!("{file}: "))), (Some(2), true));
}
