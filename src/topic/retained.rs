//! The retained messages that one core keeps, in the order of their topics' bytes.
//!
//! One ordered set, not a tree of levels: all topics below `a/b/` lie side by side, so a filter is answered by walking
//! from one possible match to the next and skipping what lies between. Memory is that of the messages, without a map for
//! each level, and a walk needs no state but the topic where it stopped, so it goes on correctly whatever was set or
//! removed meanwhile.

use super::{TopicFilter, TopicName, levels};
use crate::types::Message;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;

/// Entries that a walk steps over before it searches for the next possible match from the top: about where the two
/// cost the same.
const STEPS_BEFORE_SEARCH: usize = 8;

/// What storing a retained message changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedChange {
    /// Size of the message that was replaced, as counted by [`Message::size`]; `None` when the topic had none.
    pub old_size: Option<usize>,
    /// Size of the message that is there now.
    pub new_size: usize,
}

/// How far one call of [`Retained::walk_some`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stint {
    /// Messages to visit at most; at least 1.
    pub visits_max: usize,
    /// Topics to look at, whether they match or not; at least 1.
    pub looks_max: usize,
}

/// Topic name to retained message.
#[derive(Debug, Default)]
pub struct Retained {
    messages: BTreeSet<Stored>,
    /// Invariant: the sum of [`Message::size`] of all messages.
    bytes: u64,
}

/// A message, ordered and equal by its topic's bytes alone.
#[derive(Debug)]
struct Stored(Message);

impl Stored {
    fn topic(&self) -> &str {
        self.0.topic()
    }
}

impl Borrow<[u8]> for Stored {
    fn borrow(&self) -> &[u8] {
        self.0.topic_bytes()
    }
}

impl Ord for Stored {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.topic_bytes().cmp(other.0.topic_bytes())
    }
}

impl PartialOrd for Stored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Stored {}

impl Retained {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps a message under its topic, which `name` is, in place of the one before. [MQTT-3.3.1-5]
    pub fn set(&mut self, name: TopicName<'_>, message: Message) -> RetainedChange {
        debug_assert_eq!(message.topic(), name.as_str(), "a message is kept under its own topic");
        let new_size = message.size();
        let old_size = self.messages.replace(Stored(message)).map(|old| old.0.size());
        self.bytes = self.bytes + new_size as u64 - old_size.unwrap_or(0) as u64;
        RetainedChange { old_size, new_size }
    }

    /// Takes a topic's message out.
    pub fn remove(&mut self, name: TopicName<'_>) -> Option<Message> {
        let Stored(message) = self.messages.take(name.as_str().as_bytes())?;
        self.bytes -= message.size() as u64;
        Some(message)
    }

    /// The message of one topic.
    pub fn exact(&self, name: TopicName<'_>) -> Option<&Message> {
        self.messages.get(name.as_str().as_bytes()).map(|stored| &stored.0)
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes of all messages, as counted by [`Message::size`].
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Visits the messages that a filter matches, in order, beginning after the topic that the call before this one
    /// returned. That topic need not be there any more. Returns the topic after which to go on, or `None` when every
    /// match was visited.
    ///
    /// The work is bounded because a filter like `+/+/x` can look at every topic and match none; so a walk may also stop
    /// between matches.
    pub fn walk_some(
        &self,
        filter: TopicFilter<'_>,
        after: Option<&str>,
        stint: Stint,
        visit: &mut dyn FnMut(&str, &Message),
    ) -> Option<&str> {
        if !filter.has_wildcard() {
            let name = TopicName::trusted(filter.as_str());
            let message = self.exact(name).filter(|_| after.is_none_or(|after| after < name.as_str()));
            message.into_iter().for_each(|message| visit(name.as_str(), message));
            return None;
        }
        let mut target = literal_prefix(filter.as_str()).as_bytes().to_vec();
        let mut from = Bound::Included(target.as_slice());
        if let Some(after) = after.map(str::as_bytes).filter(|&after| after >= target.as_slice()) {
            from = Bound::Excluded(after);
        }
        let mut entries = self.messages.range::<[u8], _>((from, Bound::Unbounded));
        let (mut visits, mut looks, mut steps) = (0, 0, 0);
        while let Some(stored) = entries.next() {
            let key = stored.0.topic_bytes();
            looks += 1;
            if key < target.as_slice() {
                steps += 1;
                if steps % STEPS_BEFORE_SEARCH == 0 {
                    let from = Bound::Included(target.as_slice());
                    entries = self.messages.range::<[u8], _>((from, Bound::Unbounded));
                }
            } else {
                match fit(filter.as_str(), key, &mut target) {
                    Fit::Matches => {
                        visit(stored.topic(), &stored.0);
                        visits += 1;
                    }
                    Fit::NotBeforeTarget => steps = 0,
                    Fit::NoMore => return None,
                }
            }
            if visits >= stint.visits_max || looks >= stint.looks_max {
                return Some(stored.topic());
            }
        }
        None
    }
}

/// How a stored topic stands to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Matches,
    /// It does not match, and neither does any topic between it and the target.
    NotBeforeTarget,
    /// Neither it nor any topic after it matches.
    NoMore,
}

