//! Topic names: what a message is published under.

use super::{BadTopic, check_text, split_level};
use std::fmt;

/// A valid topic name, borrowed. Holding one is proof that it is not empty, within its bounds and free of wildcards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks a text. `levels_max` is the broker's own bound, not the standard's.
    ///
    /// # Errors
    /// What makes it no topic name, with the clause.
    pub fn parse(text: &'a str, levels_max: u16) -> Result<Self, BadTopic> {
        check_text(text, levels_max)?;
        match memchr::memchr3(b'+', b'#', 0, text.as_bytes()).map(|at| text.as_bytes()[at]) {
            None => Ok(Self(text)),
            Some(0) => Err(BadTopic::Nul),
            Some(_) => Err(BadTopic::WildcardInName),
        }
    }

    /// Takes a text that came out of a topic name before.
    pub fn trusted(text: &'a str) -> Self {
        debug_assert!(Self::parse(text, u16::MAX).is_ok(), "not a topic name: {text:?}");
        Self(text)
    }

    /// The name as text.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether it starts with `$`, which hides it from filters that start with a wildcard. [MQTT-4.7.2-1]
    pub fn is_system(self) -> bool {
        self.0.as_bytes()[0] == b'$'
    }

    /// What stands before the first `/`; empty when the name starts with one.
    pub fn first_level(self) -> &'a str {
        split_level(self.0).0
    }
}

impl fmt::Debug for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
