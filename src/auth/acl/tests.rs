//! Decisions by hand-written files, and by random ones against the slow, obvious way.

use super::*;
use crate::topic::{TopicFilter, TopicName};
use crate::types::{HashSeed, Rng};

const SEED: HashSeed = HashSeed(7);

fn acl(text: &str) -> Acl {
    Acl::parse(text.as_bytes(), 1, SEED).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"))
}

fn who<'a>(user: impl Into<Option<&'a str>>, client: &'a str) -> Who<'a> {
    Who { user: user.into(), client, listener: "tcp://127.0.0.1:1883", subject: None, granted: None }
}

fn decide(acl: &Acl, who: &Who<'_>, action: Action, name: &str) -> Decision {
    acl.decide(&acl.standing(who), action, TopicName::parse(name, 128).expect(name))
}

/// The line that allows publishing and the one that allows receiving; 0 when it is denied.
fn lines(acl: &Acl, who: &Who<'_>, name: &str) -> (u32, u32) {
    let line = |action| match decide(acl, who, action, name) {
        Decision { allowed: true, reason: Reason::Line(line) } => line,
        _ => 0,
    };
    (line(Action::Publish), line(Action::Receive))
}

fn subscribe(acl: &Acl, who: &Who<'_>, filter: &str) -> Decision {
    acl.decide_subscribe(&acl.standing(who), TopicFilter::parse(filter, 128).expect(filter))
}

/// Mosquitto's own example, with what comes before and after it.
const EXAMPLE: &str = "\
# This affects access control for clients with no username.
topic read news/#

# This only affects clients with username \"ann\".
user ann
topic ann/#
topic write   spaces in it
topic deny ann/secret/+

user bob
topic read #
topic deny ann/#
topic readwrite $SYS/broker/+

# This affects all clients.
pattern write dev/%c/state
pattern read home/%u/#
pattern deny home/%u/cellar
";

#[test]
fn a_section_is_for_its_user_alone() {
    let acl = acl(EXAMPLE);
    let (nobody, ann, cara) = (who(None, "c1"), who("ann", "c1"), who("cara", "c1"));
    assert_eq!(lines(&acl, &nobody, "news/today"), (0, 2));
    assert_eq!(lines(&acl, &ann, "news/today"), (0, 0), "the first section is for clients without a name");
    assert_eq!(lines(&acl, &ann, "ann/x"), (6, 6));
    assert_eq!(lines(&acl, &ann, "ann"), (6, 6), "# stands for its parent as well");
    assert_eq!(lines(&acl, &ann, "spaces in it"), (7, 0));
    assert_eq!(lines(&acl, &cara, "ann/x"), (0, 0));
    assert_eq!(decide(&acl, &cara, Action::Publish, "ann/x").reason, Reason::NoLine);
}

#[test]
fn what_is_denied_is_denied_whatever_else_is_said() {
    let acl = acl(EXAMPLE);
    let denied = decide(&acl, &who("ann", "c"), Action::Receive, "ann/secret/x");
    assert_eq!(denied, Decision::denied(Reason::Line(8)));
    assert_eq!(lines(&acl, &who("ann", "c"), "ann/secret/x/y"), (6, 6));
    assert_eq!(decide(&acl, &who("bob", "c"), Action::Receive, "ann/x").reason, Reason::Line(12));
    assert_eq!(lines(&acl, &who("bob", "c"), "x"), (0, 11));
}

#[test]
fn names_with_a_dollar_need_a_filter_with_one() {
    let rules = acl(EXAMPLE);
    assert_eq!(lines(&rules, &who("bob", "c"), "$SYS/broker/uptime"), (13, 13));
    assert_eq!(lines(&rules, &who("bob", "c"), "$SYS/other"), (0, 0));
    let rules = acl("pattern %u/#\npattern $x/%u");
    assert_eq!(
        lines(&rules, &who("$SYS", "c"), "$SYS/x"),
        (0, 0),
        "a user's own name gives no right to $SYS"
    );
    assert_eq!(lines(&rules, &who("ann", "c"), "$x/ann"), (2, 2));
    assert!(!subscribe(&rules, &who("$SYS", "c"), "$SYS/#").allowed);
    assert!(subscribe(&rules, &who("ann", "c"), "$x/+").allowed);
}

