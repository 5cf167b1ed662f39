//! MQTT.js for pages, as npm has installed it, and with it that a page which names no host means its own broker.

use super::Site;
use super::answer::{Body, text};
use super::files;
use hyper::body::Bytes;
use hyper::{Request, Response, StatusCode};
use hyper_staticfile::vfs::MemoryFs;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tokio::task::spawn_blocking;

/// Where pages find it.
pub(super) const PATH: &str = "/mqtt.js";
/// Where the package has it, in a folder that npm installs into.
const FILE: &str = "node_modules/mqtt/dist/mqtt.min.js";
/// Names the package and its version.
const PACKAGE: &str = include_str!("package.json");
/// What is served behind it.
const CONNECT: &str = include_str!("connect.js");

/// What is served, as it was put together last. All answers share its bytes, however slowly they are read.
#[derive(Clone, Debug)]
pub(super) struct Script {
    file: PathBuf,
    size: u64,
    modified: Option<SystemTime>,
    bytes: Bytes,
}

/// Answers a request for it.
pub(super) async fn answer<B>(
    site: &Site,
    static_dir: Option<&Path>,
    request: &Request<B>,
) -> Response<Body> {
    let (last, served) = (site.script.borrow().clone(), static_dir.map(Path::to_owned));
    // A disk may keep this thread waiting, and with it everybody else.
    let found = spawn_blocking(move || find(served.as_deref(), last)).await;
    let script = match found.map_err(io::Error::other).flatten() {
        Ok(Some(script)) => script,
        Ok(None) => return text(StatusCode::NOT_FOUND, how_to_install(static_dir)),
        Err(cause) => return files::unreadable(&cause, Path::new(FILE)),
    };
    let mut memory = MemoryFs::default();
    memory.add(&PATH[1..], script.bytes.clone(), script.modified);
    site.script.replace(Some(script));
    files::serve(memory, Path::new(FILE), request).await
}

/// The nearest of the installed ones; `last` if that is still the one.
fn find(static_dir: Option<&Path>, last: Option<Script>) -> io::Result<Option<Script>> {
    let Some(file) = places(static_dir).find(|file| file.is_file()) else { return Ok(None) };
    let metadata = fs::metadata(&file)?;
    let (size, modified) = (metadata.len(), metadata.modified().ok());
    if let Some(last) = last.filter(|last| (&last.file, last.size, last.modified) == (&file, size, modified))
    {
        return Ok(Some(last));
    }
    let mut bytes = fs::read(&file)?;
    bytes.extend_from_slice(CONNECT.as_bytes());
    Ok(Some(Script { file, size, modified, bytes: bytes.into() }))
}

/// Where npm may have installed it, nearest first: where Node would look from the folder that is served, from the one that
/// the broker was started in, and from its program's.
fn places(static_dir: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    let served = static_dir.and_then(|folder| folder.canonicalize().ok());
    let program = env::current_exe().ok();
    let starts = [served, env::current_dir().ok(), program].into_iter().flatten();
    let above = |start: PathBuf| start.ancestors().map(Path::to_owned).collect::<Vec<_>>();
    starts.flat_map(above).map(|folder| folder.join(FILE))
}

fn how_to_install(static_dir: Option<&Path>) -> String {
    let folder = static_dir.map(Path::to_owned).or_else(|| env::current_dir().ok());
    let folder = folder.as_deref().map_or_else(|| ".".into(), Path::to_string_lossy);
    format!(
        "MQTT.js is not installed on this server. Its operator installs it with:\n\nnpm install --prefix '{folder}' {}\n",
        package()
    )
}

/// The package with its version, as npm's command line takes it.
fn package() -> String {
    let version = PACKAGE.split("\"mqtt\":").nth(1).and_then(|rest| rest.split('"').nth(1));
    version.map_or_else(|| "mqtt".to_owned(), |version| format!("mqtt@{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_named_with_its_version() {
        let version = package().strip_prefix("mqtt@^").expect("a range").to_owned();
        assert!(
            version.split('.').count() == 3 && version.split('.').all(|part| part.parse::<u32>().is_ok())
        );
    }
}
