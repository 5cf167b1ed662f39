//! What clients may do: asked of the ACL for every message, remembered by client and topic. Without an ACL, and for a broker
//! without users, nothing is kept and nothing is asked.

use super::{CloseReason, Effects, Engine};
use crate::auth::acl::{Acl, Action, Decisions, Granted, Standing, Subject, Who};
use crate::sasl::Users;
use crate::session::Link;
use crate::topic::{TopicFilter, TopicName};
use crate::types::limits::TIMERS_PER_TURN;
use crate::types::{ConnKey, HashSeed, Map, Now, SessionKey, Wheel};
use std::sync::Arc;

/// Who is at the other end of a connection, as far as the shard could find out.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// The name that the client has shown to be its own.
    pub user: Option<Box<str>>,
    /// Whether it has shown so to somebody who may take that back: [`Engine::revoke`].
    pub revocable: bool,
    /// The URL of the listener that it came through, as the settings have it.
    pub listener: Arc<str>,
    /// What its certificate says.
    pub subject: Option<Arc<Subject>>,
    /// What it may do in the place of a section of its own in the ACL.
    pub granted: Option<Arc<Granted>>,
    /// When its connection ends.
    pub expires: Option<Now>,
}

/// A client of whom something is known.
#[derive(Debug)]
struct Known {
    conn: ConnKey,
    client: Box<str>,
    introduction: Introduction,
    /// Of the ACL that it was asked of last.
    standing: Option<(u64, Standing)>,
    decisions: Decisions,
}

/// What all clients of a core may do.
#[derive(Debug)]
pub(super) struct Rights {
    acl: Option<Arc<Acl>>,
    /// By connection slot. Boxed, because most brokers have many connections of which nothing is known.
    known: Vec<Option<Box<Known>>>,
    /// Of clients that have gone, while their wills wait.
    wills: Map<SessionKey, Box<Known>>,
    /// When connections end of themselves.
    ends: Wheel<ConnKey>,
    due: Vec<ConnKey>,
}

impl Rights {
    pub(super) fn new(seed: HashSeed) -> Self {
        let (known, wills, ends) = (Vec::new(), seed.map(), Wheel::default());
        Self { acl: None, known, wills, ends, due: Vec::new() }
    }

    /// When to call [`Engine::end_expired`].
    pub(super) fn deadline(&self) -> Option<Now> {
        self.ends.next()
    }

    /// Whether a message may go to a client. One that is away is asked about when it is sent what waits for it.
    #[inline]
    pub(super) fn may_receive(&mut self, link: Option<&Link>, topic: TopicName<'_>) -> bool {
        match (&self.acl, link) {
            (Some(acl), Some(link)) => decide(acl, &mut self.known, link.conn, Action::Receive, topic),
            _ => true,
        }
    }

    /// Whether a connection's client may publish.
    #[inline]
    pub(super) fn may_publish(&mut self, conn: ConnKey, topic: TopicName<'_>) -> bool {
        let Some(acl) = &self.acl else { return true };
        decide(acl, &mut self.known, conn, Action::Publish, topic)
    }

    /// Whether any message can come of a subscription.
    pub(super) fn may_subscribe(&mut self, conn: ConnKey, filter: TopicFilter<'_>) -> bool {
        let Some(acl) = &self.acl else { return true };
        let Some(known) = of(&mut self.known, conn) else { return false };
        acl.decide_subscribe(known.standing(acl).0, filter).allowed
    }

    /// Whether a will may be published. A client that left it in an earlier run of the broker was asked then.
    pub(super) fn may_leave(&mut self, key: SessionKey, topic: TopicName<'_>) -> bool {
        let (Some(mut known), Some(acl)) = (self.wills.remove(&key), &self.acl) else { return true };
        known.may(acl, Action::Publish, topic)
    }

    /// The user that a connection's client is.
    pub(super) fn user(&self, conn: ConnKey) -> Option<&str> {
        let known = self.known.get(conn.slot as usize)?.as_ref().filter(|known| known.conn == conn);
        known?.introduction.user.as_deref()
    }

    /// The connection of a session is no more; what is known of its client is kept for its will.
    pub(super) fn left(&mut self, conn: ConnKey, will_of: Option<SessionKey>) {
        let Some(slot) = self.known.get_mut(conn.slot as usize) else { return };
        if let Some(known) = slot.take_if(|known| known.conn == conn)
            && let Some(key) = will_of
        {
            self.wills.insert(key, known);
        }
    }

    /// A session's will is not published, because its client is back.
    pub(super) fn is_back(&mut self, key: SessionKey) {
        self.wills.remove(&key);
    }

    fn put(&mut self, known: Box<Known>) {
        let slot = known.conn.slot as usize;
        if slot >= self.known.len() {
            self.known.resize_with(slot + 1, || None);
        }
        if let Some(at) = known.introduction.expires {
            self.ends.arm(at, known.conn);
        }
        self.known[slot] = Some(known);
    }

