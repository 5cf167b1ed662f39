//! ACL files and whoever they are asked about: nothing panics, a subscription to what may be received is granted, and what is
//! remembered is what is decided.
//!
//! `cargo +nightly fuzz run acl --fuzz-dir tests/fuzz`

#![no_main]

use libfuzzer_sys::fuzz_target;
use pantala::auth::acl::{Acl, Action, Decisions, Who};
use pantala::topic::{TopicFilter, TopicName};
use pantala::types::HashSeed;

fuzz_target!(|data: (&[u8], Option<&str>, &str, Vec<&str>)| {
    let (file, user, client, topics) = data;
    let Ok(acl) = Acl::parse(file, 1, HashSeed(1)) else { return };
    let standing = acl.standing(&Who { user, client, listener: "tcp://h:1", subject: None, granted: None });
    let mut decisions = Decisions::default();
    for topic in topics {
        let Ok(filter) = TopicFilter::parse(topic, 128) else { continue };
        let subscribed = acl.decide_subscribe(&standing, filter);
        let Ok(name) = TopicName::parse(topic, 128) else { continue };
        for action in [Action::Publish, Action::Receive, Action::Publish] {
            let decision = acl.decide(&standing, action, name);
            assert_eq!(decisions.decide(&acl, &standing, action, name), decision);
            if action == Action::Receive && filter.as_str() == topic {
                assert_eq!(decision.allowed, subscribed.allowed, "{topic:?}");
            }
        }
    }
});
