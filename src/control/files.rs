//! Files out of one folder, and out of no other: the kernel resolves each path below it, whatever links there are.

use super::answer::{Body, not_found, text};
use http_body_util::BodyExt;
use hyper::header::{CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{Request, Response, StatusCode};
use hyper_staticfile::vfs::{FileOpener, FileWithMetadata};
use hyper_staticfile::{Resolver, ResponseBuilder};
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
        Errno::XDEV | Errno::LOOP | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL => {
            io::ErrorKind::NotFound.into()
        }
        other => other.into(),
    }
}

/// Answers a request for a file.
pub(super) async fn answer<B>(folder: &Path, request: &Request<B>) -> Response<Body> {
    let resolver = Resolver::with_opener(Below(folder.to_owned()));
    let resolved = resolver.resolve_request(request).await;
    let built = resolved.map(|resolved| ResponseBuilder::new().request(request).build(resolved));
    match built {
        Ok(Ok(response)) if response.status() == StatusCode::NOT_FOUND => not_found(),
        Ok(Ok(response)) if response.status() == StatusCode::FORBIDDEN => {
            text(StatusCode::FORBIDDEN, "the broker may not read it\n")
        }
        Ok(Ok(response)) if is_known(request, &response) => not_modified(&response),
        Ok(Ok(response)) => typed(response.map(|body| body.boxed_unsync())),
        Ok(Err(_)) => not_found(),
        Err(cause) => {
            warn!(%cause, folder = %folder.display(), path = request.uri().path(), "cannot serve a file");
            text(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be read at the moment\n")
        }
    }
}

/// A file whose name says nothing is bytes: a browser that may not guess would not know what to do with it.
fn typed(mut response: Response<Body>) -> Response<Body> {
    if response.status() == StatusCode::OK && !response.headers().contains_key(CONTENT_TYPE) {
        let bytes = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(CONTENT_TYPE, bytes);
    }
    response
}

/// Whether the client has what it asks for. RFC 9110, 13.1.2
fn is_known<B, R>(request: &Request<B>, response: &Response<R>) -> bool {
    let Some(tag) = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()) else { return false };
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let values = request.headers().get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|known| known.trim() == "*" || opaque(known) == opaque(tag))
}

fn not_modified<R>(response: &Response<R>) -> Response<Body> {
    let mut known = text(StatusCode::NOT_MODIFIED, "");
    known.headers_mut().remove(CONTENT_TYPE);
    if let Some(tag) = response.headers().get(ETAG) {
        known.headers_mut().insert(ETAG, tag.clone());
    }
    known
}
