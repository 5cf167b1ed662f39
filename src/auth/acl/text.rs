//! Texts with gaps: a level with `%u` or `%c` in it, and a value with `*` in it.

/// What `%u` and `%c` stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) client: &'a str,
}

/// A level of a pattern with at least one placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Box<[Part]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    User,
    Client,
}

impl Template {
    /// A level as a template; `None` when it has no placeholder.
    pub(super) fn of(level: &str) -> Option<Self> {
        let (mut parts, mut rest) = (Vec::new(), level);
        while let Some(at) = placeholder(rest) {
            if at > 0 {
                parts.push(Part::Text(rest[..at].into()));
            }
            parts.push(if rest[at..].starts_with("%u") { Part::User } else { Part::Client });
            rest = &rest[at + 2..];
        }
        if parts.is_empty() {
            return None;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Some(Self(parts.into()))
    }

    pub(super) fn has_user(&self) -> bool {
        self.0.contains(&Part::User)
    }

    pub(super) fn has_client(&self) -> bool {
        self.0.contains(&Part::Client)
    }

    /// Whether the file itself, and not a client's name, makes it begin with `$`.
    pub(super) fn is_system(&self) -> bool {
        matches!(self.0.first(), Some(Part::Text(text)) if text.starts_with('$'))
    }

    /// Whether it stands for this level. It stands for none when the client has no name that it needs.
    pub(super) fn matches(&self, level: &str, names: Names<'_>) -> bool {
        let rest = self.0.iter().try_fold(level, |rest, part| rest.strip_prefix(part.text(names)?));
        rest == Some("")
    }

    /// The level that it stands for.
    pub(super) fn filled(&self, names: Names<'_>) -> Option<String> {
        self.0.iter().map(|part| part.text(names)).collect()
    }
}

impl Part {
    fn text<'a>(&'a self, names: Names<'a>) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::User => names.user,
            Self::Client => Some(names.client),
        }
    }
}

fn placeholder(text: &str) -> Option<usize> {
    text.match_indices('%')
        .map(|(at, _)| at)
        .find(|at| text[*at..].starts_with("%u") || text[*at..].starts_with("%c"))
}

/// Whether a text is what `glob` describes: `*` is any text, also none, and everything else is itself.
pub(super) fn matches_glob(glob: &str, text: &str) -> bool {
    let Some((head, tail)) = glob.split_once('*') else { return glob == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut pieces = tail.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        // The first place is as good as any later one, because whatever follows it may be anything.
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (glob, text) in [
            ("*", ""),
            ("*", "a"),
            ("a*", "a"),
            ("a*b", "ab"),
            ("a*b*c", "axbxbyc"),
            ("*b*", "abc"),
            ("a", "a"),
            ("**", ""),
        ] {
            assert!(matches_glob(glob, text), "{glob} is {text}");
        }
        for (glob, text) in
            [("", "a"), ("a*", "ba"), ("a*b", "abc"), ("a*a", "a"), ("a*b*c", "acb"), ("A", "a")]
        {
            assert!(!matches_glob(glob, text), "{glob} is not {text}");
        }
    }

    #[test]
    fn placeholders_stand_for_the_clients_names() {
        let names = Names { user: Some("ann"), client: "c1" };
        for (level, stands_for) in
            [("%u", "ann"), ("x-%c", "x-c1"), ("%u%c", "annc1"), ("%%u-%", "%ann-%"), ("%u.%u", "ann.ann")]
        {
            let template = Template::of(level).expect(level);
            assert_eq!(template.filled(names).as_deref(), Some(stands_for));
            assert!(template.matches(stands_for, names) && !template.matches("ann.", names));
        }
        assert_eq!(Template::of("%x100%"), None);
        let nameless = Names { user: None, client: "c1" };
        let template = Template::of("%u").expect("one");
        assert!(!template.matches("", nameless) && template.filled(nameless).is_none());
    }
}
