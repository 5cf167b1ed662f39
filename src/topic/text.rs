//! The text of one level, small: most levels are short words, and there may be millions of them.

use std::fmt;

const SHORT_MAX: usize = 14;

/// 16 bytes; up to 14 bytes of text lie in it, longer texts on the heap behind a thin pointer.
pub(super) enum Text {
    Short {
        len: u8,
        bytes: [u8; SHORT_MAX],
    },
    /// Boxed twice: a thin pointer is what keeps this type at 16 bytes.
    Long(Box<Box<[u8]>>),
}

const _: () = assert!(size_of::<Text>() == 16, "each node of the tree holds one");

impl Text {
    pub(super) fn new(text: &[u8]) -> Self {
        match u8::try_from(text.len()) {
            Ok(len) if text.len() <= SHORT_MAX => {
                let mut bytes = [0; SHORT_MAX];
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

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.as_bytes()).fmt(f)
    }
}
