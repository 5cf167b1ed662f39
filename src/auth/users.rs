//! Who is known, out of several files in their order: the first one that knows a user decides.

use super::password::{Entry, PasswordFile, PasswordHash};
use crate::sasl::{self, Secret, hmac};

/// Everybody who can log in with a name and a password.
#[derive(Clone, Debug, Default)]
pub struct Users {
    files: Vec<PasswordFile>,
    /// What a name that nobody has is checked against: one for each cost that a password in the files has, with how many
    /// users have it or one before it.
    decoys: Vec<(u64, PasswordHash)>,
}

/// What the files say to a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is the user's password.
    Right,
    /// The user is known, and this is not the password.
    Wrong,
    /// No file knows the user.
    Unknown,
}

impl Users {
    /// Those of some files.
    pub fn new(files: Vec<PasswordFile>) -> Self {
        let mut decoys: Vec<(u64, PasswordHash)> = Vec::new();
        for (_, entry) in files.iter().flat_map(PasswordFile::iter) {
            let decoy = entry.password.decoy();
            match decoys.iter_mut().find(|(_, known)| *known == decoy) {
                Some((count, _)) => *count += 1,
                None => decoys.push((1, decoy)),
            }
        }
        let mut sum = 0;
        for (count, _) in &mut decoys {
            sum += *count;
            *count = sum;
        }
        Self { files, decoys }
    }

    /// Whether the password is the user's. Costs what the user's hash is made to cost, which is tens of milliseconds for
    /// Argon2, so this has no place on a core that moves messages.
    ///
    /// The time tells nobody whether a name exists: one that does not costs what one of the users costs, always the same
    /// for one name and secret, and each with the chance that its share of the users gives it.
    pub fn check(&self, user: &str, password: &[u8], secret: &Secret) -> Answer {
        match self.get(user) {
            Some(entry) if entry.password.verify(password) => Answer::Right,
            Some(_) => Answer::Wrong,
            None => {
                if let Some(decoy) = self.decoy(user, secret) {
                    // What it says is known. What counts is the time.
                    std::hint::black_box(decoy.verify(password));
                }
                Answer::Unknown
            }
        }
    }

    fn decoy(&self, user: &str, secret: &Secret) -> Option<&PasswordHash> {
        let (sum, _) = self.decoys.last()?;
        let [a, b, c, d, e, f, g, h, ..] = hmac(&secret.0, &[b"decoy", user.as_bytes()]);
        let pick = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % sum;
        let at = self.decoys.partition_point(|(count, _)| *count <= pick);
        self.decoys.get(at).map(|(_, decoy)| decoy)
    }

    /// What is kept of a user.
    pub fn get(&self, user: &str) -> Option<&Entry> {
        self.files.iter().find_map(|file| file.get(user))
    }

    /// Whether any file knows the user.
    pub fn knows(&self, user: &str) -> bool {
        self.files.iter().any(|file| file.get(user).is_some())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.iter().all(PasswordFile::is_empty)
    }

    /// Those who can log in with SCRAM-SHA-256 as well.
    pub fn scram(&self) -> sasl::Users {
        let mut users = sasl::Users::default();
        for (at, file) in self.files.iter().enumerate() {
            for (name, entry) in file.iter() {
                let decided = self.files[..at].iter().any(|earlier| earlier.get(name).is_some());
                if let Some(verifier) = entry.scram.clone().filter(|_| !decided) {
                    // The file checked the name, and no earlier file has it.
                    users.add(name, verifier).expect("a checked name, once");
                }
            }
        }
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Secret = Secret([7; 32]);
    /// Of "pencil", cheap enough for tests.
    const CHEAP: &str = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ\
        $eYctCv5FBbAXgFzWSZw4HdhD0vrAcnd9jZtlNAajlDhcCNeNHd21UZ37lPwIyP3wELs8YArBYKxu1AWsMUMBNw";
    const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
        wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn other(password: &str) -> PasswordHash {
        let mut hash = [0; 20];
        pbkdf2::pbkdf2_hmac::<sha1::Sha1>(password.as_bytes(), b"salt", 2, &mut hash);
        PasswordHash::of_pbkdf2_sha1(2, b"salt", &hash).expect("in range")
    }

    fn file(text: &str) -> PasswordFile {
        PasswordFile::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn the_first_file_that_knows_a_user_decides() {
        let first = file(&format!("ann:{CHEAP}\nbob:{CHEAP}"));
        let second = file(&format!("ann:{}:{SCRAM}\ncara:{}:{SCRAM}", other("brush"), other("brush")));
        let users = Users::new(vec![first, second]);
        let check = |user, password: &str| users.check(user, password.as_bytes(), &SECRET);
        assert_eq!(check("ann", "pencil"), Answer::Right);
        assert_eq!(check("ann", "brush"), Answer::Wrong, "the second file does not speak for ann");
        assert_eq!(check("cara", "brush"), Answer::Right);
        assert_eq!(check("cara", "pencil"), Answer::Wrong);
        assert_eq!(check("dan", "pencil"), Answer::Unknown);
        assert!(users.knows("cara") && !users.knows("dan") && !users.is_empty());
        let scram = users.scram();
        assert_eq!(scram.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["cara"], "nor for ann's SCRAM");
    }

    #[test]
    fn nobody_is_known_where_there_are_no_users() {
        let users = Users::new(vec![PasswordFile::default()]);
        assert!(users.is_empty());
        assert_eq!(users.check("ann", b"pencil", &SECRET), Answer::Unknown);
    }

    #[test]
    fn names_that_nobody_has_cost_what_users_cost_and_as_often() {
        let mut text = format!("a:{CHEAP}\nb:{CHEAP}\nc:{CHEAP}\n");
        text.push_str(&format!("d:{}\n", other("x")));
        let users = Users::new(vec![file(&text)]);
        let kinds = |secret: &Secret| -> Vec<&str> {
            (0..4_000).map(|i| users.decoy(&i.to_string(), secret).expect("users").scheme()).collect()
        };
        let drawn = kinds(&SECRET);
        assert_eq!(drawn, kinds(&SECRET), "the same each time");
        assert_ne!(drawn, kinds(&Secret([8; 32])), "and not for others to foresee");
        let dear = drawn.iter().filter(|kind| **kind == "argon2id").count();
        assert!((2_800..3_200).contains(&dear), "{dear} of 4,000, where 3 of 4 users have it");
    }
}
