//! Clients that log in with a name and a password: checked beside the cores, while their connection waits and nothing more of
//! it is read.

use super::accept::random;
use super::conn::Phase;
use super::{Shard, Token};
use crate::access::{Desk, FAILED_LOGIN_COST, Guard, Inbox, Job, Mail, Outbox, Outcome, Policy, Wrong};
use crate::auth::acl::Subject;
use crate::auth::{Admitted, Remembered};
use crate::codec::{Connect, ReasonCode, Split, split};
use crate::engine::Introduction;
use crate::metrics;
use crate::sasl::Secret;
use crate::session::connect::Refusal;
use crate::transport::tls::{Session, client_subject};
use crate::types::{ConnKey, HashSeed, Now, Span};
use crate::websocket::CloseCode;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::sync::Arc;

/// Logins that one core remembers at most, of about 200 bytes each.
const REMEMBERED_MAX: usize = 10_000;

/// Who lets clients in, as a shard is told.
#[derive(Debug)]
pub struct Door {
    /// Who may come in.
    pub policy: Arc<Policy>,
    /// Where passwords are checked.
    pub desk: Desk,
    /// What the desk answers, and to whom.
    pub mail: (Outbox<Mail>, Inbox<Mail>),
    /// How long a login that was right is not checked again.
    pub remembered: Span,
    /// Bounds over all cores.
    pub guard: Guard,
}

/// What a shard needs to let clients in.
#[derive(Debug)]
pub(super) struct Logins {
    policy: Arc<Policy>,
    desk: Desk,
    reply: Outbox<Mail>,
    inbox: Inbox<Mail>,
    remembered: Remembered,
    pub(super) guard: Guard,
}

/// How far a connection's login has come.
#[derive(Debug)]
pub(super) enum Login {
    /// Somebody checks the password. Dropping it tells them that nobody waits any more.
    Waits(#[expect(dead_code, reason = "it is dropped, and that is seen")] Arc<()>),
    /// It was right.
    Right(Admitted),
    /// It was not, or nobody had the time.
    Refused(Refused),
}

/// Why a login came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("it does not log in, and its listener does not say anonymous = true")]
    Anonymous,
    #[error("{0}")]
    Wrong(Wrong),
    #[error("as many logins wait as [logins] waiting_max allows")]
    Full,
    #[error("its password was not checked within [limits] connect_timeout_ms: too many others log in")]
    Late,
}

impl Refused {
    /// Whether somebody has tried something that was wrong.
    fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong(Wrong::Password | Wrong::User | Wrong::Token(_) | Wrong::Hook(_)))
    }

    /// A word for programs.
    fn word(&self) -> &'static str {
        match self {
            Self::Anonymous => "no login",
            Self::Wrong(Wrong::Password) => "wrong password",
            Self::Wrong(Wrong::User) => "no such user",
            Self::Wrong(Wrong::Token(_)) => "bad token",
            Self::Wrong(Wrong::Hook(_)) => "refused by a service",
            Self::Wrong(Wrong::Silent { .. }) => "no answer of a service",
            Self::Full | Self::Late | Self::Wrong(Wrong::Full) => "too many logins",
        }
    }

    /// Where it is counted.
    fn count<'r>(&self, refused: &'r mut metrics::Refused) -> &'r mut u64 {
        match self {
            Self::Anonymous => &mut refused.anonymous,
            Self::Wrong(Wrong::Password) => &mut refused.password,
            Self::Wrong(Wrong::User) => &mut refused.user,
            Self::Wrong(Wrong::Token(_)) => &mut refused.token,
            Self::Wrong(Wrong::Hook(_)) => &mut refused.service,
            Self::Wrong(Wrong::Silent { .. }) => &mut refused.silent,
            Self::Full | Self::Late | Self::Wrong(Wrong::Full) => &mut refused.busy,
        }
    }
}

/// What becomes of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The client comes in.
    Open,
    /// It waits: the packet is looked at once more later.
    Waits,
    /// It is refused, and knows it.
    Shut,
}

impl Logins {
    pub(super) fn new(door: Door, seed: HashSeed) -> Self {
        let Door { policy, desk, mail: (reply, inbox), remembered, guard } = door;
        let remembered = Remembered::new(Secret(random()), remembered, REMEMBERED_MAX, seed);
        Self { policy, desk, reply, inbox, remembered, guard }
    }

    /// Whether a client's name and password mean something.
    pub(super) fn heeds(&self, connect: &Connect<'_>) -> bool {
        let enhanced = connect.properties.authentication_method().is_some();
        let given = connect.username.is_some() || connect.password.is_some();
        enhanced || given && !self.policy.takes_no_passwords()
    }

