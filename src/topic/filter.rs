//! Topic filters: what a client subscribes to.

use super::{BadTopic, TopicName, check_text, split_level};
use std::fmt;

const SHARE: &str = "$share/";

/// A valid topic filter, borrowed, with or without a `$share/group/` before it. Holding one is proof that its wildcards
/// stand alone in their levels and that `#` comes last.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a> {
    full: &'a str,
    /// Where the filter itself begins: 0, or after `$share/group/`.
    start: usize,
    wildcard: bool,
}

impl<'a> TopicFilter<'a> {
    /// Checks a text. `levels_max` is the broker's own bound, not the standard's; the two levels of `$share/group` do
    /// not count.
    ///
    /// # Errors
    /// What makes it no topic filter, with the clause.
    pub fn parse(full: &'a str, levels_max: u16) -> Result<Self, BadTopic> {
        let start = match share_name(full) {
            None => 0,
            Some((name, _))
                if name.is_empty() || memchr::memchr3(b'+', b'#', 0, name.as_bytes()).is_some() =>
            {
                return Err(BadTopic::ShareName);
            }
            Some((_, None | Some(""))) => return Err(BadTopic::ShareWithoutFilter),
            Some((name, Some(_))) => SHARE.len() + name.len() + 1,
        };
        if full.len() > super::TOPIC_BYTES_MAX {
            return Err(BadTopic::TooLong);
        }
        let text = &full[start..];
        check_text(text, levels_max)?;
        Ok(Self { full, start, wildcard: check_wildcards(text.as_bytes())? })
    }

    /// Takes a text that came out of [`full`](Self::full) or [`as_str`](Self::as_str) before.
    pub fn trusted(full: &'a str) -> Self {
        debug_assert!(Self::parse(full, u16::MAX).is_ok(), "not a topic filter: {full:?}");
        let start = share_name(full).map_or(0, |(name, _)| SHARE.len() + name.len() + 1);
        let wildcard = memchr::memchr2(b'+', b'#', &full.as_bytes()[start..]).is_some();
        Self { full, start, wildcard }
    }

    /// The filter without `$share/group/`: what is compared with topic names.
    pub fn as_str(self) -> &'a str {
        &self.full[self.start..]
    }

    /// The filter as the client wrote it.
    pub fn full(self) -> &'a str {
        self.full
    }

    /// The group of a shared subscription. [MQTT-4.8.2-1]
    pub fn share_group(self) -> Option<&'a str> {
        (self.start > 0).then(|| &self.full[SHARE.len()..self.start - 1])
    }

    /// Whether it contains `+` or `#`. Without one it matches the topic name of the same text and no other.
    pub fn has_wildcard(self) -> bool {
        self.wildcard
    }

    /// Whether its first level is a wildcard, which hides names that start with `$` from it. [MQTT-4.7.2-1]
    pub fn starts_with_wildcard(self) -> bool {
        matches!(self.as_str().as_bytes()[0], b'+' | b'#')
    }

    /// Whether it matches a topic name, by comparing level by level.
    pub fn matches(self, name: TopicName<'_>) -> bool {
        if !self.wildcard {
            return self.as_str() == name.as_str();
        }
        if name.is_system() && self.starts_with_wildcard() {
            return false;
        }
        let (mut filter, mut name) = (Some(self.as_str()), Some(name.as_str()));
        while let Some(wanted) = filter {
            let (wanted, further) = split_level(wanted);
            if wanted == "#" {
                // Also the parent of the levels that it stands for: `a/#` matches `a`.
                return true;
            }
            let Some(given) = name else { return false };
            let (given, rest) = split_level(given);
            if wanted != "+" && wanted != given {
                return false;
            }
            (filter, name) = (further, rest);
        }
        name.is_none()
    }
}

/// The group's name in a `$share/` filter and what follows the separator behind it.
fn share_name(full: &str) -> Option<(&str, Option<&str>)> {
    full.strip_prefix(SHARE).map(split_level)
}

/// Whether there are wildcards, all of them where they may stand.
fn check_wildcards(text: &[u8]) -> Result<bool, BadTopic> {
    let mut wildcard = false;
    for at in memchr::memchr3_iter(b'+', b'#', 0, text) {
        let starts_level = at == 0 || text[at - 1] == b'/';
        let after = text.get(at + 1);
        match text[at] {
            b'+' if starts_level && matches!(after, None | Some(b'/')) => wildcard = true,
            b'+' => return Err(BadTopic::SingleLevelWildcard),
            b'#' if starts_level && after.is_none() => wildcard = true,
            b'#' => return Err(BadTopic::MultiLevelWildcard),
            _ => return Err(BadTopic::Nul),
        }
    }
    Ok(wildcard)
}

