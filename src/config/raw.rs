//! What a TOML file says: typed values out of tables, and a [`Mistake`] for everything that cannot be used. Reading
//! goes on after a mistake, so that one run names them all.
//!
//! Invariant: a key is known exactly if it was asked for before [`Section::finish`].

use super::mistake::{Mistake, Place, meant};
use std::fmt::Display;
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

/// A UTF-8 encoded string of MQTT has 16 bits of length. [MQTT 1.5.4]
const TEXT_BYTES_MAX: usize = 65_535;

/// One file's text, and what is wrong with it so far.
#[derive(Debug)]
pub(super) struct Document<'f> {
    name: &'f str,
    text: &'f str,
    /// With the byte at which each stands.
    mistakes: Vec<(usize, Mistake)>,
    /// Lines that are not TOML. What the parser makes of the rest of such a line is nobody's mistake.
    broken_lines: Vec<usize>,
}

impl<'f> Document<'f> {
    /// Parses a file's text. What is not TOML becomes mistakes; the rest of the file is there all the same.
    pub(super) fn parse(name: &'f str, text: &'f str) -> (Self, Spanned<DeTable<'f>>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut document = Self { name, text, mistakes: Vec::new(), broken_lines: Vec::new() };
        for error in &errors {
            document.syntax(error);
        }
        (document, table)
    }

    fn syntax(&mut self, error: &Error) {
        let at = error.span().map_or(0, |span| span.start);
        let line = self.line(at);
        // One slip can upset the parser more than once on its line; the first complaint is the one that helps.
        if !self.broken_lines.contains(&line) {
            let message = error.message().trim_end_matches(", expected nothing");
            self.add(at, String::new(), format!("not TOML: {message}"));
            self.broken_lines.push(line);
        }
    }

    fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before.iter().filter(|&&byte| byte == b'\n').count()
    }

    fn is_broken_from(&self, at: usize) -> bool {
        let line = self.line(at);
        self.broken_lines.iter().any(|&broken| broken >= line)
    }

    fn add(&mut self, at: usize, key: String, problem: String) {
        if self.broken_lines.contains(&self.line(at)) {
            return;
        }
        let place = Place::of(self.name, self.text, at);
        self.mistakes.push((at, Mistake { place, key, problem }));
    }

    /// The source text of a value, short enough for a message.
    fn source(&self, value: &Spanned<DeValue<'_>>) -> String {
        let text = self.text.get(value.span()).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        match value.get_ref() {
            DeValue::Table(_) => "a table".to_owned(),
            DeValue::Array(_) if line != text => "an array".to_owned(),
            _ if line != text || line.chars().count() > 60 => {
                format!("{}...", line.chars().take(57).collect::<String>())
            }
            _ => text.to_owned(),
        }
    }

    /// Everything that is wrong, in the file's order.
    pub(super) fn into_mistakes(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by_key(|(at, _)| *at);
        self.mistakes.into_iter().map(|(_, mistake)| mistake).collect()
    }
}

/// A table of the file while its keys are read.
#[derive(Debug)]
pub(super) struct Section<'s, 'f> {
    document: &'s mut Document<'f>,
    table: &'s DeTable<'f>,
    /// The byte where the table stands.
    at: usize,
    /// The table's own key; empty at the top.
    path: &'static str,
    known: Vec<&'static str>,
}

impl<'s, 'f> Section<'s, 'f> {
    /// The table of a whole file.
    pub(super) fn top(document: &'s mut Document<'f>, table: &'s DeTable<'f>) -> Self {
        Self { document, table, at: 0, path: "", known: Vec::new() }
    }

    /// Reads the table under `key`, when there is one.
    pub(super) fn table(&mut self, key: &'static str, read: impl FnOnce(Section<'_, 'f>)) {
        let Some(value) = self.find(key) else { return };
        match value.get_ref() {
            DeValue::Table(table) => read(self.inner(key, value, table)),
            _ => self.refuse(key, value, &format!("a table: [{key}]")),
        }
    }

