//! The README's quick start works as printed.

use crate::support::Broker;
use std::process::Command;

#[test]
fn the_quick_start_prints_what_it_says() {
    let broker = Broker::with("[sys]\ninterval_s = 1");
    let readme = include_str!("../../README.md");
    let (_, after) =
        readme.split_once("<!-- quick start: a test runs these lines as they stand -->\n```sh\n").unwrap();
    let (lines, _) = after.split_once("```").unwrap();
    let mut run = 0;
    for line in lines.lines() {
        let (command, expected) = line.split_once('#').map_or((line, None), |(command, comment)| {
            // A filter may hold a '#' as well; the comment is what follows the last one.
            match line.rsplit_once(" # ") {
                Some((command, comment)) => (command, Some(comment.trim())),
                None => (if comment.is_empty() { command } else { line }, None),
            }
        });
        let (program, arguments) = command.trim().split_once(' ').unwrap();
        let port = broker.port();
        let output = Command::new("sh")
            .args(["-c", &format!("exec timeout 30 {program} -p {port} {arguments}")])
            .output()
            .expect("a shell");
        assert!(
            output.status.success(),
            "{line}: {}; run tests/run, which installs it",
            String::from_utf8_lossy(&output.stderr)
        );
        if let Some(expected) = expected {
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{line}");
        }
        run += 1;
    }
    assert!(run >= 3, "the quick start has lines to run");
}
