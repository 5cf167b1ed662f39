//! `[[listener]]`: one table per address, with the keys that its kind of listener has.

use super::raw::Section;
use super::show::{number, quoted, word};
use super::{BadUrl, ListenUrl};
use crate::transport::settings::{
    CertificateFiles, CertificateName, Framing, ListenerSettings, TlsSettings, TlsVersion, UnixSettings,
    Versions,
};
use crate::types::{BadNetwork, Network, Redirect, Span};
use crate::websocket::Origin;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

/// The longest time that a kernel's timer is asked for.
const DAY_S: u64 = 86_400;

/// The words for [`TlsVersion`].
const TLS_VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];
/// The words for [`CertificateName`].
const CERTIFICATE_NAMES: [(&str, CertificateName); 2] =
    [("cn", CertificateName::CommonName), ("san", CertificateName::AlternativeName)];
const NETWORKS: &str = "a list of networks, such as [\"192.0.2.0/24\", \"2001:db8::/32\"]";

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where to listen.
    pub url: ListenUrl,
    /// Everything else.
    pub settings: ListenerSettings,
}

impl Listener {
    /// A listener of which nothing but the URL is known; none if it needs certificates.
    ///
    /// # Errors
    /// What is missing: reads on after "expected".
    pub fn at(url: ListenUrl) -> Result<Self, String> {
        if url.is_encrypted() {
            return Err(format!("a listener without TLS; a file can say which cert and key {url} has"));
        }
        let settings = ListenerSettings { framing: url.framing(), ..ListenerSettings::default() };
        Ok(Self { url, settings })
    }
}

/// A listener's URL that is not among `others`; or what was expected instead.
pub(super) fn url(text: &str, others: &[Listener]) -> Result<ListenUrl, String> {
    let url: ListenUrl = text.parse().map_err(|bad: BadUrl| bad.to_string())?;
    // Listeners share their port between shards, so the system would not refuse the second one.
    if others.iter().any(|other| other.url.clashes(&url)) {
        return Err("each listener once".to_owned());
    }
    Ok(url)
}

/// Reads one table.
pub(super) fn read(mut section: Section<'_, '_>, listeners: &mut Vec<Listener>) {
    let found = section.value("url", |value| match value.as_str() {
        Some(text) => url(text, listeners),
        None => Err("\"tcp://HOST:PORT\"".to_owned()),
    });
    section.require("url", "tcp://HOST:PORT");
    // The keys of a table whose URL is wrong are read as if it were the plainest.
    let url = found.clone().unwrap_or(ListenUrl::LOCAL);
    let mut settings = ListenerSettings { framing: url.framing(), ..ListenerSettings::default() };
    clients(&mut section, &mut settings);
    sockets(&mut section, &url, &mut settings);
    web(&mut section, &url, &mut settings);
    if url.is_encrypted() {
        settings.tls = tls(&mut section);
    } else {
        for key in TLS_KEYS {
            section.mistake(key, "a tls://, wss:// or https:// listener for it");
        }
    }
    names(&mut section, &settings);
    listeners.extend(found.map(|url| Listener { url, settings }));
    section.finish();
}

/// Who is served, and how.
fn clients(section: &mut Section<'_, '_>, settings: &mut ListenerSettings) {
    let (mut to, mut permanent) = (None, false);
    section.text("redirect", "another server, such as \"broker.example:1883\"", &mut to);
    if section.flag("redirect_permanent", &mut permanent) && to.is_none() {
        section.mistake("redirect_permanent", "redirect beside it");
    }
    settings.redirect = to.map(|to| Redirect { to, permanent });
    section.number_or("connections_max", "unlimited", 1..=u64::from(u32::MAX), &mut settings.connections_max);
    section.list("versions", "a list out of \"3.1\", \"3.1.1\" and \"5.0\"", |versions| {
        let mut offered = Versions { v31: false, v311: false, v5: false };
        for version in versions {
            match *version {
                "3.1" => offered.v31 = true,
                "3.1.1" => offered.v311 = true,
                "5.0" | "5" => offered.v5 = true,
                _ => return None,
            }
        }
        settings.versions = offered;
        (offered != Versions { v31: false, v311: false, v5: false }).then_some(())
    });
    networks(section, "allow", &mut settings.allow);
    networks(section, "deny", &mut settings.deny);
    networks(section, "proxy_protocol_from", &mut settings.proxies);
    let anonymous = section.value("anonymous", |value| match (value.as_bool(), value.as_str()) {
        (Some(anonymous), _) => Ok(Some(anonymous)),
        (None, Some("auto")) => Ok(None),
        (None, _) => Err("true, false or \"auto\""),
    });
    settings.anonymous = anonymous.flatten();
    let mut name = CertificateName::CommonName;
    section.choice("username_from_cert", &CERTIFICATE_NAMES, &mut name);
    settings.username_from_cert = section.has("username_from_cert").then_some(name);
}

