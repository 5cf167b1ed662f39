//! `pantala acl test`.

use super::{Folder, Outcome, done, failed, pantala};

const FILE: &str = "\
topic read news/#
user ann
topic deny ann/secret
  topic   ann/#
role sensors
for subject O=Plant, CN=sensor-*
for listener tls://0.0.0.0:8883
topic write data/#
pattern write dev/%c
";

/// Asks a question about a client.
fn ask(file: &str, client: &[&str], question: &str, topic: &str) -> Outcome {
    pantala(&[&["acl", "test", "--file", file], client, &[question, topic]].concat(), "")
}

fn denied(why: &str) -> Outcome {
    Outcome { code: Some(1), ..done(&format!("denied: {why}\n")) }
}

#[test]
fn the_line_that_decides_is_named() {
    let folder = Folder::new();
    let file = folder.write("acl", FILE);
    let ann = ["--user", "ann", "--client", "c1"];
    assert_eq!(ask(&file, &ann, "publish", "ann/x"), done("allowed: line 4: topic   ann/#\n"));
    assert_eq!(ask(&file, &ann, "receive", "ann/secret"), denied("line 3: topic deny ann/secret"));
    assert_eq!(ask(&file, &ann, "subscribe", "ann/secret"), denied("line 3: topic deny ann/secret"));
    assert_eq!(ask(&file, &ann, "subscribe", "#"), done("allowed: line 4: topic   ann/#\n"));
    assert_eq!(ask(&file, &ann, "receive", "news/x"), denied("no line allows it"));
    assert_eq!(ask(&file, &[], "receive", "news/x"), done("allowed: line 1: topic read news/#\n"));
}

#[test]
fn roles_and_unsafe_names_are_explained() {
    let folder = Folder::new();
    // In the file above the last line is one of the role.
    let file = folder.write("acl", &format!("pattern write dev/%c\n{}", FILE.replace("pattern", "#")));
    let sensor = ["--subject", "CN=sensor-7,O=Plant"];
    assert_eq!(ask(&file, &sensor, "publish", "data/x"), done("allowed: line 9: topic write data/#\n"));
    let listener = ["--listener", "tls://0.0.0.0:8883"];
    assert_eq!(ask(&file, &listener, "publish", "data/x"), done("allowed: line 9: topic write data/#\n"));
    assert_eq!(
        ask(&file, &["--client", "a/b"], "publish", "dev/a/b"),
        denied(
            "the client id \"a/b\" has +, # or / in it, so that it could choose what %c means; line 1: pattern write dev/%c"
        )
    );
}

#[test]
fn files_and_questions_with_faults_are_named() {
    let folder = Folder::new();
    let file = folder.write("acl", "topic\nuser ann\nallow #\n");
    assert_eq!(
        ask(&file, &[], "publish", "a"),
        failed(
            2,
            &format!(
                "{file}: line 1: expected a topic filter after topic\n{file}: line 3: given \"allow\", expected a line that \
                 starts with user, topic, pattern, role, for, or # for a comment\n"
            )
        )
    );
    let file = folder.write("acl", FILE);
    let wildcard = "wildcard in a topic name [MQTT-3.3.2-2] [MQTT-4.7.0-1] (3.1.1: [MQTT-4.7.1-1])";
    assert_eq!(ask(&file, &[], "publish", "a/+"), failed(2, &format!("pantala: \"a/+\": {wildcard}\n")));
    assert_eq!(ask(&file, &["--subject", "x"], "publish", "a").code, Some(2));
    assert_eq!(ask(&folder.name("none"), &[], "publish", "a").code, Some(2));
}
