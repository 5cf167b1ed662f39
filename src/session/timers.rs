//! The moments at which something has to happen to a session though nothing arrives.

use super::{Presence, Session};
use crate::types::Now;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The client was silent for too long. [MQTT-3.1.2-22]
    Silent,
    /// The Will Delay Interval is over. [MQTT-3.1.3-9]
    Will,
    /// The session has expired. [MQTT-3.1.2-23]
    Expired,
}

impl Session {
    /// The earliest moment at which [`Session::due`] may find something; `None` when there is none to wait for.
    pub fn deadline(&self) -> Option<Now> {
        match &self.presence {
            Presence::Here(link) if link.held => None,
            Presence::Here(link) => link.silence.map(|silence| link.heard + silence),
            Presence::Away { since, will } => {
                let expires = self.expiry.map(|expiry| *since + expiry);
                let will = will.as_ref().map(|(due, _)| *due);
                match (expires, will) {
                    (Some(expires), Some(will)) => Some(expires.min(will)),
                    (expires, will) => expires.or(will),
                }
            }
        }
    }

    /// What is due by now.
    pub fn due(&self, now: Now) -> Option<Due> {
        match &self.presence {
            Presence::Here(link) if link.held => None,
            Presence::Here(link) => {
                link.silence.filter(|&silence| link.heard + silence <= now).map(|_| Due::Silent)
            }
            Presence::Away { since, .. } if self.expiry.is_some_and(|expiry| *since + expiry <= now) => {
                Some(Due::Expired)
            }
            Presence::Away { will: Some((due, _)), .. } if *due <= now => Some(Due::Will),
            Presence::Away { .. } => None,
        }
    }
}
