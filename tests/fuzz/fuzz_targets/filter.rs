//! Topic filters and names: parsing never panics, and the trie finds exactly what comparing finds.
//!
//! `cargo +nightly fuzz run filter --fuzz-dir tests/fuzz`

#![no_main]

use libfuzzer_sys::fuzz_target;
use pantala::topic::{Matches, Subscriber, SubscriptionFlags, TopicFilter, TopicName, Trie};
use pantala::types::{HashSeed, QoS, SessionKey};

fuzz_target!(|data: (Vec<String>, Vec<String>)| {
    let filters: Vec<_> = data.0.iter().filter_map(|text| TopicFilter::parse(text, 128).ok()).collect();
    let mut trie = Trie::new(HashSeed(1));
    for (slot, &filter) in (0..).zip(&filters) {
        let session = SessionKey { slot, generation: 0 };
        let options = SubscriptionFlags::new(QoS::AtMostOnce, false, false);
        trie.subscribe(filter, Subscriber { session, options, subscription_id: 0 });
    }
    for name in data.1.iter().filter_map(|text| TopicName::parse(text, 128).ok()) {
        let mut matches = Matches::new();
        trie.matches(name, &mut matches);
        let mut found: Vec<u32> = matches.locals.iter().map(|local| local.session.slot).collect();
        found.sort_unstable();
        let compared = (0..).zip(&filters).filter(|(_, filter)| filter.matches(name)).map(|(slot, _)| slot);
        assert!(found.into_iter().eq(compared), "{name:?} in {filters:?}");
    }
});