    /// Reads each table of the array under `key`; whether the key was there.
    pub(super) fn tables(&mut self, key: &'static str, mut read: impl FnMut(Section<'_, 'f>)) -> bool {
        let Some(value) = self.find(key) else { return false };
        let expected = format!("one table for each: [[{key}]]");
        let Some(items) = value.get_ref().as_array().filter(|items| !items.is_empty()) else {
            self.refuse(key, value, &expected);
            return true;
        };
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => read(self.inner(key, item, table)),
                _ => self.refuse(key, item, &expected),
            }
        }
        true
    }

    fn inner(
        &mut self,
        path: &'static str,
        value: &Spanned<DeValue<'f>>,
        table: &'s DeTable<'f>,
    ) -> Section<'_, 'f> {
        Section { document: self.document, table, at: value.span().start, path, known: Vec::new() }
    }

    /// Reads a value, if the key is there. `read` says what it expected when it cannot use what it is given.
    pub(super) fn value<T, E: Display>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.find(key)?;
        match read(value.get_ref()) {
            Ok(read) => Some(read),
            Err(expected) => {
                self.refuse(key, value, &expected.to_string());
                None
            }
        }
    }

    /// Reads a whole number within `range` into `target`; whether it was there and good.
    pub(super) fn number<T>(&mut self, key: &'static str, range: RangeInclusive<u64>, target: &mut T) -> bool
    where
        T: TryFrom<u64>,
    {
        let read = |value: &DeValue<'_>| within(value, &range).ok_or_else(|| expected_number(key, &range));
        self.value(key, read).map(|number| *target = number).is_some()
    }

    /// The same where `word` stands for no number.
    pub(super) fn number_or<T>(
        &mut self,
        key: &'static str,
        word: &str,
        range: RangeInclusive<u64>,
        target: &mut Option<T>,
    ) where
        T: TryFrom<u64>,
    {
        let read = |value: &DeValue<'_>| {
            if value.as_str() == Some(word) {
                return Ok(None);
            }
            let number = within(value, &range).map(Some);
            number.ok_or_else(|| format!("{}, or \"{word}\"", expected_number(key, &range)))
        };
        if let Some(number) = self.value(key, read) {
            *target = number;
        }
    }

    /// Reads one of a few words into `target`.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)], target: &mut T) {
        let read = |value: &DeValue<'_>| {
            let found = words.iter().find(|(word, _)| value.as_str() == Some(word));
            found.map(|(_, meaning)| *meaning).ok_or_else(|| format!("one of {}", quoted(words)))
        };
        if let Some(choice) = self.value(key, read) {
            *target = choice;
        }
    }

    /// Reads true or false into `target`; whether it was there and good.
    pub(super) fn flag(&mut self, key: &'static str, target: &mut bool) -> bool {
        let read = |value: &DeValue<'_>| value.as_bool().ok_or("true or false");
        self.value(key, read).map(|flag| *target = flag).is_some()
    }

    /// Reads a text that MQTT can carry into `target`. `expected` says what it is.
    pub(super) fn text(&mut self, key: &'static str, expected: &str, target: &mut Option<Box<str>>) {
        let fits = |text: &&str| (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.contains('\0');
        let read = |value: &DeValue<'_>| value.as_str().filter(fits).map(Into::into).ok_or(expected);
        if let Some(text) = self.value(key, read) {
            *target = Some(text);
        }
    }

    /// Reads a list of texts. `take` says whether it could use them, and `expected` what it could have used.
    pub(super) fn list(
        &mut self,
        key: &'static str,
        expected: &str,
        take: impl FnOnce(&[&str]) -> Option<()>,
    ) {
        self.value(key, |value| {
            let items = value.as_array().ok_or(expected)?;
            let texts: Option<Vec<_>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            texts.and_then(|texts| take(&texts)).ok_or(expected)
        });
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// Refuses a table without `key`.
    pub(super) fn require(&mut self, key: &'static str, expected: &str) {
        // The key may stand on a line that could not be read.
        if self.find(key).is_none() && !self.document.is_broken_from(self.at) {
            self.complain(self.at, key, &format!("missing, expected {key} = \"{expected}\""));
        }
    }

    /// Notes a mistake about a key of this section that is there.
    pub(super) fn mistake(&mut self, key: &'static str, expected: &str) {
        if let Some(value) = self.find(key) {
            self.refuse(key, value, expected);
        }
    }

    /// Refuses every key that nobody asked for.
    pub(super) fn finish(mut self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let hint = meant(name, &self.known).map_or_else(
                || format!("known here: {}", self.known.join(", ")),
                |word| format!("did you mean {word}?"),
            );
            self.complain(key.span().start, name, &format!("unknown key; {hint}"));
        }
    }

    fn find(&mut self, key: &'static str) -> Option<&'s Spanned<DeValue<'f>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    fn refuse(&mut self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let given = self.document.source(value);
        self.complain(value.span().start, key, &format!("given {given}, expected {expected}"));
    }

    fn complain(&mut self, at: usize, key: &str, problem: &str) {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.document.add(at, format!("{}{dot}{key}", self.path), problem.to_owned());
    }
}

fn within<T: TryFrom<u64>>(value: &DeValue<'_>, range: &RangeInclusive<u64>) -> Option<T> {
    let integer = value.as_integer()?;
    let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    T::try_from(number).ok().filter(|_| range.contains(&number))
}

fn expected_number(key: &str, range: &RangeInclusive<u64>) -> String {
    let unit = match key {
        _ if key.ends_with("_ms") => " of milliseconds",
        _ if key.ends_with("_s") => " of seconds",
        _ if key.contains("_bytes") => " of bytes",
        _ => "",
    };
    format!("a whole number{unit} from {} to {}", grouped(*range.start()), grouped(*range.end()))
}

fn quoted<T>(words: &[(&str, T)]) -> String {
    words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// A number as TOML may have it and people can read it: `16_777_216`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}
