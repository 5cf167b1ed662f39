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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_other_character_may_stand_in_a_name_mqtt_4_7_3_4() {
        for text in
            ["a", "/", "//", "a//b", "/a", "a/", "$SYS/x", "Accounts payable", "日本/é", "a*b!", "\u{1}"]
        {
            assert_eq!(TopicName::parse(text, 128).map(TopicName::as_str), Ok(text));
        }
    }

    #[test]
    fn wildcards_and_nul_are_refused_wherever_they_stand_mqtt_4_7_0_1() {
        for text in ["+", "#", "a/+", "a/#/b", "a+", "#a", "a/b+c/d"] {
            assert_eq!(TopicName::parse(text, 128), Err(BadTopic::WildcardInName), "{text}");
        }
        assert_eq!(TopicName::parse("a\0b", 128), Err(BadTopic::Nul));
    }

    #[test]
    fn a_name_has_one_byte_at_least_and_65_535_at_most_mqtt_4_7_3_3() {
        assert_eq!(TopicName::parse("", 128), Err(BadTopic::Empty));
        let text = "x".repeat(65_536);
        assert_eq!(TopicName::parse(&text, 128), Err(BadTopic::TooLong));
        assert!(TopicName::parse(&text[1..], 128).is_ok());
    }

    #[test]
    fn levels_are_counted_up_to_the_bound() {
        assert!(TopicName::parse("a/b/c", 3).is_ok());
        assert!(TopicName::parse("//", 3).is_ok());
        assert_eq!(TopicName::parse("a/b/c/d", 3), Err(BadTopic::TooManyLevels));
        assert_eq!(TopicName::parse("///", 3), Err(BadTopic::TooManyLevels));
        assert!(TopicName::parse("a long name without levels", 1).is_ok());
        assert!(TopicName::parse(&"/".repeat(65_534), 65_535).is_ok());
    }

    #[test]
    fn the_first_level_ends_at_the_first_separator() {
        for (text, first) in [("a", "a"), ("a/b/c", "a"), ("/a", ""), ("$SYS/x", "$SYS")] {
            assert_eq!(TopicName::trusted(text).first_level(), first);
        }
        assert!(TopicName::trusted("$SYS").is_system() && !TopicName::trusted("a$").is_system());
    }
}
