//! Password files as programs write them, and as nobody should.

use super::*;
use crate::sasl::ITERATIONS;

/// Written by `mosquitto_passwd -b` of 2.0.11, by itself and with `-H sha512`; the password is "secret".
const MOSQUITTO: &str = "\
ann:$7$101$JKpE1ZLKFpUa/aMT$7I2WRQak60QL72ind3EKaICjBVEUxi0gINne0s9IOTwaeTpigsX9Inu9mM8ueb3dyxM5sHZ+EdtunJLhQhKqow==
bob:$6$advAvF8l/oEfljVt$kkoVh73PCkghIsWZmIPGzo/r/mpm0k292PEmtR0uKQURnsPgC7qkmmaDgSHbF+BRTG9oaTq2Sf1EbTPE2Typyg==
";
/// Written by the `argon2` program of the reference implementation, which Mosquitto 2.1 is built with: `printf secret |
/// argon2 0123456789abcdef -id -t 1 -k 47104 -p 1 -l 32 -e`.
const REFERENCE: &str =
    "$argon2id$v=19$m=47104,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$WcwJ81+8l75tRW9m5QWyiMT5SKoFCq+Oz2eDczK6dDY";
/// The same with other settings, for "pencil": two passes over 256 KiB, two lanes, 64 bytes.
const REFERENCE_OTHER: &str = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ\
    $eYctCv5FBbAXgFzWSZw4HdhD0vrAcnd9jZtlNAajlDhcCNeNHd21UZ37lPwIyP3wELs8YArBYKxu1AWsMUMBNw";
const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
    wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

fn hash(text: &str) -> PasswordHash {
    text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
}

fn mistakes(text: &str) -> Vec<String> {
    PasswordFile::parse(text.as_bytes()).expect_err(text).iter().map(ToString::to_string).collect()
}

#[test]
fn files_of_mosquitto_passwd_let_in_who_knows_the_password() {
    let file = PasswordFile::parse(MOSQUITTO.as_bytes()).expect("Mosquitto's own");
    for name in ["ann", "bob"] {
        let entry = file.get(name).expect(name);
        assert!(entry.password.verify(b"secret"), "{name}");
        assert!(!entry.password.verify(b"Secret") && !entry.password.verify(b""), "{name}");
    }
    assert!(file.get("Ann").is_none() && file.get("").is_none());
    assert_eq!(
        file.iter().map(|(name, entry)| (name, entry.line)).collect::<Vec<_>>(),
        [("ann", 1), ("bob", 2)]
    );
}

#[test]
fn a_new_password_is_kept_as_the_reference_implementation_of_argon2_would() {
    assert_eq!(PasswordHash::derive(b"secret", b"0123456789abcdef").to_string(), REFERENCE);
}

#[test]
fn argon2_is_read_with_any_settings() {
    let other = hash(REFERENCE_OTHER);
    assert!(other.verify(b"pencil") && !other.verify(b"pencils"));
    assert_eq!(other.to_string(), REFERENCE_OTHER);
}

#[test]
fn every_form_is_written_as_it_was_read() {
    let of_mosca = PasswordHash::of_pbkdf2_sha1(10_000, &[7; 64], &[9; 128]).expect("in range").to_string();
    for text in MOSQUITTO.lines().map(|line| &line[4..]).chain([REFERENCE, REFERENCE_OTHER, &of_mosca]) {
        assert_eq!(hash(text).to_string(), text);
    }
}

#[test]
fn a_decoy_is_of_the_same_form_and_fits_no_password() {
    for text in [&MOSQUITTO.lines().next().expect("two lines")[4..], REFERENCE_OTHER] {
        let decoy = hash(text).decoy();
        assert_eq!(decoy.scheme(), hash(text).scheme());
        assert!(!decoy.verify(b"secret") && !decoy.verify(b"pencil") && !decoy.verify(b""));
    }
}

#[test]
fn comments_blanks_and_foreign_line_ends_are_read_over() {
    let text = format!("# users\r\n\r\n  \n{}", MOSQUITTO.replace('\n', " \r\n").replace("ann:", " ann : "));
    let file = PasswordFile::parse(text.as_bytes()).expect(&text);
    assert_eq!(file.get("ann").map(|entry| entry.line), Some(4));
    assert!(file.get("bob").expect("two users").password.verify(b"secret"));
}

