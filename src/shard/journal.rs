//! What a shard writes to the log: who came and what went wrong, each with the peer's address, and never so much that a
//! flood of bad clients becomes a flood of lines. Nothing here runs per message.

use super::login::Refused;
use crate::codec::{DecodeError, Version};
use crate::engine::{CloseReason, Note};
use crate::transport::tls::TlsError;
use crate::transport::{BadHeader, Ending, Peer};
use crate::types::{Now, ShardId, Throttle};
use rustix::io::Errno;
use tracing::{debug, info, warn};

/// The log of one shard.
#[derive(Debug)]
pub(super) struct Journal {
    shard: ShardId,
    /// Lines about clients that did something wrong.
    lines: Throttle,
}

impl Journal {
    pub(super) fn new(shard: ShardId) -> Self {
        Self { shard, lines: Throttle::default() }
    }

    /// When to call [`Journal::settle`].
    pub(super) fn deadline(&self) -> Option<Now> {
        self.lines.deadline()
    }

    /// Tells how many lines were left out of a second that is over.
    pub(super) fn settle(&mut self, now: Now) {
        if let Some(lines) = self.lines.settle(now) {
            warn!(shard = self.shard.0, lines, "left out of the log: too many in one second");
        }
    }

    /// Whether another line fits into this second.
    fn admit(&mut self, now: Now) -> bool {
        self.settle(now);
        self.lines.admit(now)
    }

    pub(super) fn note(&mut self, now: Now, peer: Peer, note: Note<'_>) {
        match note {
            Note::Connected { client_id, version, resumed } => {
                debug!(%peer, client_id, ?version, resumed, shard = self.shard.0, "connected");
            }
            Note::Closed { client_id, why: CloseReason::ShuttingDown } => {
                debug!(%peer, client_id, "disconnected: the broker stops");
            }
            Note::Refused { client_id, reason, why } if self.admit(now) => {
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

    /// A client's connection that broke a rule below MQTT.
    pub(super) fn broken(&mut self, now: Now, peer: Peer, why: &Ending) {
        if self.admit(now) {
            warn!(%peer, "connection ended: {why}");
        }
    }

    /// A connection that never became a client's.
    pub(super) fn no_client(&mut self, now: Now, peer: Peer, why: NoClient) {
        if self.admit(now) {
            warn!(%peer, "closed before CONNECT: {why}");
        }
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
    #[error("its address is not in allow of its listener, or it is in deny")]
    Denied,
    #[error("its listener does not offer MQTT {name}", name = .0.name())]
    Version(Version),
    #[error(transparent)]
    Header(BadHeader),
    #[error("{0}")]
    Layer(Ending),
    #[error("TLS handshake: {0}")]
    Tls(TlsError),
    #[error("its certificate has no name of the kind that username_from_cert of its listener asks for")]
    Nameless,
    #[error("it does not log in, and its listener does not say anonymous = true")]
    Anonymous,
    #[error("login of user {user:?} as client {client_id:?}: {why}")]
    Login { user: Box<str>, client_id: Box<str>, why: Refused },
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