#[test]
fn patterns_are_for_everybody_and_decide_last() {
    let acl = acl(EXAMPLE);
    for client in [who(None, "c1"), who("ann", "c1"), who("cara", "c1")] {
        assert_eq!(lines(&acl, &client, "dev/c1/state"), (16, 0));
        assert_eq!(lines(&acl, &client, "dev/c2/state"), (0, 0));
    }
    assert_eq!(lines(&acl, &who("cara", "c1"), "home/cara/x"), (0, 17));
    assert_eq!(
        decide(&acl, &who("cara", "c1"), Action::Receive, "home/cara/cellar").reason,
        Reason::Line(18)
    );
    assert_eq!(lines(&acl, &who("bob", "c1"), "home/bob/cellar"), (0, 11), "bob's own section decides first");
    assert_eq!(lines(&acl, &who(None, "c1"), "home//x"), (0, 0), "who has no name has none of its topics");
}

#[test]
fn placeholders_are_text_in_lines_that_are_no_patterns() {
    let acl = acl("user ann\ntopic read home/%u");
    assert_eq!(lines(&acl, &who("ann", "c"), "home/ann"), (0, 0));
    assert_eq!(lines(&acl, &who("ann", "c"), "home/%u"), (0, 2));
}

#[test]
fn a_name_that_would_choose_its_topics_gets_nothing_from_patterns() {
    let acl = acl(EXAMPLE);
    for name in ["+", "#", "a/b", "a+"] {
        let decision = decide(&acl, &who(name, "c1"), Action::Publish, "dev/c1/state");
        assert_eq!(decision, Decision::denied(Reason::UserName(17)), "{name}");
        let decision = decide(&acl, &who("ann", name), Action::Publish, "dev/x/state");
        assert_eq!(decision, Decision::denied(Reason::ClientId(16)), "{name}");
        assert_eq!(subscribe(&acl, &who("cara", name), "home/#").reason, Reason::ClientId(16), "{name}");
        assert_eq!(lines(&acl, &who("ann", name), "ann/x"), (6, 6), "its own section is not about names");
    }
    let without = Acl::parse(b"pattern read news/#", 1, SEED).expect("a pattern");
    assert_eq!(lines(&without, &who("a/b", "c/d"), "news/x"), (0, 1), "no name is in it");
}

#[test]
fn an_empty_file_denies_everything() {
    for text in ["", "# nothing\n\n"] {
        assert_eq!(decide(&acl(text), &who(None, "c"), Action::Receive, "a").reason, Reason::NoLine);
        assert_eq!(subscribe(&acl(text), &who(None, "c"), "#").reason, Reason::NoLine);
    }
}

#[test]
fn the_same_section_may_come_in_pieces_and_words_may_be_filters() {
    let rules = acl(
        "user ann\ntopic read\nuser bob\ntopic a\r\nuser ann  \n \t topic   write \t b\nuser two words\ntopic c",
    );
    assert_eq!(lines(&rules, &who("ann", "c"), "read"), (2, 2));
    assert_eq!(lines(&rules, &who("ann", "c"), "b"), (6, 0));
    assert_eq!(lines(&rules, &who("two words", "c"), "c"), (8, 8));
    assert_eq!(lines(&rules, &who("bob", "c"), "a"), (4, 4));
}

const ROLES: &str = "\
user ann
topic deny data/private
role plant
for subject O=Plant\\, North, CN=sensor-*
for user ann
topic write data/#
pattern read cmd/%c/#
topic deny data/internal
role guests
for listener ws://0.0.0.0:80
topic read public/#
role all
for everyone
topic read news/#
topic data/internal
";

