//! What is known of a client that has logged in.

use super::acl::Granted;
use std::sync::Arc;

/// A client that has shown who it is.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The user's name.
    pub user: Box<str>,
    /// When the connection ends, in seconds since 1970, if what was shown is good for so long only.
    pub expires: Option<u64>,
    /// What the client may do in the place of the user's own section of the ACL file, if it was told to be.
    pub granted: Option<Arc<Granted>>,
}

impl Admitted {
    /// One of whom nothing but a name is known.
    pub fn named(user: &str) -> Self {
        Self { user: user.into(), expires: None, granted: None }
    }
}
