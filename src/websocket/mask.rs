//! Masking: every byte that a client sends is combined with one of four. [RFC 6455 5.3]

/// The four bytes of a masking key as one number, the lowest for the next byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mask(u32);

impl Mask {
    pub(super) fn new(key: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(key))
    }

    /// The key after so many bytes.
    #[inline]
    fn after(self, count: usize) -> Self {
        Self(self.0.rotate_right(8 * u32::from(count.to_le_bytes()[0] % 4)))
    }

    /// The key for eight bytes.
    #[inline]
    fn word(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }

    /// Moves everything from `gap` on to the front, unmasked. What is at the end is left as it may be.
    ///
    /// Both in one pass: a block is read before anything is written, and what is written lies before what is not read yet.
    /// Not inlined, because the compiler then finds no vector instructions for it.
    #[inline(never)]
    pub(super) fn shift(&mut self, window: &mut [u8], gap: usize) {
        let len = window.len() - gap;
        match len {
            64.. => self.shift_by::<8>(window, gap),
            8..64 => self.shift_by::<1>(window, gap),
            _ => {
                let key = self.0.to_le_bytes();
                for at in 0..len {
                    window[at] = window[at + gap] ^ key[at % 4];
                }
            }
        }
        *self = self.after(len);
    }

    /// The same in blocks of `N` words, of which there has to be one. The last one overlaps the one before it, so that there
    /// is no rest to be done byte by byte: that took longer than all of a message of 300 bytes.
    #[inline(always)]
    fn shift_by<const N: usize>(self, window: &mut [u8], gap: usize) {
        let block = 8 * N;
        let end = window.len() - gap - block;
        let last: [u64; N] = load(window, gap + end, self.after(end).word());
        let mut at = 0;
        while at < end {
            let words: [u64; N] = load(window, gap + at, self.word());
            store(window, at, words);
            at += block;
        }
        store(window, end, last);
    }

    /// Masks or unmasks in place.
    pub(super) fn apply(mut self, bytes: &mut [u8]) -> Self {
        self.shift(bytes, 0);
        self
    }
}

#[inline(always)]
fn load<const N: usize>(window: &[u8], at: usize, key: u64) -> [u64; N] {
    let (words, _) = window[at..at + 8 * N].as_chunks();
    std::array::from_fn(|n| u64::from_le_bytes(words[n]) ^ key)
}

#[inline(always)]
fn store<const N: usize>(window: &mut [u8], at: usize, words: [u64; N]) {
    let (chunks, _) = window[at..at + 8 * N].as_chunks_mut();
    for (chunk, word) in chunks.iter_mut().zip(words) {
        *chunk = word.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_moved_and_unmasked_as_if_one_by_one() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in (0..300).chain([4_096, 5_001]) {
            for gap in [0, 1, 2, 6, 7, 8, 14, 63, 64, 200] {
                let masked: Vec<u8> =
                    (0..len + gap).map(|at: usize| (at * 7 + at / 256).to_le_bytes()[0]).collect();
                let expected: Vec<u8> =
                    masked[gap..].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
                let (mut window, mut mask) = (masked, Mask::new(key));
                mask.shift(&mut window, gap);
                assert_eq!(&window[..len], expected, "{len} bytes moved by {gap}");
                assert_eq!(
                    mask.0.to_le_bytes(),
                    [0, 1, 2, 3].map(|at| key[(at + len) % 4]),
                    "after {len} bytes"
                );
            }
        }
    }

    #[test]
    fn the_example_of_the_standard_unmasks_rfc_6455_5_7() {
        let mut bytes = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        Mask::new([0x37, 0xfa, 0x21, 0x3d]).apply(&mut bytes);
        assert_eq!(&bytes, b"Hello");
    }
}
