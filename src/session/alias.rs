//! Topic aliases: numbers that stand for topics on one connection, each direction on its own. [MQTT 3.3.2.3.4]
//!
//! Both tables end with the connection [MQTT-3.3.2-7] and take no memory until they are used.

use crate::topic::TopicName;
use crate::types::{HashSeed, Map};
use std::num::NonZeroU16;

/// What a client's aliases stand for, by alias minus 1. At most Topic Alias Maximum of them, each as long as a topic.
#[derive(Debug, Default)]
pub struct AliasesIn(Vec<Option<Box<str>>>);

impl AliasesIn {
    /// Lets an alias stand for a topic, also one that stood for another. The caller checks it against the maximum.
    pub fn set(&mut self, alias: NonZeroU16, topic: TopicName<'_>) {
        let index = usize::from(alias.get()) - 1;
        if index >= self.0.len() {
            self.0.resize(index + 1, None);
        }
        if self.0[index].as_deref() != Some(topic.as_str()) {
            self.0[index] = Some(topic.as_str().into());
        }
    }

    /// The topic that an alias stands for; `None` if it was not set on this connection. [MQTT-3.3.2-12]
    pub fn topic(&self, alias: NonZeroU16) -> Option<TopicName<'_>> {
        self.0.get(usize::from(alias.get()) - 1)?.as_deref().map(TopicName::trusted)
    }
}

/// How to name a message's topic to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By itself.
    Topic,
    /// By its alias alone.
    Alias(NonZeroU16),
    /// By itself, and by this alias from now on.
    Assign(NonZeroU16),
}

/// An alias takes three bytes as a property: a topic no longer than that is not worth one.
const WORTHWHILE: usize = 4;

/// No place: the end of the list.
const NONE: u16 = u16::MAX;

/// The aliases that the broker uses towards a client; the least recently used one gets another topic when all are taken.
///
/// Invariant: `places` is a list in the order of use from `newest` to `oldest`, and `by_topic` names each of them.
#[derive(Debug)]
pub struct AliasesOut {
    by_topic: Map<Box<str>, u16>,
    /// By alias minus 1.
    places: Vec<Place>,
    newest: u16,
    oldest: u16,
    max: u16,
}

#[derive(Debug)]
struct Place {
    topic: Box<str>,
    newer: u16,
    older: u16,
}

impl AliasesOut {
    /// For a client that takes `max` aliases.
    pub fn new(max: u16, seed: HashSeed) -> Self {
        Self { by_topic: seed.map(), places: Vec::new(), newest: NONE, oldest: NONE, max }
    }

    /// How to name a topic in the next message. Nothing is changed: [`AliasesOut::sent`] does, once the client is sure to
    /// read it.
    pub fn name(&self, topic: &str) -> Naming {
        if topic.len() < WORTHWHILE || self.max == 0 {
            return Naming::Topic;
        }
        if let Some(&place) = self.by_topic.get(topic) {
            return NonZeroU16::new(place + 1).map_or(Naming::Topic, Naming::Alias);
        }
        let fresh = u16::try_from(self.places.len()).ok().filter(|&len| len < self.max);
        NonZeroU16::new(fresh.unwrap_or(self.oldest) + 1).map_or(Naming::Topic, Naming::Assign)
    }

    /// A message whose topic was named so is on its way.
    pub fn sent(&mut self, topic: &str, naming: Naming) {
        match naming {
            Naming::Topic => {}
            Naming::Alias(alias) => {
                self.unlink(alias.get() - 1);
                self.link(alias.get() - 1);
            }
            Naming::Assign(alias) => {
                let place = alias.get() - 1;
                let entry = Place { topic: topic.into(), newer: NONE, older: NONE };
                if usize::from(place) == self.places.len() {
                    self.places.push(entry);
                } else {
                    self.unlink(place);
                    let before = std::mem::replace(&mut self.places[usize::from(place)], entry);
                    self.by_topic.remove(&before.topic);
                }
                self.by_topic.insert(topic.into(), place);
                self.link(place);
            }
        }
    }