    /// Enhanced authentication has shown who a client is.
    pub(super) fn proved(&mut self, conn: ConnKey, client: &str, user: &str) {
        if of(&mut self.known, conn).is_none() {
            let introduction = Introduction::default();
            self.put(Box::new(Known::new(conn, client, introduction)));
        }
        if let Some(known) = of(&mut self.known, conn) {
            known.introduction.user.get_or_insert_with(|| user.into());
            known.introduction.revocable = true;
        }
    }
}

impl Known {
    fn new(conn: ConnKey, client: &str, introduction: Introduction) -> Self {
        Self { conn, client: client.into(), introduction, standing: None, decisions: Decisions::default() }
    }

    fn standing(&mut self, acl: &Acl) -> (&Standing, &mut Decisions) {
        let generation = acl.generation();
        if self.standing.as_ref().is_none_or(|(of, _)| *of != generation) {
            self.standing = Some((generation, acl.standing(&self.who())));
        }
        let Self { standing: Some((_, standing)), decisions, .. } = self else {
            unreachable!("it was set a moment ago")
        };
        (standing, decisions)
    }

    fn who(&self) -> Who<'_> {
        let Introduction { user, listener, subject, granted, .. } = &self.introduction;
        Who {
            user: user.as_deref(),
            client: &self.client,
            listener,
            subject: subject.as_deref(),
            granted: granted.as_ref(),
        }
    }

    fn may(&mut self, acl: &Acl, action: Action, topic: TopicName<'_>) -> bool {
        let (standing, decisions) = self.standing(acl);
        decisions.decide(acl, standing, action, topic).allowed
    }
}

fn of(known: &mut [Option<Box<Known>>], conn: ConnKey) -> Option<&mut Known> {
    known.get_mut(conn.slot as usize)?.as_deref_mut().filter(|known| known.conn == conn)
}

/// A client of whom nothing is known may do nothing where there are rules.
fn decide(
    acl: &Acl,
    known: &mut [Option<Box<Known>>],
    conn: ConnKey,
    action: Action,
    topic: TopicName<'_>,
) -> bool {
    of(known, conn).is_some_and(|known| known.may(acl, action, topic))
}

impl Engine {
    /// Goes by these rules from now on, or by none.
    pub fn go_by(&mut self, acl: Option<Arc<Acl>>) {
        self.rights.acl = acl;
    }

    /// Says whose a connection is, before its [`Engine::connect`].
    pub fn introduce(&mut self, conn: ConnKey, client: &str, introduction: Introduction) {
        if self.rights.acl.is_some() || introduction.user.is_some() || introduction.expires.is_some() {
            self.rights.put(Box::new(Known::new(conn, client, introduction)));
        }
    }

    /// Whether everything is known of all clients that rules can speak of; without rules, less is kept.
    pub fn knows_all(&self) -> bool {
        self.rights.acl.is_some()
    }

    /// Says the same later, of a connection that is served: what was not kept because there were no rules.
    pub fn introduce_late(&mut self, conn: ConnKey, introduction: Introduction) {
        let Some(session) = self.session_of(conn).and_then(|key| self.sessions.get(key)) else { return };
        if let Some(known) = of(&mut self.rights.known, conn) {
            let Introduction { listener, subject, .. } = introduction;
            (known.introduction.listener, known.introduction.subject) = (listener, subject);
        } else {
            self.rights.put(Box::new(Known::new(conn, &session.client_id, introduction)));
        }
    }

    /// Who can log in with SCRAM-SHA-256 from now on.
    pub fn log_in_by(&mut self, users: Arc<Users>) {
        self.setup.users = users;
    }

    /// Disconnects the clients whose users are not who they were any more.
    pub fn revoke(&mut self, now: Now, is_revoked: impl Fn(&str) -> bool, fx: &mut impl Effects) {
        let revoked = |known: &Known| {
            let Introduction { user, revocable, .. } = &known.introduction;
            let revoked = *revocable && user.as_deref().is_some_and(&is_revoked);
            revoked.then_some(known.conn)
        };
        let known = self.rights.known.iter().flatten();
        let revoked: Vec<ConnKey> = known.filter_map(|known| revoked(known)).collect();
        for conn in revoked {
            if let Some(key) = self.session_of(conn) {
                self.disconnect(now, key, CloseReason::Revoked, fx);
            }
        }
        self.evict(now, fx);
    }

    /// Disconnects the clients whose time is over.
    pub(super) fn end_expired(&mut self, now: Now, fx: &mut impl Effects) {
        let mut due = std::mem::take(&mut self.rights.due);
        self.rights.ends.advance(now, TIMERS_PER_TURN, &mut due);
        for conn in due.drain(..) {
            let ends = of(&mut self.rights.known, conn).and_then(|known| known.introduction.expires);
            if let Some(at) = ends.filter(|at| *at > now) {
                self.rights.ends.arm(at, conn);
            } else if ends.is_some()
                && let Some(key) = self.session_of(conn)
            {
                self.disconnect(now, key, CloseReason::LoginExpired, fx);
            }
        }
        self.rights.due = due;
    }
}