/// Refuses to take user names from certificates that nobody checks.
fn names(section: &mut Section<'_, '_>, settings: &ListenerSettings) {
    let checked_here = settings.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let expected = match settings.username_from_cert {
        Some(_) if checked_here => return,
        Some(CertificateName::CommonName) if !settings.proxies.is_empty() => return,
        Some(CertificateName::AlternativeName) if !settings.proxies.is_empty() => {
            "\"cn\", the only name that load balancers tell, or client_ca beside it"
        }
        Some(_) => "client_ca or proxy_protocol_from beside it, which say whose certificates count",
        None => return,
    };
    section.mistake("username_from_cert", expected);
}

fn networks(section: &mut Section<'_, '_>, key: &'static str, target: &mut Vec<Network>) {
    let mut bad = None;
    section.list(key, NETWORKS, |texts| {
        let parsed: Result<Vec<_>, BadNetwork> = texts.iter().map(|text| text.parse()).collect();
        match parsed {
            Ok(networks) => *target = networks,
            Err(why) => bad = Some(why),
        }
        Some(())
    });
    if let Some(bad) = bad {
        section.mistake(key, &format!("in each place {bad}"));
    }
}

/// Options of its sockets.
fn sockets(section: &mut Section<'_, '_>, url: &ListenUrl, settings: &mut ListenerSettings) {
    let tcp = &mut settings.tcp;
    section.number("backlog", 1..=u64::from(u16::MAX), &mut tcp.backlog);
    section.flag("no_delay", &mut tcp.no_delay);
    let mut keep_alive_s = tcp.keep_alive.map_or(0, Span::as_secs);
    section.number("tcp_keep_alive_s", 0..=32_767, &mut keep_alive_s);
    tcp.keep_alive = (keep_alive_s > 0).then(|| Span::from_secs(keep_alive_s));
    let mut user_timeout_ms = 0;
    section.number("tcp_user_timeout_ms", 0..=DAY_S * 1_000, &mut user_timeout_ms);
    tcp.user_timeout = (user_timeout_ms > 0).then(|| Span::from_millis(user_timeout_ms));
    let unix = &mut settings.unix;
    section.text("owner", "a user's name or number", &mut unix.owner);
    section.text("group", "a group's name or number", &mut unix.group);
    let octal = |text: &str| u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    let mode = section.value("mode", |value| {
        value.as_str().and_then(octal).ok_or("three octal digits in quotes, such as \"660\"")
    });
    unix.mode = mode.unwrap_or(unix.mode);
    let (wrong, only): (&[_], _) = match url {
        ListenUrl::Unix(_) => (
            &["no_delay", "tcp_keep_alive_s", "tcp_user_timeout_ms", "allow", "deny", "proxy_protocol_from"],
            "a listener with a port for it",
        ),
        ListenUrl::Net { .. } => (&["owner", "group", "mode"], "a unix:// listener for it"),
    };
    for key in wrong {
        section.mistake(key, only);
    }
}

