//! Files out of one folder, and out of no other: the kernel resolves each path below it, whatever links there are.

use super::answer::{Body, not_found, text};
use http_body_util::BodyExt;
use hyper::header::{
    CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LOCATION, RANGE,
};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_staticfile::util::FileResponseBuilder;
use hyper_staticfile::vfs::{FileOpener, FileWithMetadata};
use hyper_staticfile::{ResolveResult, Resolver};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use std::future::Future;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use tokio::fs::File;
use tokio::task::spawn_blocking;
use tracing::warn;

/// The one name with a dot in front that is served. RFC 8615
const WELL_KNOWN: &str = ".well-known";

/// Opens files below a folder.
struct Below(PathBuf);

impl FileOpener for Below {
    type File = File;
    type Future = Pin<Box<dyn Future<Output = io::Result<FileWithMetadata>> + Send>>;

    fn open(&self, path: &Path) -> Self::Future {
        let (folder, path) = (self.0.clone(), path.to_owned());
        Box::pin(async move {
            // A disk may keep this thread waiting, and with it everybody else.
            spawn_blocking(move || open(&folder, &path)).await.map_err(io::Error::other)?
        })
    }
}

fn open(folder: &Path, path: &Path) -> io::Result<FileWithMetadata> {
    let hidden = |part: Component<'_>| {
        part.as_os_str().as_encoded_bytes().starts_with(b".") && part.as_os_str() != WELL_KNOWN
    };
    if path.components().any(hidden) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let flags = OFlags::CLOEXEC | OFlags::RDONLY;
    let folder = openat(CWD, folder, flags | OFlags::DIRECTORY, Mode::empty())?;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    // Neither a FIFO nor a device is waited for.
    let opened = openat2(folder, path, flags | OFlags::NONBLOCK, Mode::empty(), ResolveFlags::BENEATH);
    let file = std::fs::File::from(opened.map_err(outside)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(FileWithMetadata {
        handle: File::from_std(file),
        size: metadata.len(),
        modified: metadata.modified().ok(),
        is_dir: metadata.is_dir(),
    })
}

/// What lies outside is not there, for all that a client learns, nor is a file below a file.
fn outside(error: rustix::io::Errno) -> io::Error {
    use rustix::io::Errno;
    match error {
        // The last one is what a socket says.
        Errno::XDEV | Errno::LOOP | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL | Errno::NXIO => {
            io::ErrorKind::NotFound.into()
        }
        other => other.into(),
    }
}

/// Answers a request for a file in a folder.
pub(super) async fn answer<B>(folder: &Path, request: &Request<B>) -> Response<Body> {
    serve(Below(folder.to_owned()), folder, request).await
}

/// Answers a request for a file of whatever origin; the log says `whence`.
pub(super) async fn serve<B>(opener: impl FileOpener, whence: &Path, request: &Request<B>) -> Response<Body> {
    let headers = conditions(request.headers());
    let resolved = Resolver::with_opener(opener).resolve_request(request).await;
    let file = match resolved {
        Ok(ResolveResult::Found(file)) => file,
        Ok(ResolveResult::IsDirectory { .. }) => return moved(request.uri()),
        Ok(ResolveResult::PermissionDenied) => {
            return text(StatusCode::FORBIDDEN, "the broker may not read it\n");
        }
        Ok(ResolveResult::NotFound | ResolveResult::MethodNotMatched) => return not_found(),
        Err(cause) => return unreadable(&cause, &whence.join(request.uri().path().trim_start_matches('/'))),
    };
    let (size, kind) = (file.size, content_type(file.content_type.as_deref()));
    let built = FileResponseBuilder::new().request_parts(request.method(), &headers).build(file);
    // All its headers are numbers, dates and those types.
    let Ok(mut response) = built else { return not_found() };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    match response.status() {
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let mut beyond = text(StatusCode::RANGE_NOT_SATISFIABLE, format!("it has {size} bytes\n"));
            if let Ok(size) = HeaderValue::try_from(format!("bytes */{size}")) {
                beyond.headers_mut().insert(CONTENT_RANGE, size);
            }
            beyond
        }
        StatusCode::OK | StatusCode::PARTIAL_CONTENT if !is_known(&headers, &response) => {
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response.map(|body| body.boxed_unsync())
        }
        _ => not_modified(&response),
    }
}

/// Those headers of a request that are to be looked at.
fn conditions(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    if headers.contains_key(IF_NONE_MATCH) {
        // It says more, also about a file that was replaced by an older one. RFC 9110, 13.1.3
        headers.remove(IF_MODIFIED_SINCE);
    }
    let several = |range: &HeaderValue| range.as_bytes().contains(&b',');
    if headers.get(RANGE).is_some_and(several) {
        // Parts that overlap would multiply what one request costs. RFC 9110, 14.2 leaves it to us.
        headers.remove(RANGE);
    }
    headers
}

/// A file whose name says nothing is bytes: a browser that may not guess would not know what to do with it.
fn content_type(known: Option<&str>) -> HeaderValue {
    let known = known.and_then(|kind| HeaderValue::from_str(kind).ok());
    known.unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// Links in a folder's page are relative to the folder, so its address ends with a slash.
fn moved(uri: &Uri) -> Response<Body> {
    // Two slashes in front would be another host.
    let path = uri.path().trim_matches('/');
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(location) = HeaderValue::try_from(format!("/{path}/{query}")) else { return not_found() };
    let mut response = text(StatusCode::MOVED_PERMANENTLY, "a folder\n");
    response.headers_mut().insert(LOCATION, location);
    response
}

/// What cannot be read for a reason that the operator should know.
pub(super) fn unreadable(cause: &io::Error, file: &Path) -> Response<Body> {
    warn!(%cause, file = %file.display(), "cannot serve a file");
    text(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be read at the moment\n")
}

/// Whether the client has what it asks for. RFC 9110, 13.1.2
fn is_known<R>(asked: &HeaderMap, response: &Response<R>) -> bool {
    let Some(tag) = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()) else { return false };
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let values = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|known| known.trim() == "*" || opaque(known) == opaque(tag))
}

/// The client's copy is good.
fn not_modified<R>(response: &Response<R>) -> Response<Body> {
    let mut known = text(StatusCode::NOT_MODIFIED, "");
    known.headers_mut().remove(CONTENT_TYPE);
    for name in [ETAG, CACHE_CONTROL] {
        if let Some(value) = response.headers().get(&name) {
            known.headers_mut().insert(name, value.clone());
        }
    }
    known
}
