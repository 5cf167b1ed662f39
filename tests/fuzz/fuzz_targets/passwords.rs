//! Password files: no bytes make the reader panic, and what was read is written as it was read.
//!
//! `cargo +nightly fuzz run passwords --fuzz-dir tests/fuzz`

#![no_main]

use libfuzzer_sys::fuzz_target;
use pantala::auth::password::{PasswordFile, PasswordHash, remove, set};

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = PasswordFile::parse(bytes) else { return };
    let text = std::str::from_utf8(bytes).expect("a file without faults is text");
    for (name, entry) in file.iter() {
        assert_eq!(entry.password.to_string().parse::<PasswordHash>().as_ref(), Ok(&entry.password));
        let (same, known) = set(text, name, &entry.password, entry.scram.as_ref()).expect("a name that was read");
        assert!(known, "{name:?} is there");
        let same = PasswordFile::parse(same.as_bytes()).expect("what was written");
        assert_eq!(same.iter().len(), file.iter().len());
        let without = remove(text, name).expect("a name that was read");
        assert!(PasswordFile::parse(without.as_bytes()).expect("what was left").get(name).is_none());
    }
});
