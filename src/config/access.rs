//! `[[user]]`, `[[auth]]`, `[acl]` and `[logins]`: who may come in, and do what.

use super::raw::Section;
use super::show::{number, number_or, quoted, user_table};
use crate::access::{AccessSettings, BackEndSettings, LoginSettings};
use crate::sasl::{self, Users, Verifier};
use crate::types::Span;
use std::fmt::{self, Formatter};
use std::path::PathBuf;

/// Reads all tables that are about it.
pub(super) fn read(top: &mut Section<'_, '_>, access: &mut AccessSettings) {
    top.tables("user", |section| user(section, &mut access.users));
    top.tables("auth", |section| access.back_ends.extend(back_end(section)));
    top.table("acl", |mut section| {
        let mut file = None;
        section.text("file", "the path of an ACL file", &mut file);
        section.require("file", "FILE");
        section.finish();
        access.acl = file.map(|file| PathBuf::from(&*file));
    });
    top.table("logins", |section| logins(section, &mut access.logins));
}

fn user(mut section: Section<'_, '_>, users: &mut Users) {
    let verifier = section.value("scram_sha_256", |value| {
        let text = value.as_str().ok_or(sasl::BadVerifier::Form)?;
        text.parse::<Verifier>()
    });
    section.require("scram_sha_256", "SCRAM-SHA-256$...");
    section.require("name", "...");
    section.value("name", |value| {
        let name = value.as_str().ok_or("a name").map_err(str::to_owned)?;
        let added = verifier.clone().map_or(Ok(()), |verifier| users.add(name, verifier));
        added.map_err(|bad| bad.to_string())
    });
    section.finish();
}

fn back_end(mut section: Section<'_, '_>) -> Option<BackEndSettings> {
    let mut file = None;
    section.text("password_file", "the path of a password file", &mut file);
    section.require("password_file", "FILE");
    section.finish();
    file.map(|file| BackEndSettings::PasswordFile(PathBuf::from(&*file)))
}

fn logins(mut section: Section<'_, '_>, logins: &mut LoginSettings) {
    section.number_or("threads", "auto", 1..=256, &mut logins.threads);
    section.number("waiting_max", 1..=1 << 20, &mut logins.waiting_max);
    let mut remembered_s = logins.remembered.as_secs();
    section.number("remembered_s", 0..=86_400, &mut remembered_s);
    logins.remembered = Span::from_secs(remembered_s);
    section.finish();
}

/// Writes them.
pub(super) fn show(f: &mut Formatter<'_>, access: &AccessSettings) -> fmt::Result {
    // In full, so that a new setting does not compile until it is shown.
    let AccessSettings { users, back_ends, logins, acl } = access;
    for (name, verifier) in users.iter() {
        write!(f, "\n{}", user_table(name, verifier))?;
    }
    for back_end in back_ends {
        writeln!(f, "\n[[auth]]")?;
        match back_end {
            BackEndSettings::PasswordFile(path) => {
                writeln!(f, "password_file = {}", quoted(&path.to_string_lossy()))?;
            }
        }
    }
    if let Some(path) = acl {
        writeln!(f, "\n[acl]\nfile = {}", quoted(&path.to_string_lossy()))?;
    }
    let LoginSettings { threads, waiting_max, remembered } = logins;
    writeln!(f, "\n[logins]")?;
    number_or(f, "threads", threads.map(u64::from), "auto")?;
    number(f, "waiting_max", *waiting_max)?;
    number(f, "remembered_s", remembered.as_secs())
}
