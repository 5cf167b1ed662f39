//! MQTT.js for pages, as npm has installed it.

use super::answer::{Body, text};
use super::files;
use hyper::{Request, Response, StatusCode, Uri};
use std::env;
use std::path::{Path, PathBuf};

/// Where pages find it.
pub(super) const PATH: &str = "/mqtt.js";
/// Where the package has it, below the folder that npm installs into.
const FOLDER: &str = "node_modules/mqtt/dist";
const FILE: &str = "/mqtt.min.js";
/// Names the package and its version.
const PACKAGE: &str = include_str!("package.json");

/// Answers a request for it.
pub(super) async fn answer<B>(static_dir: Option<&Path>, request: &Request<B>) -> Response<Body> {
    let Some(folder) = places(static_dir).find(|folder| folder.join(&FILE[1..]).is_file()) else {
        return text(StatusCode::NOT_FOUND, how_to_install(static_dir));
    };
    let mut file = Request::new(());
    *file.method_mut() = request.method().clone();
    *file.headers_mut() = request.headers().clone();
    *file.uri_mut() = Uri::from_static(FILE);
    files::answer(&folder, &file).await
}

/// Where npm may have installed it, nearest first: where Node would look from the folder that is served, from the one that
/// the broker was started in, and from its program's.
fn places(static_dir: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    let served = static_dir.and_then(|folder| folder.canonicalize().ok());
    let program = env::current_exe().ok();
    let starts = [served, env::current_dir().ok(), program].into_iter().flatten();
    let above = |start: PathBuf| start.ancestors().map(Path::to_owned).collect::<Vec<_>>();
    starts.flat_map(above).map(|folder| folder.join(FOLDER))
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
