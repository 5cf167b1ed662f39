//! What a shard writes to the log: who came and what went wrong, each with the peer's address, and never so much that a
//! flood of bad clients becomes a flood of lines. Nothing here runs per message.

use crate::codec::{DecodeError, Version};
use crate::engine::{CloseReason, Note};
use crate::metrics::Refused;
use crate::transport::{BadHeader, Ending, Peer};
use crate::types::{Now, ShardId, Throttle};
use rustix::io::Errno;
use std::fmt;
use tracing::{debug, info, warn};

/// Characters of a name that are repeated.
const SHOWN_MAX: usize = 128;

/// The log of one shard.
#[derive(Debug)]
pub(super) struct Journal {
    shard: ShardId,
    /// Lines about clients that did something wrong.
    lines: Throttle,
    /// Lines about logins, which are for programs as well.
    logins: Throttle,
}

impl Journal {
    pub(super) fn new(shard: ShardId) -> Self {
        Self { shard, lines: Throttle::default(), logins: Throttle::default() }
    }

    /// When to call [`Journal::settle`].
    pub(super) fn deadline(&self) -> Option<Now> {
        [self.lines.deadline(), self.logins.deadline()].into_iter().flatten().min()
    }

    /// Tells how many lines were left out of a second that is over.
    pub(super) fn settle(&mut self, now: Now) {
        if let Some(lines) = self.lines.settle(now) {
            warn!(shard = self.shard.0, lines, "left out of the log: too many in one second");
        }
        if let Some(lines) = self.logins.settle(now) {
            warn!(shard = self.shard.0, lines, "logins left out of the log: too many in one second");
        }
    }

    /// Whether another line fits into this second.
    fn admit(&mut self, now: Now) -> bool {
        self.settle(now);
        self.lines.admit(now)
    }

    pub(super) fn note(&mut self, now: Now, peer: Peer, note: Note<'_>) {
        match note {
            Note::Connected { client_id, version, resumed, user: Some(user) } => {
                debug!(%peer, client_id, ?version, resumed, shard = self.shard.0, "connected");
                self.settle(now);
                if self.logins.admit(now) {
                    let (client_id, user) = (shown(client_id), shown(user));
                    info!(address = %Host(peer), user, client_id, %peer, "login accepted");
                }
            }
            Note::Refused { client_id, why, of_login: true, .. } => {
                self.login_refused(now, peer, (None, client_id), "SCRAM-SHA-256", &why);
            }
            Note::Connected { client_id, version, resumed, .. } => {
                debug!(%peer, client_id, ?version, resumed, shard = self.shard.0, "connected");
            }
            Note::Closed { client_id, why: CloseReason::ShuttingDown } => {
                debug!(%peer, client_id, "disconnected: the broker stops");
            }
            Note::Refused { client_id, reason, why, .. } if self.admit(now) => {
                info!(%peer, client_id, ?reason, "refused: {why}");
            }
            Note::Violation { client_id, violation } if self.admit(now) => {
                warn!(%peer, client_id, "disconnected: {violation}");
            }
            Note::Closed { client_id, why } if self.admit(now) => {
                info!(%peer, client_id, ?why, "disconnected");
            }
            Note::Refused { .. } | Note::Violation { .. } | Note::Closed { .. } => {}
        }
    }

    /// A client that has not shown who it is. The line is for programs that shut addresses out, too: the address stands before
    /// everything that the client has said, and what it has said stands in quotes, in which quotes are escaped.
    pub(super) fn login_refused(
        &mut self,
        now: Now,
        peer: Peer,
        (user, client_id): (Option<&str>, &str),
        reason: &str,
        why: &dyn fmt::Display,
    ) {
        self.settle(now);
        if self.logins.admit(now) {
            let (client_id, user, why) = (shown(client_id), user.map(shown), why.to_string());
            let why = shown(&why);
            warn!(address = %Host(peer), reason, user, client_id, why, %peer, "login refused");
        }
    }

    /// A client's connection that broke a rule below MQTT.
    pub(super) fn broken(&mut self, now: Now, peer: Peer, why: &Ending) {
        if self.admit(now) {
            warn!(%peer, "connection ended: {why}");
        }
    }

    /// A connection that never became a client's.
    pub(super) fn no_client(&mut self, now: Now, peer: Peer, why: &NoClient) {
        // That an address is shut out is told once.
        if !matches!(why, NoClient::StillOut) && self.admit(now) {
            warn!(%peer, "closed before CONNECT: {why}");
        }
    }
}

/// What of a client's words is repeated. They can be 65,535 bytes long.
fn shown(text: &str) -> &str {
    let end = text.char_indices().nth(SHOWN_MAX).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// A peer's address without its port, as programs know it.
struct Host(Peer);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip() {
            Some(address) => address.to_canonical().fmt(f),
            None => self.0.fmt(f),
        }
    }
}

impl NoClient {
    /// Counts it.
    pub(super) fn count(&self, refused: &mut Refused) {
        let count = match self {
            Self::Timeout | Self::HandshakeTimeout => &mut refused.late,
            Self::TooMany | Self::Full | Self::TooMuch | Self::Unwatched(_) => &mut refused.full,
            Self::AddressFull => &mut refused.address_full,
            Self::UserFull => &mut refused.user_full,
            Self::ShutOut | Self::StillOut => &mut refused.shut_out,
            Self::Denied | Self::Nameless => &mut refused.denied,
            Self::NotConnect | Self::Version(_) | Self::Header(_) | Self::Layer(_) | Self::Malformed(_) => {
                &mut refused.protocol
            }
        };
        *count += 1;
    }
}

/// Why a connection never became a client's.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoClient {
    #[error("no whole CONNECT within [limits] connect_timeout_ms")]
    Timeout,
    #[error("first packet is not CONNECT [MQTT-3.1.0-1]")]
    NotConnect,
    #[error("more connections on this core than [limits] connections_max")]
    TooMany,
    #[error("more connections on its listener than connections_max")]
    Full,
    #[error("more connections of its address than [limits] connections_per_address_max")]
    AddressFull,
    #[error("more connections of its user than [limits] connections_per_user_max")]
    UserFull,
    #[error("its address tries more often than [limits] attempts_per_s, and is shut out for penalty_s")]
    ShutOut,
    #[error("its address is shut out")]
    StillOut,
    #[error("its address is not in allow of its listener, or it is in deny")]
    Denied,
    #[error("its listener does not offer MQTT {name}", name = .0.name())]
    Version(Version),
    #[error(transparent)]
    Header(BadHeader),
    #[error("{0}")]
    Layer(Ending),
    #[error("its certificate has no name of the kind that username_from_cert of its listener asks for")]
    Nameless,
    #[error("TLS handshake not done within handshake_timeout_ms of its listener")]
    HandshakeTimeout,
    #[error("too many other connections have not finished their CONNECT")]
    TooMuch,
    /// Out of memory, or of what /proc/sys/fs/epoll/max_user_watches allows.
    #[error("cannot watch it: {0}")]
    Unwatched(Errno),
    #[error(transparent)]
    Malformed(DecodeError),
}
