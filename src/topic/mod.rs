//! Topics: what a message is published under ([`TopicName`]), what a client asks for ([`TopicFilter`]), and how one core
//! finds who wants what ([`Trie`], [`MatchCache`]) and what was kept ([`Retained`]).
//!
//! Names and filters are different types because they follow different rules: a name has no wildcards, a filter may.
//! Holding one is the proof that its text was checked, so nothing below checks again.
//!
//! Both are read as levels between `/`, compared byte by byte, never normalised [MQTT-4.7.3-4]. A level may be empty:
//! `/a` has two levels and `a//b` three.
//!
//! Runs on: the owning core only. Nothing here reads a clock or draws randomness; hashes are seeded by the caller.
//!
//! The order of a lookup for a message:
//!
//! ```text
//! MatchCache::lookup ── hit ──────────────────────────────────▶ Matches
//!         └─ miss ─▶ Trie ─┬─ exact filters: one hash of the whole name
//!                          └─ wildcard filters: a walk down the tree, one step per level
//! ```

mod arena;
mod cache;
mod exact;
mod filter;
mod matches;
mod name;
mod retained;
mod subscribers;
mod text;
mod tree;
mod trie;
mod wants;

pub use cache::{CacheBounds, MatchCache};
pub use filter::TopicFilter;
pub use matches::{LocalMatch, Matches};
pub use name::TopicName;
pub use retained::{Retained, RetainedChange, Stint};
pub use trie::{Subscribed, Trie, Unsubscribed};
pub use wants::{Subscriber, SubscriptionFlags};

/// Bytes in a topic name or filter at most: its length has 16 bits on the wire. [MQTT-4.7.3-3]
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// What makes a text neither a topic name nor a filter. Clauses are those of 5.0 and, where they differ, of 3.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTopic {
    /// A topic needs at least one character.
    #[error("empty topic [MQTT-4.7.3-1]")]
    Empty,
    /// U+0000.
    #[error("topic contains the null character [MQTT-4.7.3-2]")]
    Nul,
    /// More than [`TOPIC_BYTES_MAX`].
    #[error("topic is longer than 65,535 bytes [MQTT-4.7.3-3]")]
    TooLong,
    /// More bytes than the broker's bound.
    #[error("topic is longer than this broker accepts")]
    TooLongHere,
    /// More levels than the broker's bound; the standard sets none.
    #[error("topic has more levels than this broker accepts")]
    TooManyLevels,
    /// `+` or `#` in a topic name.
    #[error("wildcard in a topic name [MQTT-3.3.2-2] [MQTT-4.7.0-1] (3.1.1: [MQTT-4.7.1-1])")]
    WildcardInName,
    /// `#` that is not the last level, or not alone in it.
    #[error("multi-level wildcard is not the whole last level [MQTT-4.7.1-1] (3.1.1: [MQTT-4.7.1-2])")]
    MultiLevelWildcard,
    /// `+` that is not alone in its level.
    #[error("single-level wildcard is not a whole level [MQTT-4.7.1-2] (3.1.1: [MQTT-4.7.1-3])")]
    SingleLevelWildcard,
    /// `$share/` with a group name that is empty or contains a wildcard.
    #[error("share name is empty or contains a wildcard [MQTT-4.8.2-1] [MQTT-4.8.2-2]")]
    ShareName,
    /// `$share/group` without a filter.
    #[error("no topic filter follows the share name [MQTT-4.8.2-2]")]
    ShareWithoutFilter,
}

/// What names and filters have in common.
fn check_text(text: &str, levels_max: u16) -> Result<(), BadTopic> {
    if text.is_empty() {
        return Err(BadTopic::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(BadTopic::TooLong);
    }
    // A text has at most one level more than it has bytes, so most need no counting.
    let levels_max = usize::from(levels_max);
    if text.len() >= levels_max && memchr::memchr_iter(b'/', text.as_bytes()).count() >= levels_max {
        return Err(BadTopic::TooManyLevels);
    }
    Ok(())
}

/// The first level, and what follows its separator; `None` when it was the last one.
fn split_level(text: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'/', text.as_bytes()) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// All levels in order.
fn levels(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (level, after) = split_level(rest?);
        rest = after;
        Some(level)
    })
}

#[cfg(test)]
mod tests;