#[test]
fn roles_are_given_by_certificate_listener_and_user() {
    let acl = acl(ROLES);
    let subject = |text: &str| text.parse::<Subject>().expect(text);
    let sensor = subject("CN=sensor-7, c=DE, o=Plant\\, North");
    let others = ["CN=sensor-7, O=Plant", "CN=x-sensor-7, O=Plant\\, North", "O=Plant\\, North"].map(subject);
    let known = |subject| Who { subject: Some(subject), ..who(None, "c1") };
    assert_eq!(lines(&acl, &known(&sensor), "data/x"), (6, 0));
    assert_eq!(lines(&acl, &known(&sensor), "cmd/c1/x"), (0, 7));
    assert_eq!(lines(&acl, &known(&sensor), "cmd/c2/x"), (0, 0));
    for other in &others {
        assert_eq!(lines(&acl, &known(other), "data/x"), (0, 0), "{other:?}");
    }
    assert_eq!(lines(&acl, &who("ann", "c1"), "data/x"), (6, 0));
    let guest = Who { listener: "ws://0.0.0.0:80", ..who("cara", "c1") };
    assert_eq!(lines(&acl, &guest, "public/x"), (0, 11));
    assert_eq!(lines(&acl, &who("cara", "c1"), "public/x"), (0, 0));
    assert_eq!(lines(&acl, &who(None, "c1"), "news/x"), (0, 14), "everyone");
}

#[test]
fn a_section_of_ones_own_decides_before_roles_and_roles_decide_together() {
    let acl = acl(ROLES);
    let ann = who("ann", "c");
    assert_eq!(decide(&acl, &ann, Action::Publish, "data/private").reason, Reason::Line(2));
    assert_eq!(
        decide(&acl, &ann, Action::Receive, "data/internal").reason,
        Reason::Line(8),
        "though line 15 allows it"
    );
    assert_eq!(lines(&acl, &who("bob", "c"), "data/internal"), (15, 15));
}

#[test]
fn a_subscription_that_can_bring_nothing_is_refused() {
    let acl = acl(EXAMPLE);
    let (nobody, ann, bob) = (who(None, "c1"), who("ann", "c1"), who("bob", "c1"));
    for (client, filter, line) in [
        (&nobody, "news/#", 2),
        (&nobody, "news/today", 2),
        (&nobody, "news", 2),
        (&nobody, "#", 2),
        (&nobody, "+/today", 2),
        (&nobody, "$share/g/news/+", 2),
        (&ann, "ann/secret/#", 6),
        (&ann, "+/+/x/y", 6),
        (&ann, "home/+/x", 17),
        (&bob, "$SYS/#", 13),
        (&bob, "#", 11),
        (&bob, "+/x", 11),
    ] {
        assert_eq!(subscribe(&acl, client, filter), Decision::allowed(line), "{filter}");
    }
    for (client, filter, reason) in [
        (&nobody, "new/#", Reason::NoLine),
        (&nobody, "dev/c1/state", Reason::NoLine),
        (&nobody, "$SYS/#", Reason::NoLine),
        (&nobody, "$share/g/x", Reason::NoLine),
        (&ann, "ann/secret/+", Reason::Line(8)),
        (&ann, "ann/secret/x", Reason::Line(8)),
        (&bob, "ann/#", Reason::Line(12)),
        (&bob, "ann/+/x", Reason::Line(12)),
        (&who("cara", "c1"), "home/+/cellar", Reason::Line(18)),
    ] {
        assert_eq!(subscribe(&acl, client, filter), Decision::denied(reason), "{filter}");
    }
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let text = b"topic\ntopic reed a\nusers ann\nuser\nuser  \ntopic a/#/b\npattern read +%u\nfor everyone\nrole\nrole idle\n\
        topic a\nrole x\nfor\nfor listener\nfor user \nfor subject CN\nfor subject CN=\nfor everyone else\nfor group x\n\xff\n #ok\ntopic read a\0";
    let mistakes = Acl::parse(text, 1, SEED).expect_err("mistakes");
    let word = "expected a line that starts with user, topic, pattern, role, for, or # for a comment";
    let subject = "expected attributes of a certificate's subject with values, such as O=Plant, CN=sensor-*; a comma in a \
        value is \\,";
    assert_eq!(
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "line 1: expected a topic filter after topic",
            "line 2: given \"reed\", expected read, write, readwrite or deny before the topic filter",
            &format!("line 3: given \"users\", {word}"),
            "line 4: expected a user's name after user",
            "line 5: expected a user's name after user",
            "line 6: \"a/#/b\": multi-level wildcard is not the whole last level [MQTT-4.7.1-1] (3.1.1: [MQTT-4.7.1-2])",
            "line 7: \"+%u\": single-level wildcard is not a whole level [MQTT-4.7.1-2] (3.1.1: [MQTT-4.7.1-3])",
            "line 8: for stands only below role",
            "line 9: expected a role's name after role",
            "line 10: role \"idle\" is nobody's: no line with for stands below it",
            "line 12: role \"x\" is nobody's: no line with for stands below it",
            "line 13: given \"\", expected subject, listener, user or everyone after for",
            "line 14: expected a listener's URL after for listener",
            "line 15: expected a user's name after for user",
            &format!("line 16: {subject}"),
            &format!("line 17: {subject}"),
            "line 18: given \"everyone else\", expected subject, listener, user or everyone after for",
            "line 19: given \"group x\", expected subject, listener, user or everyone after for",
            "line 20: not UTF-8",
            "line 22: \"a\\0\": topic contains the null character [MQTT-4.7.3-2]",
        ]
    );
}

