//! What is wrong with a configuration, in words that say where to look and what to write instead.

use std::fmt;

/// Where a setting was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a file; lines and columns count from 1, columns in characters.
    File {
        /// The file as the operator named it.
        name: String,
        /// The line, 0 when the mistake concerns the file as a whole.
        line: usize,
        /// The column.
        column: usize,
    },
    /// On the command line.
    Argument {
        /// The option with its dashes.
        name: &'static str,
    },
}

impl Place {
    /// The place of a byte of a file's text.
    pub(super) fn of(name: &str, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self::File {
            name: name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line: 0, .. } => f.write_str(name),
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Argument { name } => f.write_str(name),
        }
    }
}

/// One setting that cannot be honoured. Shown as `FILE:LINE:COLUMN: KEY: WHAT IS WRONG`, as compilers do, so that
/// editors can jump there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands.
    pub place: Place,
    /// The whole key (`limits.packet_bytes_max`); empty when the mistake is not about a key.
    pub key: String,
    /// What was given and what was expected.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

/// Everything that is wrong with one configuration, in the order of the file, then of the command line. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub(super) Vec<Mistake>);

impl Mistakes {
    /// The mistakes, one by one.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "{mistake}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 mistake; nothing was started"),
            count => write!(f, "{count} mistakes; nothing was started"),
        }
    }
}

impl std::error::Error for Mistakes {}

/// The known word that `given` most likely stands for, if any is near.
pub(super) fn meant<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = |word: &&str| (strsim::damerau_levenshtein(given, word), !shares_word(given, word));
    let best = known.iter().copied().min_by_key(near)?;
    let distance = strsim::damerau_levenshtein(given, best);
    // A third of the letters wrong is still the same word to a person; `packet_max` for `packet_bytes_max` too.
    (distance <= best.len().max(given.len()) / 3 || (shares_word(given, best) && distance <= 8))
        .then_some(best)
}

/// Whether one of the words between underscores is the same.
fn shares_word(a: &str, b: &str) -> bool {
    a.split('_').any(|word| word.len() > 3 && b.split('_').any(|other| other == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a = 1\nünï = 2\n";
        let at = |offset| Place::of("f", text, offset).to_string();
        assert_eq!([at(0), at(4), at(6), at(11), at(99)], ["f:1:1", "f:1:5", "f:2:1", "f:2:4", "f:3:1"]);
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        let known = ["packet_bytes_max", "connect_bytes_max", "connect_timeout_ms", "topic_levels_max"];
        for (given, expected) in [
            ("packet_byte_max", Some("packet_bytes_max")),
            ("packet_max", Some("packet_bytes_max")),
            ("connect_timeout", Some("connect_timeout_ms")),
            ("topics_levels_max", Some("topic_levels_max")),
            ("colour", None),
            ("max", None),
        ] {
            assert_eq!(meant(given, &known), expected, "{given}");
        }
        assert_eq!(meant("anything", &[]), None);
    }
}