#[test]
fn a_line_may_hold_a_scram_verifier_as_well() {
    let file = PasswordFile::parse(format!("user:{REFERENCE}:{SCRAM}").as_bytes()).expect("both");
    let entry = file.get("user").expect("one user");
    assert!(entry.password.verify(b"secret"));
    assert_eq!(entry.scram.as_ref().map(ToString::to_string).as_deref(), Some(SCRAM));
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let text = format!(
        "ann:{REFERENCE}\nann:{REFERENCE}\nbob\n:{REFERENCE}\ncara:secret\ndan:$5$a$b\neve:$6$a\nfay:{REFERENCE}:x\n\
         # {REFERENCE}\ngus:{}\nhal:$7$0$AAAA$AAAA\nivy:$6$AAAA$AAAA\nd\u{ad}o:{REFERENCE}:{SCRAM}",
        REFERENCE.replace("m=47104", "m=7"),
    );
    let form = "expected $argon2id$..., $7$... or $6$... after the colon, as mosquitto_passwd and pantala user write it";
    assert_eq!(
        mistakes(&text),
        [
            "line 2: user \"ann\" stands in line 1 already".to_owned(),
            "line 3: expected NAME:HASH; a comment starts with #".to_owned(),
            "line 4: expected a user's name before the colon".to_owned(),
            format!("line 5: user \"cara\": {form}"),
            format!("line 6: user \"dan\": {form}"),
            "line 7: user \"eve\": expected $6$<salt>$<hash>".to_owned(),
            "line 8: user \"fay\": expected SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>".to_owned(),
            "line 10: user \"gus\": expected m from 8 to 1048576 (KiB) and 8 times p, t from 1 to 100, p from 1 to 255"
                .to_owned(),
            "line 11: user \"hal\": expected from 1 to 10000000 iterations".to_owned(),
            "line 12: user \"ivy\": expected a hash in Base64, as long as its form makes them".to_owned(),
            "line 13: user \"d\\u{ad}o\": expected a name without characters that SASLprep (RFC 4013) changes or forbids"
                .to_owned(),
        ]
    );
    assert_eq!(
        PasswordFile::parse(b"ok\xff:x").expect_err("no text"),
        [Mistake { line: 1, problem: Problem::NotText }]
    );
}

#[test]
fn settings_that_would_stall_the_broker_are_refused() {
    for text in [
        "$7$10000001$AAAAAAAAAAAAAAAA$AAAA",
        "$7$+5$AAAAAAAAAAAAAAAA$AAAA",
        "$argon2id$v=19$m=1048577,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAA",
        "$argon2id$v=19$m=64,t=101,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAA",
        "$argon2id$v=19$m=64,t=1,p=256$MDEyMzQ1Njc4OWFiY2RlZg$AAAA",
        "$argon2id$v=19$m=15,t=1,p=2$MDEyMzQ1Njc4OWFiY2RlZg$AAAA",
        "$argon2id$v=19$m=64,t=1,p=1,x=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAA",
        "$argon2id$v=19$m=64,t=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAA",
        "$argon2id$v=16$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAA",
        "$argon2i$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAA",
        "$pbkdf2-sha1$10000$MDEyMzQ1Njc4OWFiY2RlZg$AAAA",
    ] {
        assert!(text.parse::<PasswordHash>().is_err(), "{text}");
    }
}

#[test]
fn setting_a_password_leaves_every_other_line_as_it_is() {
    let (before, password) = (format!("# first\n{MOSQUITTO}\n#ann:x\n"), hash(REFERENCE));
    let (text, known) = set(&before, "ann", &password, None).expect("a good name");
    assert!(known);
    let expected: Vec<String> = before
        .lines()
        .map(|line| if line.starts_with("ann:") { format!("ann:{REFERENCE}") } else { line.to_owned() })
        .collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);

    let (text, known) = set("", "new", &password, None).expect("a good name");
    assert_eq!((text, known), (format!("new:{REFERENCE}\n"), false));
}

#[test]
fn a_new_password_takes_the_verifier_of_the_old_one_away() {
    let before = format!("user:{REFERENCE}:{SCRAM}\n");
    let (text, _) = set(&before, "user", &hash(REFERENCE_OTHER), None).expect("a good name");
    assert_eq!(text, format!("user:{REFERENCE_OTHER}\n"));
    let verifier = Verifier::derive("pencil", b"salt", ITERATIONS).expect("a good password");
    let (text, _) = set(&text, "user", &hash(REFERENCE_OTHER), Some(&verifier)).expect("a good name");
    let file = PasswordFile::parse(text.as_bytes()).expect("what was written");
    assert_eq!(file.get("user").and_then(|entry| entry.scram.clone()), Some(verifier));
}

#[test]
fn removing_a_user_removes_that_line_only() {
    let text = remove(&format!("# first\n{MOSQUITTO}"), "ann").expect("ann is there");
    assert_eq!(text.lines().map(|line| &line[..4]).collect::<Vec<_>>(), ["# fi", "bob:"]);
    assert_eq!(remove(MOSQUITTO, "an"), None);
    assert_eq!(remove("#ann:x\n", "#ann"), None, "a comment names nobody");
}

#[test]
fn names_that_would_break_the_file_are_refused() {
    for (name, why) in [
        ("", BadUserName::Empty),
        ("a:b", BadUserName::Character),
        ("a\nb", BadUserName::Character),
        ("#a", BadUserName::Comment),
        (" a", BadUserName::Blanks),
    ] {
        assert_eq!(set("", name, &hash(REFERENCE), None), Err(why), "{name:?}");
    }
    assert_eq!(user_name(&"x".repeat(65_536)), Err(BadUserName::Long));
    assert_eq!(user_name("Ännchen von Tharau"), Ok("Ännchen von Tharau"));
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let seed = format!("{MOSQUITTO}u:{REFERENCE_OTHER}:{SCRAM}\n");
    let mut rng = crate::types::Rng::new(7);
    for _ in 0..20_000 {
        let mut bytes = seed.clone().into_bytes();
        for _ in 0..rng.below(6) {
            let at = usize::try_from(rng.below(bytes.len() as u64)).expect("small");
            match rng.below(3) {
                0 => bytes[at] = *rng.pick(b"$:=,0\n#AZ\xff"),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, *rng.pick(b"$:=,9\n#m")),
            }
        }
        let _ = PasswordFile::parse(&bytes);
    }
}