/// What all matches of a filter begin with.
fn literal_prefix(filter: &str) -> &str {
    let wildcard = memchr::memchr2(b'+', b'#', filter.as_bytes()).unwrap_or(filter.len());
    let prefix = &filter[..wildcard];
    // `a/#` matches `a` as well.
    if filter[wildcard..].starts_with('#') { prefix.strip_suffix('/').unwrap_or(prefix) } else { prefix }
}

/// Compares a topic with a filter; where it does not match, sets the target to the least text after it that could.
fn fit(filter: &str, key: &[u8], target: &mut Vec<u8>) -> Fit {
    // `$` is the least character of the names that a leading wildcard does not match. [MQTT-4.7.2-1]
    if key[0] == b'$' && matches!(filter.as_bytes()[0], b'+' | b'#') {
        set(target, &[b"%"]);
        return Fit::NotBeforeTarget;
    }
    let mut above = "";
    // Where the level to compare begins; one after the key's end when there are no more.
    let mut at = 0;
    for level in levels(filter) {
        if level == "#" {
            return Fit::Matches;
        }
        if at > key.len() {
            // Too short. What lies below the key may match, but before that comes whatever begins with it and goes on
            // with less than a `/`, which matters where `+` lets it.
            match above {
                "+" => set(target, &[key, b"\x01"]),
                _ => set(target, &[key, b"/"]),
            }
            return Fit::NotBeforeTarget;
        }
        let rest = &key[at..];
        let len = memchr::memchr(b'/', rest).unwrap_or(rest.len());
        if level != "+" && level.as_bytes() != &rest[..len] {
            // The level alone, then what lies below it. Between the two may come what has `-` where the other has `/`.
            set(target, &[&key[..at], level.as_bytes()]);
            if target.as_slice() > key {
                return Fit::NotBeforeTarget;
            }
            target.push(b'/');
            if target.as_slice() > key {
                return Fit::NotBeforeTarget;
            }
            // All that the levels before this one could lead to lies behind.
            return skip_below(&key[..at], target);
        }
        at += len + 1;
        above = level;
    }
    if at > key.len() { Fit::Matches } else { skip_below(&key[..at], target) }
}

/// Passes everything that begins with `prefix`, which is empty or ends with `/`.
fn skip_below(prefix: &[u8], target: &mut Vec<u8>) -> Fit {
    match prefix.split_last() {
        None => Fit::NoMore,
        Some((_, parent)) => {
            // The least text after all that begin with `parent/`.
            set(target, &[parent, &[b'/' + 1]]);
            Fit::NotBeforeTarget
        }
    }
}

