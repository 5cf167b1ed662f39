//! `pantala user`: who stands in a password file.

use crate::Failure;
use crate::cli::{PasswordFrom, UserAction};
use pantala::access::{self, NoFile};
use pantala::auth::password::{self, Entry, PasswordFile, PasswordHash, SALT_BYTES};
use pantala::sasl::{self, ITERATIONS, Verifier};
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

/// An MQTT password has 16 bits of length on the wire. [MQTT 1.5.6]
const PASSWORD_BYTES_MAX: u64 = 65_535;

/// Does it.
///
/// # Errors
/// What went wrong, with the file and the line.
pub(crate) fn run(action: &UserAction) -> Result<(), Failure> {
    match action {
        UserAction::Add { file, scram, from, name } => add(&file.file, name, *scram, from),
        UserAction::Del { file, name } => {
            let text = text_of(&file.file)?;
            let text = password::remove(&text, name).ok_or_else(|| nobody(&file.file, name))?;
            replace(&file.file, &text)
        }
        UserAction::List { file } => {
            let lines = users_of(&file.file)?;
            crate::print(&lines.iter().map(|(name, entry)| listed(name, entry)).collect::<String>())
        }
        UserAction::Verify { file, from, name } => {
            let users = users_of(&file.file)?;
            let entry = users.get(name).ok_or_else(|| nobody(&file.file, name))?;
            if entry.password.verify(&password_from(from, false)?) {
                return crate::print(&format!("this is {name}'s password\n"));
            }
            Err(Failure::running(format_args!("{}: this is not {name}'s password", file.file.display())))
        }
    }
}

fn add(path: &Path, name: &str, scram: bool, from: &PasswordFrom) -> Result<(), Failure> {
    let misconfigured = |why: &dyn Display| Failure::misconfigured(format!("pantala: {why}"));
    password::user_name(name)
        .map_err(|why| misconfigured(&format_args!("given {name:?}, expected {why}")))?;
    let old = match access::read(path) {
        Ok(bytes) => checked_text(path, bytes)?,
        Err(error) if error.is_missing() => String::new(),
        Err(error) => return Err(unread(&error)),
    };
    let password = password_from(from, true)?;
    let verifier = if scram { Some(verifier_of(name, &password)?) } else { None };
    let hash = PasswordHash::derive(&password, &random::<SALT_BYTES>()?);
    let (new, known) =
        password::set(&old, name, &hash, verifier.as_ref()).map_err(|why| misconfigured(&why))?;
    replace(path, &new)?;
    let done = if known { "has a new password" } else { "is added" };
    crate::print(&format!("{name} {done}\n"))
}

fn verifier_of(name: &str, password: &[u8]) -> Result<Verifier, Failure> {
    let unfit = |why: &dyn Display| Failure::misconfigured(format!("pantala: --scram: {why}"));
    let password = str::from_utf8(password).map_err(|_| unfit(&"the password is not UTF-8"))?;
    let salt = random::<{ sasl::SALT_BYTES }>()?;
    let verifier = Verifier::derive(password, &salt, ITERATIONS).map_err(|why| unfit(&why))?;
    let known = sasl::Users::default().add(name, verifier.clone());
    known.map_err(|why| unfit(&format_args!("given {name:?}, expected {why}")))?;
    Ok(verifier)
}

/// A line for people and for `cut`: the name comes last, as it may have blanks.
fn listed(name: &str, entry: &Entry) -> String {
    let scram = if entry.scram.is_some() { "+scram" } else { "" };
    format!("{:<20} {name}\n", format!("{}{scram}", entry.password.scheme()))
}

fn users_of(path: &Path) -> Result<PasswordFile, Failure> {
    parsed(path, &access::read(path).map_err(|error| unread(&error))?)
}

fn text_of(path: &Path) -> Result<String, Failure> {
    checked_text(path, access::read(path).map_err(|error| unread(&error))?)
}

/// The text of a file that can be used as it is: a broken one is not written anew with its faults.
fn checked_text(path: &Path, bytes: Vec<u8>) -> Result<String, Failure> {
    parsed(path, &bytes)?;
    // Who has no fault is UTF-8.
    String::from_utf8(bytes).map_err(Failure::running)
}

fn parsed(path: &Path, bytes: &[u8]) -> Result<PasswordFile, Failure> {
    PasswordFile::parse(bytes).map_err(|mistakes| crate::in_file(path, &mistakes))
}

fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    access::replace(path, text.as_bytes()).map_err(Failure::running)
}

fn unread(error: &NoFile) -> Failure {
    Failure::misconfigured(error.to_string())
}

fn nobody(path: &Path, name: &str) -> Failure {
    Failure::running(format_args!("{}: no user {name:?}", path.display()))
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(Failure::running)?;
    Ok(bytes)
}

/// The password, from where the command line says: a file, the terminal without echo, or else standard input. A new one is
/// asked for twice where nobody sees what is typed.
fn password_from(from: &PasswordFrom, new: bool) -> Result<Vec<u8>, Failure> {
    let password = match &from.password_file {
        Some(path) => first_line(access::read(path).map_err(|error| unread(&error))?.as_slice())?,
        None if io::stdin().is_terminal() => typed(new)?,
        None => first_line(io::stdin().lock())?,
    };
    match password.len() as u64 {
        0 => Err(Failure::misconfigured("pantala: the password is empty".to_owned())),
        1..=PASSWORD_BYTES_MAX => Ok(password),
        _ => {
            Err(Failure::misconfigured("pantala: the password is longer than MQTT's 65,535 bytes".to_owned()))
        }
    }
}

fn typed(new: bool) -> Result<Vec<u8>, Failure> {
    let password = rpassword::prompt_password("Password: ").map_err(Failure::running)?;
    if new && rpassword::prompt_password("Again: ").map_err(Failure::running)? != password {
        return Err(Failure::misconfigured("pantala: the two passwords differ".to_owned()));
    }
    Ok(password.into_bytes())
}

/// Everything before the first end of line.
fn first_line(from: impl BufRead) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    from.take(PASSWORD_BYTES_MAX + 3).read_until(b'\n', &mut line).map_err(Failure::running)?;
    let end = line.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    line.truncate(end);
    Ok(line)
}
