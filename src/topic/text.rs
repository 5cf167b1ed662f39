//! A short text without an allocation: most levels are short words, most filters fit into part of a cache line, and
//! there may be millions of either.

use std::fmt;

/// Up to `N` bytes of text lie in it, a longer text on the heap.
pub(super) enum Text<const N: usize> {
    Short {
        len: u8,
        bytes: [u8; N],
    },
    /// Boxed twice: a thin pointer needs no more room than a few bytes of short text.
    Long(Box<Box<[u8]>>),
}

const _: () =
    assert!(size_of::<Text<14>>() == 16 && size_of::<Text<38>>() == 40, "two bytes beside the text");

impl<const N: usize> Text<N> {
    pub(super) fn new(text: &[u8]) -> Self {
        match u8::try_from(text.len()) {
            Ok(len) if text.len() <= N => {
                let mut bytes = [0; N];
                bytes[..text.len()].copy_from_slice(text);
                Self::Short { len, bytes }
            }
            _ => Self::Long(Box::new(text.into())),
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(text) => text,
        }
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.as_bytes()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_comes_back_as_it_was() {
        for len in [0, 1, 13, 14, 15, 255, 256, 65_535] {
            let text = "x".repeat(len);
            assert_eq!(Text::<14>::new(text.as_bytes()).as_bytes(), text.as_bytes());
        }
    }
}
