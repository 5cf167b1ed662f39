//! What happens because time passes: silent clients, wills that waited, sessions that expire.

use super::{CloseReason, Effects, Engine};
use crate::session::{Due, Presence};
use crate::types::limits::TIMERS_PER_TURN;
use crate::types::{Now, SessionKey, Span};

/// A timer is armed at most this far ahead and then anew. Timers are never cancelled: this bounds how many of them
/// outlive their sessions, whatever keep-alive or expiry these asked for.
const ARM_AHEAD_MAX: Span = Span::from_secs(60);

impl Engine {
    /// Does what is due, a bounded part of it per call.
    pub fn tick(&mut self, now: Now, fx: &mut impl Effects) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.advance(now, TIMERS_PER_TURN, &mut due);
        for (at, key) in due.drain(..) {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            // Otherwise an earlier one was armed after it.
            if session.timer == Some(at) {
                session.timer = None;
                self.due(now, key, fx);
            }
        }
        self.due = due;
        for _ in 0..self.later.len() {
            if let Some(key) = self.later.pop_front() {
                self.pump(now, key, fx);
            }
        }
        self.expire_logins(now, fx);
        self.end_expired(now, fx);
        self.evict(now, fx);
    }

    /// The moment by which to call [`Engine::tick`] again.
    pub fn next_deadline(&self) -> Option<Now> {
        if !self.later.is_empty() {
            return Some(Now(0));
        }
        let handovers = self.handovers.deadline(self.durable.state);
        let deadlines = [self.timers.next(), self.logins.deadline(), self.durable.deadline(), handovers];
        let deadlines = deadlines.into_iter().chain([self.rights.deadline()]);
        deadlines.into_iter().flatten().min()
    }

    fn due(&mut self, now: Now, key: SessionKey, fx: &mut impl Effects) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        match session.due(now) {
            Some(Due::Silent) => {
                self.counters.keep_alive_timeouts += 1;
                self.disconnect(now, key, CloseReason::KeepAlive, fx);
            }
            Some(Due::Expired) => {
                self.counters.sessions_expired += u64::from(!session.ephemeral());
                self.end_session(now, key, fx);
            }
            Some(Due::Will) => {
                if let Presence::Away { will, .. } = &mut session.presence
                    && let Some((_, will)) = will.take()
                {
                    self.publish_will(now, key, *will, fx);
                }
                self.store_session(key);
                self.arm(now, key);
            }
            None => self.arm(now, key),
        }
    }

    /// Sets a session's timer, unless an earlier one is set.
    pub(super) fn arm(&mut self, now: Now, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(deadline) = session.deadline() else { return };
        let at = deadline.min(now + ARM_AHEAD_MAX);
        if session.timer.is_none_or(|armed| at < armed) {
            session.timer = Some(at);
            self.timers.arm(at, (at, key));
        }
    }
}
