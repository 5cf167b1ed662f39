//! What all cores share of a listener: its settings, and how many connections came through it.

use super::settings::ListenerSettings;
use super::tls::{Acceptor, Session, TlsError};
use crate::types::any_contains;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A listener as all cores see it.
#[derive(Debug, Default)]
pub struct Gate {
    settings: ListenerSettings,
    tls: Option<Acceptor>,
    open: bool,
    inside: AtomicU32,
}

impl Gate {
    /// A gate through which nobody has come yet, at an address that only this machine reaches (`local`) or at another one.
    /// Reads the listener's certificates.
    ///
    /// # Errors
    /// What is wrong with those.
    pub fn new(settings: ListenerSettings, local: bool) -> Result<Self, TlsError> {
        let protocols = [settings.framing.protocol()];
        let tls = settings.tls.as_ref().map(|tls| Acceptor::load(tls, &protocols)).transpose()?;
        let open = settings.anonymous.unwrap_or(local);
        Ok(Self { settings, tls, open, inside: AtomicU32::new(0) })
    }

    /// What encrypts its streams, if something does.
    pub fn tls(&self) -> Option<&Acceptor> {
        self.tls.as_ref()
    }

    /// The TLS session of a new connection; `None` on a listener without.
    pub fn session(&self) -> Option<Session> {
        self.tls.as_ref().map(Acceptor::accept)
    }

    /// What the listener was told.
    pub fn settings(&self) -> &ListenerSettings {
        &self.settings
    }

    /// Whether clients without a user name are let in.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Lets one more connection in; `None` when `connections_max` are.
    pub fn enter(self: &Arc<Self>) -> Option<Seat> {
        let max = self.settings.connections_max.unwrap_or(u32::MAX);
        let one_more = |inside: u32| (inside < max).then_some(inside + 1);
        // Nothing else is published by the count.
        let entered = self.inside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        entered.is_ok().then(|| Seat(Arc::clone(self)))
    }

    /// Whether `allow` and `deny` let a client of this address in. A UNIX socket's clients have none, and the file system
    /// lets them in.
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        let ListenerSettings { allow, deny, .. } = &self.settings;
        let Some(address) = address else { return true };
        (allow.is_empty() || any_contains(allow, address)) && !any_contains(deny, address)
    }
}

/// The place of one connection among those of its listener, until it is dropped.
#[derive(Debug)]
pub struct Seat(Arc<Gate>);

impl Seat {
    /// The listener that the connection came through.
    pub fn gate(&self) -> &Gate {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Network;

    fn gate(settings: ListenerSettings) -> Arc<Gate> {
        Arc::new(Gate::new(settings, true).expect("no certificates are to be read"))
    }

    #[test]
    fn a_full_listener_has_room_again_when_a_connection_ends() {
        let gate = gate(ListenerSettings { connections_max: Some(2), ..ListenerSettings::default() });
        let (first, second) = (gate.enter(), gate.enter());
        assert!(first.is_some() && second.is_some() && gate.enter().is_none());
        drop(first);
        let third = gate.enter();
        assert!(third.is_some() && gate.enter().is_none());
    }

    #[test]
    fn who_is_denied_does_not_come_in_even_if_allowed() {
        let networks = |text: &str| text.split(' ').map(|n| n.parse::<Network>().unwrap()).collect();
        let (allow, deny) = (networks("192.0.2.0/24 ::1"), networks("192.0.2.7"));
        let gate = gate(ListenerSettings { allow, deny, ..ListenerSettings::default() });
        for (address, admitted) in [
            ("192.0.2.1", true),
            ("192.0.2.7", false),
            ("198.51.100.1", false),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(gate.admits(Some(address.parse().unwrap())), admitted, "{address}");
        }
        assert!(gate.admits(None));
    }

    #[test]
    fn clients_without_a_name_come_in_where_only_this_machine_is_reached_or_the_settings_say_so() {
        for (anonymous, local, open) in
            [(None, true, true), (None, false, false), (Some(true), false, true), (Some(false), true, false)]
        {
            let settings = ListenerSettings { anonymous, ..ListenerSettings::default() };
            assert_eq!(
                Gate::new(settings, local).expect("no files").is_open(),
                open,
                "{anonymous:?} {local}"
            );
        }
    }

    #[test]
    fn without_lists_everybody_comes_in() {
        assert!(gate(ListenerSettings::default()).admits(Some("203.0.113.9".parse().unwrap())));
    }
}