#[test]
fn another_generation_decides_anew_and_an_old_standing_denies() {
    let name = TopicName::trusted("a");
    let old = acl("topic a");
    let standing = old.standing(&who(None, "c"));
    let mut decisions = Decisions::default();
    assert!(decisions.decide(&old, &standing, Action::Publish, name).allowed);
    let new = Acl::parse(b"topic read a", 2, SEED).expect("a file");
    assert_eq!(new.decide(&standing, Action::Receive, name), Decision::denied(Reason::Outdated));
    assert_eq!(subscribe(&new, &who(None, "c"), "a"), Decision::allowed(1));
    let standing = new.standing(&who(None, "c"));
    assert!(!decisions.decide(&new, &standing, Action::Publish, name).allowed);
    assert!(decisions.decide(&new, &standing, Action::Receive, name).allowed);
}

#[test]
fn remembered_decisions_are_those_that_are_made() {
    let acl = acl("user ann\ntopic read a/#\ntopic write a/+\ntopic deny a/7");
    let standing = acl.standing(&who("ann", "c"));
    let (mut decisions, mut rng) = (Decisions::default(), Rng::new(3));
    for _ in 0..20_000 {
        let long = if rng.chance(1, 50) { "x".repeat(600) } else { String::new() };
        let text = format!("a/{}{long}", rng.below(200));
        let (name, action) = (TopicName::trusted(&text), *rng.pick(&[Action::Publish, Action::Receive]));
        let decision = decisions.decide(&acl, &standing, action, name);
        assert_eq!(decision, acl.decide(&standing, action, name), "{text}");
    }
}

mod random {
    use super::*;
    use std::fmt::Write;

    const WORDS: [&str; 4] = ["a", "b", "", "$s"];

    fn filter(rng: &mut Rng, pattern: bool) -> String {
        let levels: Vec<&str> = (0..=rng.below(3))
            .map(|_| match rng.below(8) {
                0 | 1 => "+",
                2 if pattern => "%u",
                3 if pattern => "%c",
                _ => *rng.pick(&WORDS),
            })
            .collect();
        let mut text = levels.join("/");
        if rng.chance(1, 3) {
            text.push_str("/#");
        }
        match text.as_str() {
            "" => "#".to_owned(),
            _ => text,
        }
    }