/// What browsers are told.
fn web(section: &mut Section<'_, '_>, url: &ListenUrl, settings: &mut ListenerSettings) {
    let web = &mut settings.web;
    section.list("paths", "a list of paths, such as [\"/mqtt\"]; [] is any", |paths| {
        web.rules.paths = paths.iter().map(|path| (*path).to_owned()).collect();
        paths.iter().all(|path| path.starts_with('/') && !path.contains(['?', '#', ' '])).then_some(())
    });
    let origins =
        "a list of origins, such as [\"https://example.org\", \"https://*.example.org\"]; [] is any";
    section.list("origins", origins, |origins| {
        let origins: Result<Vec<Origin>, _> = origins.iter().map(|origin| origin.parse()).collect();
        web.rules.origins = origins.ok()?;
        Some(())
    });
    networks(section, "trusted_proxies", &mut web.trusted_proxies);
    let http = &mut settings.http;
    let mut folder = None;
    section.text("static_dir", "a folder with index.html", &mut folder);
    http.static_dir = folder.map(|folder| PathBuf::from(&*folder));
    section.flag("bundle", &mut http.bundle);
    let (wrong, only): (&[_], _) = match url.framing() {
        Framing::Http => return,
        Framing::WebSocket => (&["static_dir", "bundle"], "an http:// or https:// listener for it"),
        Framing::Mqtt => (
            &["paths", "origins", "trusted_proxies", "static_dir", "bundle"],
            "a ws://, wss://, http:// or https:// listener for it",
        ),
    };
    for key in wrong {
        section.mistake(key, only);
    }
}

/// Keys of encrypted listeners.
const TLS_KEYS: [&str; 9] = [
    "cert",
    "key",
    "certificate",
    "client_ca",
    "require_client_cert",
    "crl",
    "min_tls",
    "handshake_timeout_ms",
    "handshakes_max",
];

/// The keys of an encrypted listener; none without a certificate and its key.
fn tls(section: &mut Section<'_, '_>) -> Option<TlsSettings> {
    let mut certificates = Vec::new();
    if !["cert", "key", "certificate"].into_iter().any(|key| section.has(key)) {
        section.require("cert", "FILE");
        section.require("key", "FILE");
    }
    certificates.extend(certificate(section));
    section.tables("certificate", |mut section| {
        certificates.extend(certificate(&mut section));
        section.require("cert", "FILE");
        section.require("key", "FILE");
        section.finish();
    });
    let any = TlsSettings::new(CertificateFiles { cert: PathBuf::new(), key: PathBuf::new() });
    let mut tls = TlsSettings { certificates, ..any };
    tls.client_ca = file(section, "client_ca");
    section.flag("require_client_cert", &mut tls.require_client_cert);
    tls.crl = file(section, "crl");
    section.choice("min_tls", &TLS_VERSIONS, &mut tls.min_version);
    let mut timeout_ms = tls.handshake_timeout.0;
    section.number("handshake_timeout_ms", 1..=3_600_000, &mut timeout_ms);
    tls.handshake_timeout = Span::from_millis(timeout_ms);
    section.number("handshakes_max", 1..=u64::from(u32::MAX), &mut tls.handshakes_max);
    if tls.client_ca.is_none() {
        for key in ["require_client_cert", "crl"] {
            section.mistake(key, "client_ca beside it, which says whose certificates are accepted");
        }
    }
    (!tls.certificates.is_empty()).then_some(tls)
}

fn certificate(section: &mut Section<'_, '_>) -> Option<CertificateFiles> {
    let (cert, key) = (file(section, "cert"), file(section, "key"));
    match (cert, key) {
        (Some(cert), Some(key)) => return Some(CertificateFiles { cert, key }),
        (Some(_), None) => section.mistake("cert", "key beside it"),
        (None, Some(_)) => section.mistake("key", "cert beside it"),
        (None, None) => {}
    }
    None
}

fn file(section: &mut Section<'_, '_>, key: &'static str) -> Option<PathBuf> {
    let mut name = None;
    section.text(key, "the path of a PEM file", &mut name);
    name.map(|name| PathBuf::from(&*name))
}

