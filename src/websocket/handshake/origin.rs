//! Which pages may connect. A browser tells the origin of the page whose script connects; nobody else has to.

use std::fmt;
use std::str::FromStr;

/// An origin that is allowed, or all hosts below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Up to the host, `https://`.
    scheme: String,
    /// Whether it is for the hosts below, and not for the host itself.
    below: bool,
    /// Host and, if it is not the scheme's own, port.
    host: String,
}

/// Why a text is no origin: reads on after "expected".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an origin, such as https://example.org, https://*.example.org or http://localhost:8080, without a path"
)]
pub struct BadOrigin;

impl Origin {
    /// Whether it allows what a browser sent.
    pub fn allows(&self, sent: &[u8]) -> bool {
        let Ok(sent) = std::str::from_utf8(sent) else { return false };
        let Some(host) = strip_prefix(sent, &self.scheme) else { return false };
        if !self.below {
            return host.eq_ignore_ascii_case(&self.host);
        }
        let Some(labels) =
            host.len().checked_sub(self.host.len() + 1).and_then(|at| host.split_at_checked(at))
        else {
            return false;
        };
        let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let (below, rest) = labels;
        !below.is_empty()
            && below.bytes().all(name)
            && rest.strip_prefix('.').is_some_and(|rest| rest.eq_ignore_ascii_case(&self.host))
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

impl FromStr for Origin {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        // What browsers send for files and for pages that are kept apart.
        if text == "null" {
            return Ok(Self { scheme: String::new(), below: false, host: text.to_owned() });
        }
        let (scheme, host) = text.split_once("://").ok_or(BadOrigin)?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let (below, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
        let is_host =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'*' | b'?' | b'#' | b'@' | b',');
        if scheme.is_empty()
            || !scheme.bytes().all(is_scheme)
            || host.is_empty()
            || !host.bytes().all(is_host)
        {
            return Err(BadOrigin);
        }
        Ok(Self { scheme: format!("{scheme}://"), below, host: host.to_owned() })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.scheme, if self.below { "*." } else { "" }, self.host)
    }
}
