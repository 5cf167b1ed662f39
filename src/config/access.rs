//! `[[user]]`, `[[auth]]`, `[acl]` and `[logins]`: who may come in, and do what.

use super::raw::Section;
use super::show::{number, number_or, quoted, user_table};
use crate::access::{AccessSettings, BackEndSettings, HttpSettings, LoginSettings};
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

/// One back end: what its table asks decides which.
fn back_end(mut section: Section<'_, '_>) -> Option<BackEndSettings> {
    let (mut file, mut keys, mut url) = (None, None, None);
    section.text("password_file", "the path of a password file", &mut file);
    section.text("jwks_file", "the path of a file of keys, a JSON Web Key Set", &mut keys);
    section.text("http_url", "the URL of a service, such as \"http://127.0.0.1:8080/auth\"", &mut url);
    let given: Vec<&str> = KINDS.into_iter().filter(|key| section.has(key)).collect();
    if given.is_empty() {
        section.require("password_file", "FILE");
    }
    for key in given.into_iter().skip(1) {
        section.mistake(key, "one of password_file, jwks_file and http_url in each [[auth]]");
    }
    let (mut issuer, mut audience) = (None, None);
    section.text("issuer", "the iss that tokens have to have", &mut issuer);
    section.text("audience", "the aud that tokens have to have", &mut audience);
    let mut http = HttpSettings::at(url.as_deref().unwrap_or_default());
    service(&mut section, &mut http);
    for (key, of) in [("issuer", "jwks_file"), ("audience", "jwks_file")] {
        if !section.has(of) {
            section.mistake(key, "jwks_file beside it");
        }
    }
    section.finish();
    let file = file.map(|file| BackEndSettings::PasswordFile(PathBuf::from(&*file)));
    let keys = keys.map(|keys| {
        let file = PathBuf::from(&*keys);
        BackEndSettings::Tokens { file, issuer, audience }
    });
    file.or(keys).or_else(|| url.map(|_| BackEndSettings::Http(http)))
}

/// What decides of which kind a back end is.
const KINDS: [&str; 3] = ["password_file", "jwks_file", "http_url"];

fn service(section: &mut Section<'_, '_>, http: &mut HttpSettings) {
    let is_url = |url: &str| {
        url.parse::<hyper::Uri>().is_ok_and(|url| url.scheme_str() == Some("http") && url.host().is_some())
    };
    if !http.url.is_empty() && !is_url(&http.url) {
        section.mistake("http_url", "http://HOST:PORT/PATH");
    }
    let (mut timeout_ms, mut remembered_s) = (http.timeout.0, http.remembered.as_secs());
    section.number("timeout_ms", 1..=60_000, &mut timeout_ms);
    section.number("connections_max", 1..=1_024, &mut http.connections_max);
    section.number("remembered_s", 0..=86_400, &mut remembered_s);
    (http.timeout, http.remembered) = (Span::from_millis(timeout_ms), Span::from_secs(remembered_s));
    if !section.has("http_url") {
        for key in ["timeout_ms", "connections_max", "remembered_s"] {
            section.mistake(key, "http_url beside it");
        }
    }
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
        show_back_end(f, back_end)?;
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

fn show_back_end(f: &mut Formatter<'_>, back_end: &BackEndSettings) -> fmt::Result {
    match back_end {
        BackEndSettings::PasswordFile(path) => {
            writeln!(f, "password_file = {}", quoted(&path.to_string_lossy()))
        }
        BackEndSettings::Tokens { file, issuer, audience } => {
            writeln!(f, "jwks_file = {}", quoted(&file.to_string_lossy()))?;
            for (key, text) in [("issuer", issuer), ("audience", audience)] {
                text.iter().try_for_each(|text| writeln!(f, "{key} = {}", quoted(text)))?;
            }
            Ok(())
        }
        BackEndSettings::Http(HttpSettings { url, timeout, connections_max, remembered }) => {
            writeln!(f, "http_url = {}", quoted(url))?;
            number(f, "timeout_ms", timeout.0)?;
            number(f, "connections_max", *connections_max)?;
            number(f, "remembered_s", remembered.as_secs())
        }
    }
}
