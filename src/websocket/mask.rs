//! Masking: every byte that a client sends is combined with one of four. [RFC 6455 5.3]

/// Bytes that are unmasked together; the compiler makes a few vector instructions of them.
const BLOCK: usize = 64;

/// The four bytes of a masking key, turned so that the first is for the next byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mask(pub(super) [u8; 4]);

impl Mask {
    /// The key after so many bytes.
    #[inline]
    fn after(mut self, count: usize) -> Self {
        self.0.rotate_left(count % 4);
        self
    }

    /// Moves everything from `gap` on to the front, unmasked. What is at the end is left as it may be.
    ///
    /// Both in one pass: a block is read before anything is written, and what is written lies before what is not read yet.
    #[inline]
    pub(super) fn shift(&mut self, window: &mut [u8], gap: usize) {
        let len = window.len() - gap;
        let key: [u8; BLOCK] = std::array::from_fn(|at| self.0[at % 4]);
        let mut at = 0;
        while at + BLOCK <= len {
            shift_some::<BLOCK>(window, at, gap, &key);
            at += BLOCK;
        }
        while at + 8 <= len {
            shift_some::<8>(window, at, gap, &key);
            at += 8;
        }
        for rest in at..len {
            window[rest] = window[rest + gap] ^ self.0[rest % 4];
        }
        *self = self.after(len);
    }

    /// Masks or unmasks in place.
    #[inline]
    pub(super) fn apply(&mut self, bytes: &mut [u8]) {
        self.shift(bytes, 0);
    }
}

/// Moves and unmasks `N` bytes.
#[inline]
fn shift_some<const N: usize>(window: &mut [u8], at: usize, gap: usize, key: &[u8; BLOCK]) {
    let mut block = [0; N];
    block.copy_from_slice(&window[at + gap..at + gap + N]);
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    window[at..at + N].copy_from_slice(&block);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_moved_and_unmasked_as_if_one_by_one() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in (0..300).chain([4_096, 5_001]) {
            for gap in [0, 1, 2, 6, 7, 8, 14, 63, 64, 200] {
                let masked: Vec<u8> = (0..len + gap).map(|at| (at * 7 + at / 256).to_le_bytes()[0]).collect();
                let expected: Vec<u8> =
                    masked[gap..].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
                let (mut window, mut mask) = (masked, Mask(key));
                mask.shift(&mut window, gap);
                assert_eq!(&window[..len], expected, "{len} bytes moved by {gap}");
                assert_eq!(mask.0, [0, 1, 2, 3].map(|at| key[(at + len) % 4]), "after {len} bytes");
            }
        }
    }

    #[test]
    fn the_example_of_the_standard_unmasks_rfc_6455_5_7() {
        let mut bytes = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        Mask([0x37, 0xfa, 0x21, 0x3d]).apply(&mut bytes);
        assert_eq!(&bytes, b"Hello");
    }
}