    fn link(&mut self, place: u16) {
        let older = std::mem::replace(&mut self.newest, place);
        let entry = &mut self.places[usize::from(place)];
        (entry.newer, entry.older) = (NONE, older);
        match older {
            NONE => self.oldest = place,
            older => self.places[usize::from(older)].newer = place,
        }
    }

    fn unlink(&mut self, place: u16) {
        let Place { newer, older, .. } = self.places[usize::from(place)];
        match newer {
            NONE => self.newest = older,
            newer => self.places[usize::from(newer)].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.places[usize::from(older)].newer = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Rng;

    fn alias(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    #[test]
    fn an_alias_stands_for_the_topic_that_came_with_it_last() {
        let mut aliases = AliasesIn::default();
        assert_eq!(aliases.topic(alias(3)), None);
        aliases.set(alias(3), TopicName::trusted("a"));
        aliases.set(alias(3), TopicName::trusted("b"));
        assert_eq!(aliases.topic(alias(3)), Some(TopicName::trusted("b")));
        assert_eq!((aliases.topic(alias(2)), aliases.topic(alias(u16::MAX))), (None, None));
    }

    #[test]
    fn an_alias_counts_once_its_message_was_sent() {
        let mut aliases = AliasesOut::new(2, HashSeed(1));
        assert_eq!(aliases.name("topic"), Naming::Assign(alias(1)));
        assert_eq!(aliases.name("topic"), Naming::Assign(alias(1)), "the first did not go out");
        aliases.sent("topic", Naming::Assign(alias(1)));
        assert_eq!(aliases.name("topic"), Naming::Alias(alias(1)));
        assert_eq!(aliases.name("a/b"), Naming::Topic, "as short as an alias");
        assert_eq!(AliasesOut::new(0, HashSeed(1)).name("topic"), Naming::Topic);
    }

    #[test]
    fn the_least_recently_used_alias_gets_another_topic() {
        for seed in 0..20 {
            let (mut rng, max) = (Rng::new(seed), 1 + u16::try_from(seed).unwrap() % 5);
            let mut aliases = AliasesOut::new(max, HashSeed(seed));
            // Topics with their aliases as the client knows them, the least recently used first.
            let mut shadow: Vec<(String, NonZeroU16)> = Vec::new();
            for _ in 0..1_000 {
                let topic = format!("topic/{}", rng.below(8));
                let naming = aliases.name(&topic);
                match shadow.iter().position(|(known, _)| *known == topic) {
                    Some(at) => {
                        let known = shadow.remove(at);
                        assert_eq!(naming, Naming::Alias(known.1), "seed {seed}");
                        shadow.push(known);
                    }
                    None if shadow.len() < usize::from(max) => {
                        let fresh = alias(u16::try_from(shadow.len() + 1).unwrap());
                        assert_eq!(naming, Naming::Assign(fresh), "seed {seed}");
                        shadow.push((topic.clone(), fresh));
                    }
                    None => {
                        let (_, oldest) = shadow.remove(0);
                        assert_eq!(naming, Naming::Assign(oldest), "seed {seed}");
                        shadow.push((topic.clone(), oldest));
                    }
                }
                aliases.sent(&topic, naming);
                assert_eq!(aliases.by_topic.len(), shadow.len());
            }
        }
    }

    #[test]
    fn as_many_aliases_as_the_standard_has_can_be_used() {
        let mut aliases = AliasesOut::new(u16::MAX, HashSeed(1));
        for number in 1..=u16::MAX {
            let topic = format!("topic/{number}");
            assert_eq!(aliases.name(&topic), Naming::Assign(alias(number)));
            aliases.sent(&topic, Naming::Assign(alias(number)));
        }
        assert_eq!(aliases.name("one more"), Naming::Assign(alias(1)));
        assert_eq!(aliases.name("topic/65535"), Naming::Alias(alias(u16::MAX)));
    }
}
