//! Chromium, without a window.

use super::Certificates;
use super::programs::{node, program, target};
use std::process::Command;
use tempfile::TempDir;

/// A browser with a home of its own, so that it knows nothing of other tests or of its user.
pub(crate) struct Browser {
    home: TempDir,
}

impl Browser {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a temporary folder") }
    }

    /// One that knows an authority beside those of the world.
    pub(crate) fn trusting(certificates: &Certificates) -> Self {
        let browser = Self::new();
        let (known, authority) = (browser.home.path().join(".pki/nssdb"), browser.home.path().join("ca.pem"));
        std::fs::create_dir_all(&known).expect("a folder");
        std::fs::write(&authority, certificates.authority.pem()).expect("a file");
        let status = program("certutil")
            .args(["-A", "-n", "authority", "-t", "C,,", "-d"])
            .arg(format!("sql:{}", known.display()))
            .arg("-i")
            .arg(authority)
            .status();
        assert!(status.expect("certutil starts").success());
        browser
    }

    /// A scenario of tests/clients/browser.cjs at this address. What it shows at the end is kept as a picture of this
    /// name in `screenshots` below the folder that cargo builds into.
    pub(crate) fn scenario(&self, name: &str, url: &str, picture: &str) -> Command {
        let pictures = target().join("screenshots");
        std::fs::create_dir_all(&pictures).expect("a folder");
        let mut command = node("browser.cjs");
        command
            .args([name, url])
            .arg(pictures.join(picture).with_extension("png"))
            .env("CHROMIUM", program("chromium").get_program())
            .env("HOME", self.home.path());
        command
    }
}
