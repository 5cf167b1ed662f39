//! The head of an HTTP request: bounded, found once it is whole, and read with `httparse`.

use super::Refusal;
use memchr::memmem;

/// Bytes of a request's head at most: request line and headers. A browser with cookies needs one or two thousand.
pub const HEAD_BYTES_MAX: usize = 8 << 10;
/// Headers of a request at most.
pub const HEADERS_MAX: usize = 64;

/// Waits for the end of a head, without looking at any byte twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadReader {
    searched: usize,
}

impl HeadReader {
    /// Where the head at the front of all bytes so far ends, behind its empty line; `None` while that is not known. The
    /// bytes of one call have to be the beginning of those of the next.
    ///
    /// # Errors
    /// What is no request of HTTP, found with its first byte, and a head of more than [`HEAD_BYTES_MAX`].
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        match bytes.first() {
            Some(first) if !first.is_ascii_uppercase() => return Err(Refusal::NotHttp(*first)),
            _ => {}
        }
        let within = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        // The end may have begun in what was searched.
        let from = self.searched.saturating_sub(3).min(within.len());
        if let Some(at) = memmem::find(&within[from..], b"\r\n\r\n") {
            return Ok(Some(from + at + 4));
        }
        self.searched = within.len();
        if within.len() == HEAD_BYTES_MAX { Err(Refusal::TooLong) } else { Ok(None) }
    }
}

/// A request's head, from whichever parser.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// `GET` and the like.
    pub method: &'a str,
    /// What is asked for: path and query.
    pub target: &'a str,
    /// Whether the version is 1.1.
    pub http_1_1: bool,
    /// Names, in whatever case, and values.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Head<'a> {
    /// Reads a whole head.
    ///
    /// # Errors
    /// What is not HTTP/1, and more than [`HEADERS_MAX`] headers.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Refusal::Malformed),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyHeaders),
            Err(_) => return Err(Refusal::Malformed),
        }
        let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
        else {
            return Err(Refusal::Malformed);
        };
        let headers = request.headers.iter().map(|header| (header.name, header.value)).collect();
        Ok(Self { method, target, http_1_1: minor == 1, headers })
    }

    /// The path, without a query.
    pub fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// All values of a header.
    pub fn values<'b>(&'b self, name: &'b str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// The value of a header that is there once.
    pub fn single(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// The items of a header that is a list, of all its lines.
    pub fn items<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a [u8]> {
        let items = self.values(name).flat_map(|value| value.split(|&byte| byte == b','));
        items.map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
    }

    /// Whether a list has an item, in whatever case.
    pub fn has_item(&self, name: &str, item: &str) -> bool {
        self.items(name).any(|found| found.eq_ignore_ascii_case(item.as_bytes()))
    }

    /// Whether it asks to go on with WebSocket. Nothing else about it need be right.
    pub fn asks_upgrade(&self) -> bool {
        self.has_item("Upgrade", "websocket")
    }
}