    /// Has the shard woken when there is mail.
    pub(super) fn watch(&self, epoll: impl std::os::fd::AsFd) -> Result<(), Errno> {
        epoll::add(epoll, &self.inbox, Token::Mail.data(), epoll::EventFlags::IN | epoll::EventFlags::ET)
    }
}

impl Shard {
    /// Whether a client comes in, as far as its name and password say. The first time that it is asked of a connection, the
    /// answer may be long in coming, and the connection is held.
    pub(super) fn log_in(&mut self, key: ConnKey, connect: &Connect<'_>) -> Entry {
        let Some(conn) = self.world.conns.get_mut(key) else { return Entry::Shut };
        match conn.login.take().map(|login| *login) {
            Some(right @ Login::Right(_)) => {
                conn.login = Some(Box::new(right));
                return Entry::Open;
            }
            Some(Login::Refused(refused)) => return self.refuse_login(key, connect, refused),
            Some(waits @ Login::Waits(_)) => {
                conn.login = Some(Box::new(waits));
                return Entry::Waits;
            }
            None => {}
        }
        let enhanced = connect.properties.authentication_method().is_some();
        if conn.user.is_some() || enhanced || !self.logins.heeds(connect) {
            return Entry::Open;
        }
        let (user, password) = (connect.username.unwrap_or_default(), connect.password.unwrap_or_default());
        let proof = self.logins.remembered.proof(user, password);
        if let Some(admitted) = self.logins.remembered.recall(self.world.now, &proof) {
            conn.login = Some(Box::new(Login::Right(admitted.clone())));
            return Entry::Open;
        }
        let waits = Arc::new(());
        let job = Job {
            conn: key,
            proof,
            policy: Arc::clone(&self.logins.policy),
            from: 0,
            now: self.world.now.0 / 1_000,
            client_id: connect.client_id.into(),
            address: conn.peer.ip(),
            listener: Arc::clone(&conn.seat.gate().settings().name),
            user: user.into(),
            password: password.into(),
            waiting: Arc::downgrade(&waits),
            reply: self.logins.reply.clone(),
        };
        if self.logins.desk.submit(job).is_err() {
            return self.refuse_login(key, connect, Refused::Full);
        }
        conn.login = Some(Box::new(Login::Waits(waits)));
        conn.flags.held = true;
        Entry::Waits
    }

    /// What is known of a client whose CONNECT goes to the engine.
    pub(super) fn introduction(&mut self, key: ConnKey) -> Introduction {
        let Some(conn) = self.world.conns.get_mut(key) else { return Introduction::default() };
        let admitted = match conn.login.take().map(|login| *login) {
            Some(Login::Right(admitted)) => Some(admitted),
            _ => None,
        };
        let tls = conn
            .channel
            .as_ref()
            .and_then(|channel| channel.tls())
            .filter(|_| self.logins.policy.acl().is_some());
        let attributes = tls.and_then(Session::inner).and_then(client_subject);
        let subject = attributes.map(|attributes| {
            Arc::new(Subject::new(attributes.iter().map(|(name, value)| (&**name, &**value))))
        });
        let listener = Arc::clone(&conn.seat.gate().settings().name);
        let revocable = conn.user.is_none();
        let (user, expires, granted) = admitted.map_or((None, None, None), |known| {
            let Admitted { user, expires, granted } = known;
            (Some(user), expires.map(moment), granted)
        });
        // What a certificate says counts more than what a CONNECT does.
        Introduction { user: conn.user.clone().or(user), revocable, listener, subject, granted, expires }
    }

    fn refuse_login(&mut self, key: ConnKey, connect: &Connect<'_>, why: Refused) -> Entry {
        let refusal = match why {
            // Which of the two it was is nobody's business.
            Refused::Wrong(Wrong::Silent { .. }) => {
                Refusal::new(ReasonCode::ServerUnavailable, "nobody can say at the moment who this client is")
            }
            Refused::Full | Refused::Late | Refused::Wrong(Wrong::Full) => {
                Refusal::new(ReasonCode::ServerBusy, "too many clients log in at the moment")
            }
            Refused::Wrong(_) | Refused::Anonymous => {
                Refusal::new(ReasonCode::BadUserNameOrPassword, "wrong user name or password")
            }
        };
        self.turn_away(key, connect, refusal, &why);
        Entry::Shut
    }

