//! Whom the process is once nothing needs root any more.

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgid, getuid, setgroups, setresgid, setresuid};
use std::ffi::CString;
use std::io;
use std::path::Path;

/// A user and a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: Box<str>,
    user: Uid,
    group: Gid,
    /// The groups that the user is in besides.
    groups: Vec<Gid>,
}

/// Why the process stays who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The user is nobody's name.
    #[error("[process] user: there is no user {0}")]
    NoUser(Box<str>),
    /// The group is nobody's name.
    #[error("[process] group: there is no group {0}")]
    NoGroup(Box<str>),
    /// A user that has a number alone, and no group of its own.
    #[error("[process] user: {0} has no entry in the user database; say a [process] group as well")]
    Groupless(Box<str>),
    /// The process is neither root nor that user.
    #[error("[process] user: only root can become {0}; start the broker as root, or without this setting")]
    NotRoot(Box<str>),
    /// The system's reason.
    #[error("[process] user: cannot become {0}: {1}")]
    System(Box<str>, io::Error),
}

impl Identity {
    /// A user, by name or number, with a group, by name or number, or the user's own.
    ///
    /// # Errors
    /// There is no such user or group.
    pub fn find(user: &str, group: Option<&str>) -> Result<Self, IdentityError> {
        let number = user.parse().ok().map(Uid::from_raw);
        let known = match number {
            Some(number) => User::from_uid(number),
            None => User::from_name(user),
        };
        let known = known.ok().flatten();
        let uid = number.or_else(|| known.as_ref().map(|known| known.uid));
        let uid = uid.ok_or_else(|| IdentityError::NoUser(user.into()))?;
        let gid = match group {
            Some(group) => find_group(group)?,
            None => {
                known.as_ref().map(|known| known.gid).ok_or_else(|| IdentityError::Groupless(user.into()))?
            }
        };
        let name = known.as_ref().and_then(|known| CString::new(known.name.as_str()).ok());
        let groups = name.and_then(|name| nix::unistd::getgrouplist(&name, gid).ok());
        Ok(Self { name: user.into(), user: uid, group: gid, groups: groups.unwrap_or_else(|| vec![gid]) })
    }

    /// Becomes it, with all threads, for good.
    ///
    /// # Errors
    /// Not allowed to.
    pub fn assume(&self) -> Result<(), IdentityError> {
        if getuid() == self.user && geteuid() == self.user && getgid() == self.group {
            return Ok(());
        }
        if !geteuid().is_root() {
            return Err(IdentityError::NotRoot(self.name.clone()));
        }
        let system = |error: nix::Error| IdentityError::System(self.name.clone(), error.into());
        // The user last: nobody else may change the others.
        setgroups(&self.groups).map_err(system)?;
        setresgid(self.group, self.group, self.group).map_err(system)?;
        setresuid(self.user, self.user, self.user).map_err(system)
    }

    /// Makes a folder that is its own, unless there is something already.
    ///
    /// # Errors
    /// The system's.
    pub fn make_folder(&self, path: &Path) -> io::Result<()> {
        if path.exists() || !geteuid().is_root() {
            return Ok(());
        }
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(path)?;
        std::os::unix::fs::chown(path, Some(self.user.as_raw()), Some(self.group.as_raw()))
    }
}

fn find_group(name: &str) -> Result<Gid, IdentityError> {
    let found = name.parse().ok().map(Gid::from_raw);
    let found = found.or_else(|| Group::from_name(name).ok().flatten().map(|group| group.gid));
    found.ok_or_else(|| IdentityError::NoGroup(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let root = Identity::find("root", None).unwrap();
        assert_eq!((root.user, root.group), (Uid::from_raw(0), Gid::from_raw(0)));
        let numbers = Identity::find("0", Some("0")).unwrap();
        assert_eq!((numbers.user, numbers.group), (root.user, root.group));
        let unknown = Identity::find("4294967", Some("4711")).unwrap();
        assert_eq!((unknown.group, unknown.groups), (Gid::from_raw(4711), vec![Gid::from_raw(4711)]));
    }

    #[test]
    fn who_is_not_there_is_named() {
        let error = |user, group| Identity::find(user, group).unwrap_err().to_string();
        assert!(error("no-such-user", None).contains("there is no user no-such-user"));
        assert!(error("root", Some("no-such-group")).contains("there is no group no-such-group"));
        assert!(error("4294967", None).contains("say a [process] group"));
    }
}