fn set(target: &mut Vec<u8>, parts: &[&[u8]]) {
    target.clear();
    parts.iter().for_each(|part| target.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Delivery, Now, QoS};

    fn message(topic: &str, payload: &str) -> Message {
        let delivery = Delivery { qos: QoS::AtMostOnce, retain: true, received: Now(0), expiry: None };
        Message::new(topic, b"", payload.as_bytes(), delivery)
    }

    fn retained(topics: &[&str]) -> Retained {
        let mut retained = Retained::new();
        for topic in topics {
            retained.set(TopicName::trusted(topic), message(topic, "x"));
        }
        retained
    }

    const ALL: Stint = Stint { visits_max: usize::MAX, looks_max: usize::MAX };

    fn walk(retained: &Retained, filter: &str) -> Vec<String> {
        let mut topics = Vec::new();
        let filter = TopicFilter::parse(filter, 128).unwrap();
        let after = retained.walk_some(filter, None, ALL, &mut |topic, message| {
            assert_eq!(message.topic(), topic);
            topics.push(topic.to_owned());
        });
        assert_eq!(after, None);
        topics
    }

    #[test]
    fn setting_and_removing_keep_count_of_bytes() {
        let mut retained = Retained::new();
        let name = TopicName::trusted("a/b");
        let change = |old_size, new_size| RetainedChange { old_size, new_size };
        assert_eq!(retained.set(name, message("a/b", "four")), change(None, 7));
        assert_eq!(retained.set(name, message("a/b", "")), change(Some(7), 3));
        assert_eq!(retained.set(TopicName::trusted("a"), message("a", "1")), change(None, 2));
        assert_eq!((retained.len(), retained.bytes()), (2, 5));
        assert_eq!(retained.exact(name), Some(&message("a/b", "")));
        assert_eq!(retained.remove(name), Some(message("a/b", "")));
        assert_eq!((retained.remove(name), retained.exact(name)), (None, None));
        assert_eq!((retained.len(), retained.bytes(), retained.is_empty()), (1, 2, false));
    }

    #[test]
    fn a_walk_visits_what_the_filter_matches_and_nothing_else() {
        // `-` and `.` sort before `/`, `0` after it.
        let retained = retained(&[
            "a", "a-b", "a-b/c", "a/", "a/b", "a/b-c", "a/b/c", "a/b0", "a0", "a0/b", "/a", "b/b/c",
        ]);
        assert_eq!(walk(&retained, "a/#"), ["a", "a/", "a/b", "a/b-c", "a/b/c", "a/b0"]);
        assert_eq!(walk(&retained, "+"), ["a", "a-b", "a0"]);
        assert_eq!(walk(&retained, "a/+"), ["a/", "a/b", "a/b-c", "a/b0"]);
        assert_eq!(walk(&retained, "+/b"), ["a/b", "a0/b"]);
        assert_eq!(walk(&retained, "+/b/#"), ["a/b", "a/b/c", "a0/b", "b/b/c"]);
        assert_eq!(walk(&retained, "+/+/c"), ["a/b/c", "b/b/c"]);
        assert_eq!(walk(&retained, "/+"), ["/a"]);
        assert_eq!(walk(&retained, "a-b/#"), ["a-b", "a-b/c"]);
        assert_eq!(walk(&retained, "a/b"), ["a/b"]);
        assert_eq!(walk(&retained, "#").len(), 12);
        assert!(walk(&retained, "c/#").is_empty() && walk(&retained, "a/b/c/+").is_empty());
    }

    #[test]
    fn leading_wildcards_do_not_see_topics_that_start_with_dollar_mqtt_4_7_2_1() {
        let retained = retained(&["!", "%", "$", "$SYS/a", "$x", "a"]);
        assert_eq!(walk(&retained, "#"), ["!", "%", "a"]);
        assert_eq!(walk(&retained, "+/a"), [""; 0]);
        assert_eq!(walk(&retained, "$SYS/#"), ["$SYS/a"]);
        assert_eq!(walk(&retained, "$SYS/+"), ["$SYS/a"]);
    }

    #[test]
    fn a_walk_goes_on_after_a_topic_that_was_removed_meanwhile() {
        let mut retained = retained(&["a/1", "a/2", "a/3", "a/4", "b"]);
        let filter = TopicFilter::parse("a/+", 128).unwrap();
        let mut seen: Vec<String> = Vec::new();
        let mut visit = |topic: &str, _: &Message| seen.push(topic.to_owned());
        let two = Stint { visits_max: 2, ..ALL };
        assert_eq!(retained.walk_some(filter, None, two, &mut visit), Some("a/2"));
        retained.remove(TopicName::trusted("a/2"));
        retained.set(TopicName::trusted("a/1-"), message("a/1-", "too late"));
        retained.set(TopicName::trusted("a/2-"), message("a/2-", "in time"));
        assert_eq!(retained.walk_some(filter, Some("a/2"), two, &mut visit), Some("a/3"));
        assert_eq!(retained.walk_some(filter, Some("a/3"), two, &mut visit), None);
        assert_eq!(seen, ["a/1", "a/2", "a/2-", "a/3", "a/4"]);
    }

    #[test]
    fn an_exact_filter_visits_its_topic_once() {
        let retained = retained(&["a"]);
        let filter = TopicFilter::parse("a", 128).unwrap();
        let mut visits = 0;
        for after in [None, Some("a"), Some("b"), Some("A")] {
            assert_eq!(retained.walk_some(filter, after, ALL, &mut |_, _| visits += 1), None);
        }
        assert_eq!(visits, 2);
    }

    #[test]
    fn topics_between_two_matches_are_skipped() {
        let topics: Vec<_> =
            (0..100).flat_map(|i| (0..100).map(move |j| format!("{i:02}/{j:02}/x"))).collect();
        let retained = retained(&topics.iter().map(String::as_str).collect::<Vec<_>>());
        let filter = TopicFilter::parse("+/50/#", 128).unwrap();
        let mut visits = 0;
        let stint = Stint { visits_max: 1_000, looks_max: 2_500 };
        assert_eq!(retained.walk_some(filter, None, stint, &mut |_, _| visits += 1), None);
        assert_eq!(visits, 100);
    }
}