    /// Refuses a client that has not shown who it is.
    pub(super) fn turn_away(
        &mut self,
        key: ConnKey,
        connect: &Connect<'_>,
        refusal: Refusal<'_>,
        why: &Refused,
    ) {
        self.answer(key, connect, refusal);
        let Some(conn) = self.world.conns.get(key) else { return };
        let traffic = &mut self.world.traffic;
        traffic.strangers += 1;
        *why.count(&mut traffic.refused) += 1;
        let now = self.world.now;
        if why.is_wrong()
            && let Some(address) = conn.peer.ip()
        {
            // What comes of it shows when it tries again.
            self.logins.guard.attempt(now, address, FAILED_LOGIN_COST);
        }
        let who = (connect.username, connect.client_id);
        self.world.journal.login_refused(self.world.now, conn.peer, who, why.word(), why);
        self.world.begin_close(key, CloseCode::POLICY);
    }

    /// Ends a connection that waits for its login, if its client has sent nothing but CONNECT and has left since: who connects
    /// and leaves again makes nobody else wait. Of an encrypted connection this cannot be seen.
    pub(super) fn look_for_end(&mut self, key: ConnKey) {
        let Some(conn) = self.world.conns.get(key) else { return };
        if conn.login.is_none() || conn.channel.is_some() || !conn.flags.hangup {
            return;
        }
        let alone =
            matches!(split(&conn.input, u32::MAX), Ok(Split::Whole { len, .. }) if len == conn.input.len());
        if alone && recv(&conn.socket, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT) == Ok((0, 0)) {
            self.end(key);
        }
    }

    /// Takes the answers of those who check passwords.
    pub(super) fn take_mail(&mut self) {
        let mail: Vec<Mail> = self.logins.inbox.take().collect();
        for mail in mail {
            match mail {
                Mail::Login(outcome) => self.logged_in(outcome),
                Mail::Policy(policy) => self.go_by(policy),
            }
        }
    }

    /// Takes another policy for the one that it has. Who has come in by what is no longer so has to come in anew.
    fn go_by(&mut self, policy: Arc<Policy>) {
        let knew_all = self.engine.knows_all();
        let before = std::mem::replace(&mut self.logins.policy, Arc::clone(&policy));
        self.logins.remembered.clear();
        if policy.acl().is_some() && !knew_all {
            let served = self.world.conns.iter().filter(|(_, conn)| conn.phase == Phase::Open);
            let served: Vec<ConnKey> = served.map(|(key, _)| key).collect();
            for key in served {
                let introduction = self.introduction(key);
                self.engine.introduce_late(key, introduction);
            }
        }
        self.engine.log_in_by(Arc::clone(policy.scram()));
        self.engine.go_by(policy.acl().map(Arc::clone));
        let is_revoked = |user: &str| policy.revokes(&before, user);
        self.engine.revoke(self.world.now, is_revoked, &mut self.world);
    }

    fn logged_in(&mut self, outcome: Outcome) {
        let Outcome { conn, proof, generation, answer } = outcome;
        if generation != self.logins.policy.generation() {
            // It may be another one by now, and is asked for anew.
            return self.ask_again(conn);
        }
        if let Ok((admitted, good_for)) = &answer {
            let now = self.world.now;
            let left = admitted.expires.map_or(*good_for, |at| (moment(at) - now).min(*good_for));
            self.logins.remembered.add(now, proof, admitted.clone(), left);
        }
        let login = match answer {
            Ok((admitted, _)) => Login::Right(admitted),
            Err(wrong) => Login::Refused(Refused::Wrong(wrong)),
        };
        self.end_wait(conn, login);
    }

    fn ask_again(&mut self, key: ConnKey) {
        let Some(conn) = self.world.conns.get_mut(key) else { return };
        if conn.login.take_if(|login| matches!(**login, Login::Waits(_))).is_some() {
            conn.flags.held = false;
            self.world.released.push(key);
        }
    }

    /// Goes on with a connection that waits for its login; whether it did.
    pub(super) fn end_wait(&mut self, key: ConnKey, login: Login) -> bool {
        let Some(conn) = self.world.conns.get_mut(key) else { return false };
        if !conn.login.as_deref().is_some_and(|login| matches!(login, Login::Waits(_))) {
            return false;
        }
        conn.login = Some(Box::new(login));
        conn.flags.held = false;
        self.world.released.push(key);
        true
    }
}

/// A moment in seconds since 1970, which is what the shard's clock counts as well.
fn moment(secs: u64) -> Now {
    Now(secs.saturating_mul(1_000))
}