impl fmt::Debug for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.full.fmt(f)
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.full.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TopicFilter<'_>, BadTopic> {
        TopicFilter::parse(text, 128)
    }

    fn matches(filter: &str, name: &str) -> bool {
        parse(filter).unwrap().matches(TopicName::parse(name, 128).unwrap())
    }

    #[test]
    fn multi_level_wildcard_matches_its_parent_and_all_below_mqtt_4_7_1_2() {
        let below = "sport/tennis/player1/#";
        for name in
            ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"]
        {
            assert!(matches(below, name), "{name}");
        }
        assert!(!matches(below, "sport/tennis/player10") && !matches(below, "sport/tennis"));
        assert!(matches("sport/#", "sport") && matches("#", "a") && matches("#", "/") && matches("/#", "/a"));
        assert!(matches("sport/tennis/#", "sport/tennis/"));
    }

    #[test]
    fn single_level_wildcard_matches_one_level_mqtt_4_7_1_3() {
        assert!(matches("sport/tennis/+", "sport/tennis/player1"));
        assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
        assert!(!matches("sport/+", "sport") && matches("sport/+", "sport/"));
        assert!(matches("+/+", "/finance") && matches("/+", "/finance") && !matches("+", "/finance"));
        assert!(matches("+/tennis/#", "sport/tennis") && matches("+/+/+", "//") && matches("a/+/b", "a//b"));
    }

    #[test]
    fn leading_wildcards_do_not_see_names_that_start_with_dollar_mqtt_4_7_2_1() {
        for filter in ["#", "+/monitor/Clients", "+", "+/#"] {
            assert!(!matches(filter, "$SYS/monitor/Clients") && !matches(filter, "$SYS"), "{filter}");
        }
        assert!(matches("$SYS/#", "$SYS/monitor/Clients") && matches("$SYS/#", "$SYS"));
        assert!(matches("$SYS/monitor/+", "$SYS/monitor/Clients") && matches("a/#", "a/$b"));
    }

    #[test]
    fn names_are_compared_as_they_are_mqtt_4_7_3_4() {
        assert!(
            !matches("ACCOUNTS", "Accounts") && !matches("/finance", "finance") && !matches("a/b", "a/b/")
        );
        assert!(matches("é/+", "é/x") && !matches("e\u{301}/+", "é/x"), "no normalisation");
    }

    #[test]
    fn wildcards_stand_alone_and_hash_stands_last_mqtt_4_7_1_1() {
        for text in ["#/a", "a/#/b", "##", "a#", "a/b#", "a/#b", "#/", "/#/"] {
            assert_eq!(parse(text), Err(BadTopic::MultiLevelWildcard), "{text}");
        }
        for text in ["a+", "+a", "sport+", "a/b+/c", "++", "+#", "a/+b"] {
            assert_eq!(parse(text), Err(BadTopic::SingleLevelWildcard), "{text}");
        }
        for text in ["#", "+", "+/+", "/+", "+/", "a/+/#", "/#", "+/a/+/#", "a//#"] {
            assert!(parse(text).unwrap().has_wildcard(), "{text}");
        }
        assert!(!parse("a/b").unwrap().has_wildcard());
        assert_eq!(parse("a\0"), Err(BadTopic::Nul));
        assert_eq!(parse(""), Err(BadTopic::Empty));
    }

    #[test]
    fn a_shared_filter_is_a_group_and_a_filter_mqtt_4_8_2_2() {
        let shared = parse("$share/g/a/+").unwrap();
        assert_eq!(
            (shared.share_group(), shared.as_str(), shared.full()),
            (Some("g"), "a/+", "$share/g/a/+")
        );
        assert!(shared.has_wildcard() && shared.matches(TopicName::trusted("a/b")));
        assert_eq!(TopicFilter::trusted("$share/g/a/+"), shared);
        assert_eq!(parse("$share/g//").unwrap().as_str(), "/");
        for text in ["$share//a", "$share/+/a", "$share/g#/a", "$share/", "$share/a\0b/c"] {
            assert_eq!(parse(text), Err(BadTopic::ShareName), "{text}");
        }
        for text in ["$share/g", "$share/g/"] {
            assert_eq!(parse(text), Err(BadTopic::ShareWithoutFilter), "{text}");
        }
        for text in ["$share", "$shared/g/a", "share/g/a"] {
            assert_eq!(parse(text).unwrap().share_group(), None, "{text}");
        }
    }

    #[test]
    fn the_share_name_does_not_count_as_levels() {
        assert!(TopicFilter::parse("$share/g/a/b", 2).is_ok());
        assert_eq!(TopicFilter::parse("$share/g/a/b/c", 2), Err(BadTopic::TooManyLevels));
        let long = format!("$share/g/{}", "x".repeat(65_530));
        assert_eq!(TopicFilter::parse(&long, 2), Err(BadTopic::TooLong));
    }
}