impl Display for Listener {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Taken apart in full, so that a new setting does not compile until it is shown.
        let Self { url, settings } = self;
        let ListenerSettings {
            // The URL, which is written already.
            name: _,
            framing,
            tls,
            redirect,
            connections_max,
            allow,
            deny,
            proxies,
            anonymous,
            username_from_cert,
            versions,
            tcp,
            unix,
            web,
            http,
        } = settings;
        writeln!(f, "[[listener]]\nurl = \"{url}\"")?;
        if let Some(Redirect { to, permanent }) = redirect {
            writeln!(f, "redirect = {}\nredirect_permanent = {permanent}", quoted(to))?;
        }
        match anonymous {
            Some(anonymous) => writeln!(f, "anonymous = {anonymous}")?,
            None => writeln!(f, "anonymous = \"auto\"")?,
        }
        super::show::number_or(f, "connections_max", connections_max.map(u64::from), "unlimited")?;
        let Versions { v31, v311, v5 } = versions;
        let offered = [(v31, "3.1"), (v311, "3.1.1"), (v5, "5.0")];
        list(f, "versions", offered.iter().filter(|(offered, _)| **offered).map(|(_, name)| name))?;
        number(f, "backlog", tcp.backlog)?;
        if let ListenUrl::Unix(_) = url {
            let UnixSettings { owner, group, mode } = unix;
            for (key, name) in [("owner", owner), ("group", group)] {
                name.iter().try_for_each(|name| writeln!(f, "{key} = {}", quoted(name)))?;
            }
            writeln!(f, "mode = \"{mode:03o}\"")?;
        } else {
            list(f, "allow", allow)?;
            list(f, "deny", deny)?;
            list(f, "proxy_protocol_from", proxies)?;
            writeln!(f, "no_delay = {}", tcp.no_delay)?;
            number(f, "tcp_keep_alive_s", tcp.keep_alive.map_or(0, Span::as_secs))?;
            number(f, "tcp_user_timeout_ms", tcp.user_timeout.map_or(0, |span| span.0))?;
        }
        if *framing != Framing::Mqtt {
            list(f, "paths", &web.rules.paths)?;
            list(f, "origins", &web.rules.origins)?;
            list(f, "trusted_proxies", &web.trusted_proxies)?;
        }
        if *framing == Framing::Http {
            let folder = http.static_dir.as_ref().map(|folder| quoted(&folder.to_string_lossy()));
            folder.iter().try_for_each(|folder| writeln!(f, "static_dir = {folder}"))?;
            writeln!(f, "bundle = {}", http.bundle)?;
        }
        let name = username_from_cert.map(|name| word(&CERTIFICATE_NAMES, name));
        name.iter().try_for_each(|name| writeln!(f, "username_from_cert = \"{name}\""))?;
        tls.as_ref().map_or(Ok(()), |tls| show_tls(f, tls))
    }
}

fn show_tls(f: &mut Formatter<'_>, tls: &TlsSettings) -> fmt::Result {
    // In full, as above.
    let TlsSettings {
        certificates,
        client_ca,
        require_client_cert,
        crl,
        min_version,
        handshake_timeout,
        handshakes_max,
    } = tls;
    let path = |path: &PathBuf| quoted(&path.to_string_lossy());
    writeln!(f, "min_tls = \"{}\"", word(&TLS_VERSIONS, *min_version))?;
    number(f, "handshake_timeout_ms", handshake_timeout.0)?;
    number(f, "handshakes_max", *handshakes_max)?;
    if let Some(client_ca) = client_ca {
        writeln!(f, "client_ca = {}\nrequire_client_cert = {require_client_cert}", path(client_ca))?;
    }
    crl.iter().try_for_each(|crl| writeln!(f, "crl = {}", path(crl)))?;
    for CertificateFiles { cert, key } in certificates {
        writeln!(f, "[[listener.certificate]]\ncert = {}\nkey = {}", path(cert), path(key))?;
    }
    Ok(())
}

fn list<T: Display>(f: &mut Formatter<'_>, key: &str, items: impl IntoIterator<Item = T>) -> fmt::Result {
    let items: Vec<_> = items.into_iter().map(|item| quoted(&item.to_string())).collect();
    writeln!(f, "{key} = [{}]", items.join(", "))
}

#[cfg(test)]
mod tests;