    /// A file, and its lines as section, access and filter: 0 for nobody's, 1 for ann's, 2 for patterns.
    fn file(rng: &mut Rng, denials: usize) -> (String, Vec<(u8, &'static str, String)>) {
        let (mut text, mut rules, mut left) = (String::new(), Vec::new(), denials);
        for section in 0..3 {
            if section > 0 {
                text.push_str(if section == 1 { "user ann\n" } else { "#\n" });
                rules.push((9, "", String::new()));
            }
            for _ in 0..rng.below(5) {
                let access = match rng.below(4) {
                    0 if left > 0 => "deny",
                    0 | 1 => "read",
                    2 => "write",
                    _ => "readwrite",
                };
                left -= usize::from(access == "deny");
                let filter = filter(rng, section == 2);
                let word = if section == 2 { "pattern" } else { "topic" };
                writeln!(text, "{word} {access} {filter}").expect("a string");
                rules.push((section, access, filter));
            }
        }
        (text, rules)
    }

    /// Mosquitto's way: from line to line, those that deny first.
    fn slow(rules: &[(u8, &str, String)], user: Option<&str>, action: Action, name: &str) -> bool {
        let own = u8::from(user.is_some());
        for section in [own, 2] {
            let matching = rules.iter().filter(|rule| rule.0 == section).filter(|rule| {
                let Some(user) = user.or_else(|| (!rule.2.contains("%u") || section < 2).then_some(""))
                else {
                    return false;
                };
                let text =
                    if section == 2 { rule.2.replace("%u", user).replace("%c", "b") } else { rule.2.clone() };
                name.starts_with('$') == text.starts_with('$')
                    && TopicFilter::parse(&text, 128).expect("a filter").matches(TopicName::trusted(name))
                    || name.starts_with('$') && text.starts_with('$') && text == name
            });
            let accesses: Vec<&str> = matching.map(|rule| rule.1).collect();
            let word = if action == Action::Publish { "write" } else { "read" };
            if accesses.contains(&"deny") {
                return false;
            }
            if accesses.contains(&word) || accesses.contains(&"readwrite") {
                return true;
            }
        }
        false
    }

    /// Every name of up to four levels out of the words and one that no file has.
    fn names() -> Vec<String> {
        let words = ["a", "b", "", "$s", "z", "ann"];
        let mut names: Vec<String> = words.iter().map(ToString::to_string).collect();
        let mut last = names.clone();
        for _ in 0..3 {
            last = last.iter().flat_map(|name| words.map(|word| format!("{name}/{word}"))).collect();
            names.extend(last.iter().cloned());
        }
        names.retain(|name| !name.is_empty());
        names
    }

    #[test]
    fn the_tree_decides_as_going_from_line_to_line_does() {
        let (mut rng, names) = (Rng::new(1), names());
        for _ in 0..400 {
            let (text, rules) = file(&mut rng, 3);
            let acl = acl(&text);
            for user in [None, Some("ann"), Some("a")] {
                // Whoever has no section of their own is told by the patterns alone.
                let mine: Vec<_> =
                    rules.iter().filter(|rule| rule.0 != 1 || user == Some("ann")).cloned().collect();
                let standing = acl.standing(&who(user, "b"));
                for _ in 0..60 {
                    let (name, action) = (rng.pick(&names), *rng.pick(&[Action::Publish, Action::Receive]));
                    let decision = acl.decide(&standing, action, TopicName::trusted(name));
                    assert_eq!(
                        decision.allowed,
                        slow(&mine, user, action, name),
                        "{action:?} {name:?} by {user:?} in\n{text}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_subscription_is_granted_exactly_if_some_name_can_be_received() {
        let (mut rng, names) = (Rng::new(2), names());
        let (mut granted, mut refused) = (0, 0);
        for _ in 0..600 {
            let (text, _) = file(&mut rng, 1);
            let (acl, client) = (acl(&text), who(*rng.pick(&[None, Some("ann"), Some("a")]), "b"));
            let wanted = filter(&mut rng, false);
            let filter = TopicFilter::parse(&wanted, 128).expect("a filter");
            let receivable = names.iter().map(|name| TopicName::trusted(name)).find(|name| {
                filter.matches(*name) && decide(&acl, &client, Action::Receive, name.as_str()).allowed
            });
            let decision = subscribe(&acl, &client, &wanted);
            assert_eq!(
                decision.allowed,
                receivable.is_some(),
                "{wanted} by {client:?}, for {receivable:?}, in\n{text}"
            );
            if decision.allowed { granted += 1 } else { refused += 1 }
        }
        assert!(granted > 100 && refused > 100, "{granted} and {refused}");
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let mut rng = Rng::new(5);
        for _ in 0..10_000 {
            let mut bytes = [EXAMPLE, ROLES].concat().into_bytes();
            for _ in 0..rng.below(8) {
                let at = usize::try_from(rng.below(bytes.len() as u64)).expect("small");
                match rng.below(3) {
                    0 => bytes[at] = *rng.pick(b"#+/%uc \n,=\\\xff\0"),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, *rng.pick(b"#+/%uc \n,=\\")),
                }
            }
            let Ok(acl) = Acl::parse(&bytes, 1, SEED) else { continue };
            let _ = subscribe(&acl, &who("ann", "c"), "#");
        }
    }
}
