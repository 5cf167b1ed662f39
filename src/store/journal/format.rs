//! What is where in a segment. All numbers are little-endian.
//!
//! ```text
//! segment  0 magic (8)  8 layout (4)  12 checksum of the other 60 bytes (4)  16 store id (16)
//!         32 first group (8)  40 checksum of the group before it (4)  44 1 if the file was used before (4)
//!         48 length of the file (8)  56 zeros (8)
//! group    0 length of the payload (4)  4 checksum of the other 28 bytes (4)  8 number (8)
//!         16 last group known to be on disk (8)  24 checksum of the group before it (4)  28 of the payload (4)
//!         32 payload, then zeros up to a multiple of 8
//! ```
//!
//! Every layout to come keeps the first 16 bytes of a segment and the length of its header, so that an older broker
//! can tell a newer layout from damage. A group's checksum is that of its header, which holds that of its payload; a
//! segment's first group names the checksum of the segment's header as that of the group before it.

/// Bytes before the first group.
pub(super) const SEGMENT_HEADER: usize = 64;
/// Bytes before a payload.
pub(super) const GROUP_HEADER: usize = 32;
/// Where a group can begin.
pub(super) const ALIGN: usize = 8;
/// This layout.
pub(super) const LAYOUT: u32 = 1;
/// Stands for a group that is not there or does not count.
pub(super) const NO_CHAIN: u32 = 0;

const MAGIC: [u8; 8] = *b"pantala\n";
const SUFFIX: &str = ".journal";

/// The name of the segment that begins with a group.
pub(super) fn segment_name(first: u64) -> String {
    format!("{first:016x}{SUFFIX}")
}

/// The first group of the segment of that name, if it is one.
pub(super) fn segment_first(name: &str) -> Option<u64> {
    let first = u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (segment_name(first) == name).then_some(first)
}

/// What a group with a payload of `length` takes.
pub(super) fn group_bytes(length: u32) -> u64 {
    (GROUP_HEADER as u64 + u64::from(length)).next_multiple_of(ALIGN as u64)
}

/// How a segment begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) layout: u32,
    pub(super) store_id: u128,
    pub(super) first: u64,
    /// The checksum of the group before the first, [`NO_CHAIN`] if that one cannot be checked.
    pub(super) previous: u32,
    /// Whether bytes behind the last group may be those of an older segment.
    pub(super) recycled: bool,
    pub(super) length: u64,
}

impl SegmentHeader {
    /// The bytes, and their checksum.
    pub(super) fn encode(&self) -> ([u8; SEGMENT_HEADER], u32) {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.layout.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store_id.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.previous.to_le_bytes());
        bytes[44..48].copy_from_slice(&u32::from(self.recycled).to_le_bytes());
        bytes[48..56].copy_from_slice(&self.length.to_le_bytes());
        let checksum = checksum_around(&bytes, 12, 0);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// The header and its checksum, if it is whole.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let bytes: &[u8; SEGMENT_HEADER] = bytes.first_chunk()?;
        let checksum = u32_at(bytes, 12);
        if bytes[..8] != MAGIC || checksum_around(bytes, 12, 0) != checksum {
            return None;
        }
        let header = Self {
            layout: u32_at(bytes, 8),
            store_id: u128::from(u64_at(bytes, 16)) | u128::from(u64_at(bytes, 24)) << 64,
            first: u64_at(bytes, 32),
            previous: u32_at(bytes, 40),
            recycled: u32_at(bytes, 44) != 0,
            length: u64_at(bytes, 48),
        };
        Some((header, checksum))
    }
}

/// How a group begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub(super) length: u32,
    pub(super) number: u64,
    /// The last group known to be on disk when this one was written.
    pub(super) durable: u64,
    /// The checksum of the group before it.
    pub(super) previous: u32,
    pub(super) payload: u32,
}

impl GroupHeader {
    pub(super) fn new(
        store_id: u128,
        payload: &[u8],
        number: u64,
        durable: u64,
        previous: u32,
        length: u32,
    ) -> Self {
        Self { length, number, durable, previous, payload: checksum(store_id, payload) }
    }

    /// Puts the whole group in `into`; returns its checksum.
    pub(super) fn write(&self, into: &mut Vec<u8>, payload: &[u8], store_id: u128) -> u32 {
        let mut header = [0; GROUP_HEADER];
        header[..4].copy_from_slice(&self.length.to_le_bytes());
        header[8..16].copy_from_slice(&self.number.to_le_bytes());
        header[16..24].copy_from_slice(&self.durable.to_le_bytes());
        header[24..28].copy_from_slice(&self.previous.to_le_bytes());
        header[28..32].copy_from_slice(&self.payload.to_le_bytes());
        let checksum = checksum_around(&header, 4, seed(store_id));
        header[4..8].copy_from_slice(&checksum.to_le_bytes());
        into.clear();
        into.extend_from_slice(&header);
        into.extend_from_slice(payload);
        into.resize(into.len().next_multiple_of(ALIGN), 0);
        checksum
    }

    /// The header and its checksum, if it is whole.
    pub(super) fn decode(bytes: &[u8], store_id: u128) -> Option<(Self, u32)> {
        let bytes: &[u8; GROUP_HEADER] = bytes.first_chunk()?;
        let checksum = u32_at(bytes, 4);
        if checksum_around(bytes, 4, seed(store_id)) != checksum {
            return None;
        }
        let header = Self {
            length: u32_at(bytes, 0),
            number: u64_at(bytes, 8),
            durable: u64_at(bytes, 16),
            previous: u32_at(bytes, 24),
            payload: u32_at(bytes, 28),
        };
        Some((header, checksum))
    }
}

/// The checksum of a payload of this store.
pub(super) fn checksum(store_id: u128, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed(store_id));
    hasher.update(payload);
    hasher.finalize()
}

/// The number in a group's header, before its checksum is looked at.
pub(super) fn number_in(bytes: &[u8]) -> u64 {
    u64_at(bytes, 8)
}

fn seed(store_id: u128) -> u32 {
    crc32fast::hash(&store_id.to_le_bytes())
}

/// The checksum of a header without the four bytes at `at`, where it goes.
fn checksum_around(bytes: &[u8], at: usize, seed: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&bytes[..at]);
    hasher.update(&bytes[at + 4..]);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
