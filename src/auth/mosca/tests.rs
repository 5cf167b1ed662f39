//! What Mosca and minimatch do, and what is made of it.

use super::*;
use crate::auth::acl::{Acl, Action, Who};
use crate::auth::password::PasswordFile;
use crate::topic::TopicName;
use crate::types::HashSeed;

/// From Mosca 2.8.3's own tests; the password is "test".
const MOSCAS: &str = r#"{"test":{"salt":"GA1QpOkAuPaGMdSJ5PWWgjktjrX3sq260vVjfpK73BQmkGDuJNvKfeojklKz/S7S5aV7NkYo5XGXCp0Srz+OmQ==","hash":"ogGQjB9cgQudJB6Zx3jRsMLJguoThvY+T+smEx2ODVZz3yrVo+64EtYnNn7/fujvpMCnx+BWIuFQrUQyk18P4TgD3w6ajf5SKhRLTJ9uH8GWB5nES4qUMCmSYPDtwNIFOhT+0C/+8ZydSpIiFuk5gbAjrReRzHQcuQmdxDTIuOg=","authorizePublish":"**","authorizeSubscribe":"**"}}"#;

fn of_globs(publish: &str, subscribe: &str) -> Migrated {
    let text = MOSCAS.replacen("\"**\"", &format!("{publish:?}"), 1).replacen(
        "\"**\"",
        &format!("{subscribe:?}"),
        1,
    );
    migrate(text.as_bytes()).expect("Mosca's")
}

#[test]
fn a_user_of_mosca_logs_in_as_before() {
    let migrated = migrate(MOSCAS.as_bytes()).expect("Mosca's own");
    let file = PasswordFile::parse(migrated.passwords.as_bytes()).expect("a password file");
    let password = &file.get("test").expect("one user").password;
    assert!(password.verify(b"test") && !password.verify(b"tes"));
    assert_eq!((migrated.users, migrated.left_out), (1, vec![]));
}

#[test]
fn globs_become_filters_that_mean_the_same() {
    for (glob, expected) in [
        ("**", &["#"][..]),
        ("a/**", &["a/+/#"]),
        ("/a/*/b", &["/a/+/b"]),
        ("*", &["+"]),
        ("*/**", &["+/+/#"]),
        ("a b/c", &["a b/c"]),
        ("{a,b}/{c,d/**}", &["a/c", "a/d/+/#", "b/c", "b/d/+/#"]),
        ("a/+/b", &["a/+/b"]),
        ("a/#", &["a/#"]),
    ] {
        assert_eq!(filters(glob, true).expect(glob), expected, "{glob}");
    }
}

#[test]
fn globs_without_a_filter_are_left_out_with_the_reason() {
    for (glob, why) in [
        ("!a", NoFilter::Negation),
        ("#/a", NoFilter::Sign('#')),
        ("**/a", NoFilter::Inner),
        ("a/**/b", NoFilter::Inner),
        ("a*", NoFilter::Part),
        ("a/***", NoFilter::Part),
        ("a?", NoFilter::Sign('?')),
        ("[ab]", NoFilter::Sign('[')),
        ("{a,{b,c}}", NoFilter::Sign('{')),
        ("{1..3}", NoFilter::Sign('{')),
        ("{a", NoFilter::Sign('{')),
        ("+(a|b)", NoFilter::Sign('(')),
        ("a\\*", NoFilter::Sign('\\')),
        ("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", NoFilter::Many),
        ("a/+", NoFilter::Topic(BadTopic::WildcardInName)),
        ("a+", NoFilter::Topic(BadTopic::SingleLevelWildcard)),
    ] {
        assert_eq!(filters(glob, false), Err(why), "{glob}");
    }
    let migrated = of_globs("a*", "b/**");
    assert_eq!(
        migrated.left_out.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["user \"test\" may not publish to \"a*\" any more: in a filter a wildcard stands for a whole level"]
    );
    assert!(migrated.acl.ends_with(
        "\nuser test\n# Left out: publish to \"a*\": in a filter a wildcard stands for a whole level\ntopic read b/+/#\n"
    ));
}

#[test]
fn the_acl_file_lets_through_what_the_globs_did() {
    let decide = |migrated: &Migrated, action, name: &str| {
        let acl = Acl::parse(migrated.acl.as_bytes(), 1, HashSeed(7)).expect("an ACL file");
        let who = Who { user: Some("test"), client: "c", listener: "", subject: None, granted: None };
        acl.decide(&acl.standing(&who), action, TopicName::trusted(name)).allowed
    };
    let migrated = of_globs("a/**", "*/{b,c}");
    // What minimatch 3.0 says to each of these.
    for (action, name, allowed) in [
        (Action::Publish, "a/x", true),
        (Action::Publish, "a/x/y", true),
        (Action::Publish, "a", false),
        (Action::Publish, "b/x", false),
        (Action::Receive, "x/b", true),
        (Action::Receive, "x/c", true),
        (Action::Receive, "x/d", false),
        (Action::Receive, "x/b/c", false),
    ] {
        assert_eq!(decide(&migrated, action, name), allowed, "{action:?} {name}");
    }
    let all = of_globs("", "**");
    assert!(decide(&all, Action::Publish, "a") && decide(&all, Action::Receive, "$SYS/broker/uptime"));
    assert!(!decide(&all, Action::Publish, "$SYS/x"), "which Mosca would have let through");
}

#[test]
fn users_that_cannot_be_taken_over_are_named() {
    let text = r##"{"a:b":{"salt":"AAAA","hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAA"},"#c":{"salt":"AAAA","hash":"AAAA"},"d":{"salt":"","hash":"AAAA"}}"##;
    let migrated = migrate(text.as_bytes()).expect("JSON");
    assert_eq!(migrated.users, 0);
    assert_eq!(
        migrated.left_out,
        [
            LeftOut::Hash("#c".to_owned(), BadHash::Hash),
            LeftOut::Name("a:b".to_owned(), BadUserName::Character),
            LeftOut::Hash("d".to_owned(), BadHash::Salt),
        ]
    );
    assert!(migrate(b"[]").is_err() && migrate(b"{\"a\":{}}").is_err() && migrate(b"\xff").is_err());
}
